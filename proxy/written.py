"""The kinds of text that people write, in settings and in rules, and what each becomes inside.

Every reader here takes the text as written and raises a fault with a cure. A fault never shows a text that may
hold a secret.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic_core import PydanticCustomError

from proxy.userop.primitives import Address, Hash32, Selector, keccak256, print_checksummed

FAULT_TYPE: Final = "sessiongate_fault"


def fault(problem: str, suggestion: str | None = None) -> PydanticCustomError:
    """A fault that a validator raises; it reaches the operator with file and line."""
    # the braces of a problem must not be taken for pydantic's own template fields
    return PydanticCustomError(FAULT_TYPE, "{problem}", {"problem": problem, "suggestion": suggestion})


def shorten(text: str) -> str:
    """At most 60 characters of a text, quoted, for a fault."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


def _read_hex(value: object, size: int, name: str) -> bytes:
    digits = 2 * size
    shape = f"{name} is 0x and {digits} hex digits"
    if not isinstance(value, str):
        raise fault(f"wanted {name}, got {kind_of(value)}", shape)
    if value.startswith("0X"):
        raise fault(f"{shorten(value)} is not {name}", f"write 0x in lower case: {'0x' + value[2:]}")
    if not value.startswith("0x"):
        if len(value) == digits and _HEX_DIGITS.issuperset(value):
            raise fault(f"{shorten(value)} is not {name}", f"write 0x in front: 0x{value}")
        if value.isdecimal():
            raise fault(
                f"{value[:60]} is a number, not {name}",
                f"write it as 0x and {digits} hex digits; a tool may have turned an unquoted 0x… into this number",
            )
        raise fault(f"{shorten(value)} is not {name}", shape)
    if not _HEX_DIGITS.issuperset(value[2:]):
        strange = next(character for character in value[2:] if character not in _HEX_DIGITS)
        raise fault(f"{shorten(value)} is not {name}", f"{strange!r} is no hex digit")
    if len(value) != digits + 2:
        raise fault(f"{shorten(value)} is not {name}", f"it has {len(value) - 2} digits after 0x, wanted {digits}")
    return bytes.fromhex(value[2:])


def read_address(value: object) -> Address:
    """An address. Written in both cases it must pass its checksum (EIP-55), which catches a mistyped digit."""
    address = Address(_read_hex(value, 20, "an address"))
    text = str(value)
    one_case = text[2:] in {text[2:].lower(), text[2:].upper()}
    if not one_case and text != print_checksummed(address):
        raise fault(
            f"{text} fails its checksum (EIP-55), so a digit may be mistyped",
            "copy it again, or write it in lower case if you are sure",
        )
    return address


def read_hash(value: object) -> Hash32:
    """32 bytes, such as a permission id."""
    return Hash32(_read_hex(value, 32, "a 32-byte id"))


def kind_of(value: object) -> str:
    """What was written instead, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else shorten(str(value))


_FUNCTION = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]*)\((.*)\)\Z")
_FUNCTION_LIMIT = 1_000
_ABI_TYPE = re.compile(r"(address|bool|string|function|bytes|(u?int)|bytes(\d+)|u?int(\d+))((?:\[\d*\])*)\Z")


def read_selector(value: object) -> Selector:
    """A selector: 0x and 8 hex digits, or the function itself, `transfer(address,uint256)`."""
    if not isinstance(value, str) or "(" not in value:
        return Selector(_read_hex(value, 4, "a selector"))
    text = re.sub(r"\s*,\s*", ",", value.strip())
    match = _FUNCTION.match(text) if len(text) <= _FUNCTION_LIMIT else None
    if match is None:
        raise fault(f"{shorten(value)} is no function", "write it as transfer(address,uint256)")
    parameters = _canonical_types(match[2])
    if parameters is None:
        raise fault(
            f"{shorten(value)} has parameters that are no ABI types",
            "write the types alone, without names: transfer(address,uint256)",
        )
    canonical = f"{match[1]}({parameters})"
    if canonical != text:
        raise fault(f"{shorten(value)} is not the canonical form", f"write {canonical}")
    return Selector(keccak256(canonical.encode())[:4])


def _canonical_types(text: str) -> str | None:
    """The comma-separated ABI types in their canonical spelling (`uint` is `uint256`); `None` when one is none."""
    if not text:
        return ""
    items, depth, start = [], 0, 0
    for at, character in enumerate(f"{text},"):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append(_canonical_type(text[start:at]))
            start = at + 1
    known = [item for item in items if item is not None]
    return ",".join(known) if depth == 0 and len(known) == len(items) else None


def _canonical_type(text: str) -> str | None:
    if text.startswith("("):
        inside, closing, suffix = text[1:].rpartition(")")
        members = _canonical_types(inside) if inside else None
        is_tuple = closing and members is not None and re.fullmatch(r"(?:\[\d*\])*", suffix)
        return f"({members}){suffix}" if is_tuple else None
    match = _ABI_TYPE.match(text)
    if match is None:
        return None
    base, bare_integer, size, bits, suffix = match.groups()
    is_sized = (size is None or 1 <= int(size) <= 32) and (bits is None or int(bits) in range(8, 257, 8))
    return f"{base}{'256' if bare_integer else ''}{suffix}" if is_sized else None
