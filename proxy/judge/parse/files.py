"""All files of a set of rules, read together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from proxy.document import Place, read_yaml
from proxy.judge.expression import NamedList, Scope
from proxy.judge.parse.faults import Parsed, RuleFault, Source
from proxy.judge.parse.identity import digest_of
from proxy.judge.parse.rules import build, gather
from proxy.judge.parse.terms import Terms, is_name, read_list, read_tokens
from proxy.judge.parse.written import Reading, Written
from proxy.judge.rule import Rule, Ruleset


def parse_rules(
    sources: Sequence[Source],
    tokens: Sequence[Source],
    *,
    chains: Mapping[str, int] | None,
    clients: Collection[str] | None,
) -> Parsed:
    """The rules of `sources` in their order, or every fault in them and in the token files.

    `chains` (name to id) and `clients` are those of the settings; `None`: their names are not checked.
    """
    found: list[RuleFault] = []
    token_files = [_read(source, found) for source in tokens]
    files = [_read(source, found) for source in sources]
    sections = [_sections(file) for file in files]
    known = read_tokens(token_files)
    defined = list(_definitions(sections))
    lists: dict[str, NamedList] = {}
    macros: dict[str, str] = {}
    for name, written in defined:
        if name.startswith("$"):
            if (named := read_list(written)) is not None:
                lists[name[1:]] = named
        elif (text := written.text()) is not None:
            macros[name] = text
    terms = Terms(Scope(known, lists, macros), chains, clients)
    rules = _rules(sections, terms, files)
    warnings = tuple(
        RuleFault(
            place=written.key_place,
            problem=f"nothing uses {'the list' if name.startswith('$') else 'the macro'} {name}",
            suggestion="remove it",
        )
        for name, written in defined
        if name not in terms.used
    )
    if found:
        return Parsed(ruleset=None, faults=tuple(sorted(found, key=_by_place(sources, tokens))), warnings=warnings)
    return Parsed(ruleset=Ruleset(rules=rules, tokens=known, digest=digest_of(rules, terms.scope)), warnings=warnings)


def _by_place(sources: Sequence[Source], tokens: Sequence[Source]) -> Callable[[RuleFault], tuple[int, int, int]]:
    order = {source.path: index for index, source in enumerate([*sources, *tokens])}
    return lambda fault: (order.get(fault.place.path, 0), fault.place.line, fault.place.column)


def _read(source: Source, found: list[RuleFault]) -> Written:
    reading = Reading(found=found)
    reading.values[()] = Place(source.path, 1)
    reading.data = read_yaml(reading, source.text, source.path)
    return Written(reading, ())


def _sections(file: Written) -> dict[str, Written]:
    if file.value is None:
        return {}
    fields = file.fields(("lists", "macros", "rules"), "a rule file")
    return {key: value for key, value in fields.items() if value.value is not None}


def _definitions(sections: Sequence[dict[str, Written]]) -> Iterator[tuple[str, Written]]:
    """Every list as `$name` and every macro as its name; a second one of a name is a fault."""
    first: dict[str, Place] = {}
    for section in sections:
        for key, mark in (("lists", "$"), ("macros", "")):
            for name, written in section[key].items() if key in section else ():
                if not is_name(written, name):
                    continue
                if (place := first.get(mark + name)) is not None:
                    written.fault_at_key(f"{mark}{name} is there already, at {place.path}:{place.line}", "keep one")
                    continue
                first[mark + name] = written.key_place
                yield mark + name, written


def _rules(sections: Sequence[dict[str, Written]], terms: Terms, files: Sequence[Written]) -> tuple[Rule, ...]:
    readings = [file.reading for file in files]
    entries = (entry for section in sections if "rules" in section for entry in section["rules"].each())
    built = [build(draft, order, terms, readings) for order, draft in enumerate(gather(entries).values())]
    return tuple(rule for rule in built if rule is not None)
