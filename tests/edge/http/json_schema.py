"""As much of JSON Schema as the documents here use: a value that does not fit, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_KEYWORDS = frozenset(
    {"type", "enum", "pattern", "anyOf", "properties", "required", "items", "minimum", "description", "$ref", "format"}
    | {"additionalProperties", "const"}
)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def misfits(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], at: str = "$") -> Iterator[str]:
    """Everything in `value` that the schema does not allow."""
    assert schema.keys() <= _KEYWORDS, schema.keys() - _KEYWORDS
    if (ref := schema.get("$ref")) is not None:
        yield from misfits(value, resolved(document, ref), document, at)
        return
    if "anyOf" in schema and all(list(misfits(value, each, document, at)) for each in schema["anyOf"]):
        yield f"{at}: none of {len(schema['anyOf'])} fits"
    if (kind := schema.get("type")) is not None:
        is_flag = isinstance(value, bool) and kind in ("integer", "number")
        if is_flag or not isinstance(value, _TYPES[kind]):
            yield f"{at}: {type(value).__name__} is no {kind}"
            return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']!r}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{at}: {value!r} is too small"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: {value!r} does not match"
    if isinstance(value, dict):
        yield from _of_object(value, schema, document, at)
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield from misfits(each, schema["items"], document, f"{at}[{index}]")


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], document: Mapping[str, Any], at: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    yield from (f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value)
    for name, each in value.items():
        if name in properties:
            yield from misfits(each, properties[name], document, f"{at}.{name}")
        elif properties and schema.get("additionalProperties") is not True:
            yield f"{at}.{name}: not in the document"


def resolved(document: Mapping[str, Any], ref: str) -> Any:
    """What a `#/…` stands for."""
    found: Any = document
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
    return found
