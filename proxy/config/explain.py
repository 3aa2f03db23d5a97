"""What pydantic found, in the words and at the line that an operator needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from proxy.config.clients import Client, ClientRates, Cors
from proxy.config.fields import FAULT_TYPE, kind_of, shorten
from proxy.config.overrides import ShapeAt
from proxy.config.session_modules import DeclaredModuleSettings
from proxy.config.settings import (
    Audit,
    AuditHeads,
    Chain,
    Config,
    DeclaredActionSettings,
    Limits,
)
from proxy.config.settings import DeclaredSessionSettings as Declared
from proxy.document import Document, Location, did_you_mean, print_location

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_TELLING = 6  # characters of a secret in a row that tell too much
_QUOTED = re.compile(r"'([^']*)'")
_WANTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
}
_BOUNDS = {"greater_than_equal": "ge", "less_than_equal": "le", "greater_than": "gt", "less_than": "lt"}
_HOMES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("at the top of the file", Config),
    ("under chains.<name>", Chain),
    ("in an entry of clients", Client),
    ("under rates of a client", ClientRates),
    ("under limits", Limits),
    ("under cors", Cors),
    ("under audit", Audit),
    ("under audit.heads", AuditHeads),
    ("in an entry of sessions", Declared),
    ("in an action of a session", DeclaredActionSettings),
    ("in a declared module of session_modules", DeclaredModuleSettings),
)


def explain(document: Document, details: ErrorDetails, shape_at: ShapeAt) -> None:
    """Report one finding of pydantic, unless its place was reported already."""
    location = _as_written(details["loc"])
    kind = details["type"]
    if document.is_broken(location) or _is_long_enough_as_written(document, details, location):
        return
    if kind == "extra_forbidden":
        _explain_unknown(document, location, shape_at)
    elif kind == "missing":
        _explain_missing(document, location, shape_at)
    else:
        problem, cure = _explain_value(document, details, location)
        if _quotes_a_replacement(details["input"], document.written(location), f"{problem} {cure}"):
            problem, cure = (
                f"what {kind_of(document.written(location))} stands for is refused",
                "check what it is set to",
            )
        document.fault(document.place_of(location), f"{print_location(location) or 'the file'}: {problem}", cure)


def _as_written(found: tuple[str | int, ...]) -> Location:
    """Without the steps that pydantic puts in: of keys, and which kind of session module an entry was taken for."""
    steps = [step for step in found if step != "[key]"]
    if steps[2:3] == ["session_modules"] and len(steps) > 4 and steps[0] == "chains":
        del steps[4]
    return tuple(steps)


def _is_long_enough_as_written(document: Document, details: ErrorDetails, location: Location) -> bool:
    """Entries at fault are reported themselves; that their list is too short without them is not news."""
    written = document.written(location)
    if details["type"] != "too_short" or not isinstance(written, list):
        return False
    return bool(len(written) >= details["ctx"]["min_length"])


def _quotes_a_replacement(value: object, written: object, text: str) -> bool:
    """Whether a fault would print what a reference was replaced by, which may be a secret put in the wrong place."""
    if not isinstance(value, str) or value == written:
        return False
    chunk = min(len(value), _TELLING)
    return any(value[at : at + chunk] in text for at in range(len(value) - chunk + 1))


def _explain_unknown(document: Document, location: Location, shape_at: ShapeAt) -> None:
    key = str(location[-1])
    place = document.keys.get(location, document.place_of(location))
    where = f" in {print_location(location[:-1])}" if location[:-1] else ""
    close, home = did_you_mean(key, shape_at(location[:-1]).keys), _other_home(key)
    suggestion = f"{close} Otherwise {home}" if close and home else close or home
    if key == "<<":
        suggestion = "write the keys out: merging is not read here"
    document.fault(place, f"unknown key {shorten(key)}{where}", suggestion)


def _other_home(key: str) -> str | None:
    homes = [home for home, model in _HOMES if key in _names(model)]
    return f'"{key}" belongs {" or ".join(homes)}' if homes else None


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        if field.alias:
            yield field.alias


def _explain_missing(document: Document, location: Location, shape_at: ShapeAt) -> None:
    parent, key = location[:-1], str(location[-1])
    misspelt = [
        known[-1]
        for known in document.keys
        if known[:-1] == parent and did_you_mean(str(known[-1]), [key]) and known[-1] not in shape_at(parent).keys
    ]
    if misspelt:
        return  # the unknown key there is reported with this one as its suggestion
    place = document.keys.get(parent, document.place_of(parent))
    example = _example(location)
    document.fault(
        place,
        f"{print_location(parent) or 'the file'} needs {key}",
        f"add {key}: {example}" if example else f"add {key}",
    )


def _example(location: Location) -> str | None:
    for _, model in _HOMES:
        for name, field in model.model_fields.items():
            if location[-1] in {name, field.alias} and field.examples:
                return str(field.examples[0])
    return None


def _explain_value(document: Document, details: ErrorDetails, location: Location) -> tuple[str, str | None]:
    kind, context = details["type"], details.get("ctx", {})
    written = document.written(location)
    if kind == FAULT_TYPE:
        return context["problem"], context["suggestion"]
    if kind == "enum":
        choices = _QUOTED.findall(context["expected"])
        cure = did_you_mean(written, choices) if isinstance(written, str) else None
        return f"{kind_of(written)} is not one of {', '.join(choices)}", cure
    if kind in _BOUNDS:
        bound = context[_BOUNDS[kind]]
        return f"{kind_of(written)} is out of bounds", f"it must be {_PHRASES[kind]} {bound}"
    if kind in {"model_type", "dict_type", "mapping_type", "model_attributes_type"}:
        return f"wanted a mapping of keys, got {kind_of(written)}", "write key: value, indented below"
    if kind in {"tuple_type", "list_type"}:
        cure = f"write it as a list: [{written}]" if isinstance(written, str) else "write it as a list: […]"
        return f"wanted a list, got {kind_of(written)}", cure
    return _explain_text(kind, context, written)


_PHRASES = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "greater_than": "more than",
    "less_than": "less than",
}


def _explain_text(kind: str, context: dict[str, Any], written: object) -> tuple[str, str | None]:
    if kind in {"string_too_short", "too_short", "string_too_long", "too_long"}:
        one, many = ("character", "characters") if isinstance(written, str) else ("entry", "entries")
        end, phrase, key = ("long", "most", "max_length") if "long" in kind else ("short", "least", "min_length")
        bound = context[key]
        return f"too {end}: wanted at {phrase} {bound} {one if bound == 1 else many}", None
    if kind == "string_pattern_mismatch":
        return f"{kind_of(written)} is not allowed here", "letters, digits, dot, - and _, at most 64"
    wanted = _WANTED.get(kind)
    if wanted is None:
        return "is not what is wanted here", f"see the example file ({kind})"
    return f"wanted {wanted}, got {kind_of(written)}", None
