"""All files of a set of rules, read together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from proxy.document import Place, read_plain, read_yaml
from proxy.judge.expression import ExpressionScope, NamedList
from proxy.judge.parse.crowds import counts_of_one
from proxy.judge.parse.exceptions import freeing
from proxy.judge.parse.faults import Parsed, ReadBeside, RuleFault, SourceFile, nothing_beside
from proxy.judge.parse.feeds import FeedShelf
from proxy.judge.parse.identity import digest_of
from proxy.judge.parse.rules import build, gather
from proxy.judge.parse.terms import RuleTerms, is_list_name, is_macro_name, read_list, read_tokens
from proxy.judge.parse.written import FileReading, Written
from proxy.judge.reachability import never_fires, refuses_unknown, shadowing
from proxy.judge.rule import Limit, Rule, Ruleset
from proxy.judge.verdict import Mode
from proxy.userop.budget import MOST_COUNTS


def parse_rules(
    sources: Sequence[SourceFile],
    tokens: Sequence[SourceFile],
    *,
    chains: Mapping[str, int] | None,
    clients: Collection[str] | None,
    beside: ReadBeside = nothing_beside,
) -> Parsed:
    """The rules of `sources` in their order, or every fault in them, in the token files and in what these name.

    `chains` (name to id) and `clients` are those of the settings; `None`: their names are not checked. `beside` reads
    the files that rule and token files name: lists and prices.
    """
    shelf = FeedShelf(beside)
    found: list[RuleFault] = []
    token_files = [_read(source, found) for source in tokens]
    files = [_read(source, found) for source in sources]
    sections = [_sections(file) for file in files]
    known = read_tokens(token_files, shelf)
    defined = list(_definitions(sections))
    lists: dict[str, NamedList] = {}
    macros: dict[str, str] = {}
    for name, written in defined:
        if name.startswith("$"):
            if (named := read_list(written, shelf)) is not None:
                lists[name[1:]] = named
        elif (text := written.text()) is not None:
            macros[name] = text
    terms = RuleTerms(ExpressionScope(known, lists, macros, chains, clients), chains, clients)
    rules, by_hand = _rules(sections, terms)
    unused = [
        RuleFault(
            place=written.key_place,
            problem=f"nothing uses {'the list' if name.startswith('$') else 'the macro'} {name}",
            suggestion="remove it",
        )
        for name, written in defined
        if name not in terms.used
    ]
    order = _by_place(sources, tokens)
    if found:
        # what else may be said of rules hangs on what they were meant to be
        faults, unused = sorted(found, key=order), sorted(unused, key=order)
        return Parsed(ruleset=None, faults=tuple(faults), warnings=tuple(unused), beside=shelf.paths)
    told = [
        *unused,
        *_unreachable(rules, by_hand.switched, terms),
        *_refusing(rules, by_hand.decided),
        *_fillable(rules),
        *freeing(rules),
        *_crowded(rules),
    ]
    warnings = tuple(sorted(told, key=order))
    ruleset = Ruleset(
        rules=rules,
        tokens=known,
        digest=digest_of(rules, terms.scope, terms.normal),
        listed={name: len(each.values) for name, each in lists.items() if each.file is not None},
    )
    return Parsed(ruleset=ruleset, warnings=warnings, beside=shelf.paths)


def _by_place(
    sources: Sequence[SourceFile], tokens: Sequence[SourceFile]
) -> Callable[[RuleFault], tuple[int, int, int]]:
    order = {source.path: index for index, source in enumerate([*sources, *tokens])}
    return lambda fault: (order.get(fault.place.path, 0), fault.place.line, fault.place.column)


def _read(source: SourceFile, found: list[RuleFault]) -> Written:
    reading = FileReading(path=source.path, found=found)
    plain = read_plain(source.text)
    if plain is not None:
        return Written(reading, *plain)
    value = read_yaml(reading, source.text, source.path)
    return Written(reading, value, reading.spot_of(value))


def _sections(file: Written) -> dict[str, Written]:
    if file.value is None:
        return {}
    fields = file.fields(("lists", "macros", "rules"), "a rule file")
    return {key: value for key, value in fields.items() if value.value is not None}


def _definitions(sections: Sequence[dict[str, Written]]) -> Iterator[tuple[str, Written]]:
    """Every list as `$name` and every macro as its name; a second one of a name is a fault."""
    first: dict[str, Place] = {}
    for section in sections:
        for key, mark, is_known_name in (("lists", "$", is_list_name), ("macros", "", is_macro_name)):
            for name, written in section[key].items() if key in section else ():
                if not is_known_name(written, name):
                    continue
                if (place := first.get(mark + name)) is not None:
                    written.fault_at_key(f"{mark}{name} is there already, at {place.path}:{place.line}", "keep one")
                    continue
                first[mark + name] = written.key_place
                yield mark + name, written


class _ByHand(NamedTuple):
    """Ids of rules: those whose mode an override set, and those that say themselves what a missing fact means."""

    switched: frozenset[str]
    decided: frozenset[str]


def _rules(sections: Sequence[dict[str, Written]], terms: RuleTerms) -> tuple[tuple[Rule, ...], _ByHand]:
    """The rules, and what was written of them."""
    entries = (entry for section in sections if "rules" in section for entry in section["rules"].each())
    drafts, strays = gather(entries)
    built = [build(draft, order, terms) for order, draft in enumerate(drafts.values())]
    for stray in strays:
        build(stray, 0, terms)
    by_hand = _ByHand(
        frozenset(draft.id for draft in drafts.values() if "mode" in draft.overridden),
        frozenset(draft.id for draft in drafts.values() if "fail" in draft.fields),
    )
    return tuple(rule for rule in built if rule is not None), by_hand


def _unreachable(rules: Sequence[Rule], switched: Collection[str], terms: RuleTerms) -> Iterator[RuleFault]:
    for rule in rules:
        if rule.mode is Mode.OFF and rule.id not in switched:
            # one that an override switched off was switched off on purpose
            yield _warning(
                rule, f"rule {rule.id} is off and nothing switches it on", "write mode: shadow, or remove it"
            )
        elif (reason := never_fires(rule, terms.scope.tokens, terms.chains)) is not None:
            yield _warning(rule, f"rule {rule.id} can never fire: {reason}", "correct it, or remove it")
    for rule, over in shadowing(rules):
        where = f"{over.place.path}:{over.place.line}"
        problem = f"rule {rule.id} never counts: {over.id} at {where} refuses all that it matches, before it"
        yield _warning(rule, problem, "remove one, or narrow the match of the other")


def _refusing(rules: Sequence[Rule], decided: Collection[str]) -> Iterator[RuleFault]:
    """Rules that enforce, and refuse what nobody can read without having been told to."""
    for rule in rules:
        if rule.mode is Mode.ENFORCE and rule.id not in decided and (what := refuses_unknown(rule)) is not None:
            cure = (
                "ask for what may be missing with != none, or say in match which it is for; write fail: closed if that"
                " is meant, or fail: open to let them pass and count them"
            )
            yield _warning(rule, f"rule {rule.id} enforces, and so refuses {what}", cure)


def _fillable(rules: Sequence[Rule]) -> Iterator[RuleFault]:
    """Limits that people who are no session may use up: nobody here can check an owner's signature."""
    for rule in rules:
        check = rule.check
        counts = isinstance(check, Limit) and check.window is not None
        if counts and rule.mode is Mode.ENFORCE and rule.match.session is not True:
            problem = (
                f"rule {rule.id} limits operations of owners too, whose signature is not checked here: any account may"
                " fill what it counts, and before the bundler answers each client and address is held to it alone"
            )
            yield _warning(rule, problem, "write session: true into its match, or another rule for owners beside it")


def _crowded(rules: Sequence[Rule]) -> Iterator[RuleFault]:
    """More counts than are looked up for one operation: what is left over is not known, of every operation."""
    counting = [rule for rule in rules if rule.check is not None and rule.mode is not Mode.OFF]
    most = counts_of_one(counting)
    if most > MOST_COUNTS:
        problem = (
            f"up to {most} rules like {counting[-1].id} count one operation, and {MOST_COUNTS} counts are looked up for"
            " one: of the others nothing is known, and their fail decides, those that enforce coming first"
        )
        yield _warning(counting[-1], problem, "say in their match what tells them apart, or write one limit with per")


def _warning(rule: Rule, problem: str, cure: str) -> RuleFault:
    return RuleFault(place=rule.place, problem=problem, suggestion=cure, rule=rule.id)
