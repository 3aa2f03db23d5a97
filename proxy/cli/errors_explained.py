"""`sessiongate explain` of an error: what a bundler answered, or what a contract reverted with, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import typer

from proxy.cli.options import ExitCode, fail
from proxy.cli.reading import read_text
from proxy.errors import RpcError
from proxy.session.chain_words import in_words, revert_in_words, unknown_errors_in
from proxy.userop.primitives import parse_bytes

_AA: Final = re.compile(r"\bAA[0-9]{2}\b", re.ASCII)
_CODE: Final = re.compile(r"aa[0-9]{2}\Z", re.IGNORECASE | re.ASCII)
_HEX: Final = re.compile(r"0x[0-9a-fA-F]*\Z", re.ASCII)
_DATA: Final = ("data", "revertData")


class SaidError(NamedTuple):
    """An error as a bundler words it."""

    message: str
    code: int | None = None


def error_in(argument: str) -> SaidError | None:
    """The error that was pasted; `None` where that is something else, the name of a file among others."""
    text = argument.strip()
    if text.startswith("0x"):
        return _error_in_data(text)
    if not text.startswith(("{", "[")):
        return _error_in_text(text)
    try:
        value = read_text(text)
    except RpcError:
        return None
    return _error_in_object(value)


def _error_in_text(text: str) -> SaidError | None:
    """What is no operation and says something that is known of, or names a code of the entry point's."""
    if _CODE.match(text):
        text = text.upper()
    about_an_operation = "sender" in text and "callData" in text
    says_something = in_words(text) is not None or any(unknown_errors_in(text))
    if not _AA.search(text) and (about_an_operation or not says_something):
        return None
    return None if Path(text[:255]).exists() else SaidError(text)


def _error_in_data(text: str) -> SaidError | None:
    try:
        data = parse_bytes(text, "hex")
    except RpcError:
        return None
    return None if revert_in_words(data) is None else SaidError(text)


def _error_in_object(value: object) -> SaidError | None:
    if not isinstance(value, Mapping) or "method" in value:
        return None
    error = value.get("error", value)
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return None
    code, data = error.get("code"), error.get("data")
    if isinstance(data, Mapping):
        data = next((data[name] for name in _DATA if isinstance(data.get(name), str)), None)
    message = str(error["message"])
    if isinstance(data, str):
        message = f"{message} {'reverted with ' if _HEX.match(data) else ''}{data}"
    return SaidError(message, code if type(code) is int else None)


def explain_error(error: SaidError, *, as_json: bool) -> None:
    """Print it in words; ends the command when nothing is known of it."""
    words, unknown = in_words(error.message, error.code), list(unknown_errors_in(error.message))
    if words is None and not unknown:
        fail("nothing is known of this error here", ExitCode.REFUSED)
    if as_json:
        told = {"code": error.code, "message": error.message, "meaning": words, "unknownErrors": unknown}
        typer.echo(json.dumps(told, indent=2))
        return
    for line in (
        *filter(None, [words]),
        *(f"reverted with an error that is not known here: {data}" for data in unknown),
    ):
        typer.echo(line)
