"""References inside texts: `${NAME}` for a variable of the environment, `${file:/path}` for a secret in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.document import Document, Location, Place, did_you_mean

_REFERENCE = re.compile(r"\$(?:\$|\{([^{}]*)(\}?))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SECRET_FILE_LIMIT = 65_536


def referenced_variables(value: object) -> Iterator[str]:
    """The names of all variables that texts in `value` refer to."""
    if isinstance(value, dict):
        for item in value.values():
            yield from referenced_variables(item)
    elif isinstance(value, list):
        for item in value:
            yield from referenced_variables(item)
    elif isinstance(value, str):
        yield from (match[1] for match in _REFERENCE.finditer(value) if match[1])


StandIn = Callable[[Location, str, bool], str | None]
"""What stands for a reference that leads nowhere, by its location, itself, and whether it is the whole text; `None`
where nothing may."""


def no_stand_in(_location: Location, _reference: str, _whole: bool) -> str | None:
    """Where every reference is needed."""
    return None


def expand(document: Document, environ: Mapping[str, str], stand_in: StandIn = no_stand_in) -> object:
    """The document's values with every reference replaced, `$$` standing for a dollar sign.

    What cannot be replaced, and has no stand-in, is reported at its line; its location is then broken and its value
    `None`.
    """
    return _Expansion(document, environ, stand_in).expand(document.data, ())


@dataclass(frozen=True, slots=True)
class _Expansion:
    document: Document
    environ: Mapping[str, str]
    stand_in: StandIn

    def expand(self, value: object, at: Location) -> object:
        if isinstance(value, dict):
            return {key: self.expand(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.expand(item, (*at, index)) for index, item in enumerate(value)]
        return self._expand_text(value, at) if isinstance(value, str) else value

    def _expand_text(self, text: str, at: Location) -> str | None:
        place = self.document.place_of(at)
        expanded, end = "", 0
        for match in _REFERENCE.finditer(text):
            told = len(self.document.faults)
            replacement = "$" if match[0] == "$$" else self._look_up(match[1], place, closed=bool(match[2]))
            if replacement is None and match[2] and _names_something(match[1]):
                replacement = self.stand_in(at, match[1], match[0] == text)
                if replacement is not None:
                    del self.document.faults[told:]
            if replacement is None:
                self.document.broken.add(at)
                replacement = ""
            expanded += text[end : match.start()] + replacement
            end = match.end()
        return None if at in self.document.broken else expanded + text[end:]

    def _look_up(self, reference: str, place: Place, *, closed: bool) -> str | None:
        fault = self.document.fault
        if not closed:
            return fault(place, "${ without its closing }", "write ${NAME}, or $$ for a dollar sign")
        if reference.startswith("file:"):
            return self._read_secret(reference.removeprefix("file:"), place)
        if not _NAME.match(reference):
            return fault(place, f"${{{reference}}} names no variable", "write ${NAME} or ${file:/path/to/secret}")
        value = self.environ.get(reference)
        if value:
            return value
        cure = f"export {reference}=… first, or refer to a file: ${{file:/run/secrets/{reference.lower()}}}"
        if value is not None:
            return fault(place, f"the variable {reference} is set but empty", cure)
        similar = did_you_mean(reference, self.environ)
        return fault(place, f"the variable {reference} is not set", f"{similar} Or {cure}" if similar else cure)

    def _read_secret(self, path: str, place: Place) -> str | None:
        fault = self.document.fault
        try:
            with Path(path).open("rb") as file:
                content = file.read(_SECRET_FILE_LIMIT + 1)
            text = content.decode("utf-8").rstrip("\r\n")
        except OSError as error:
            return fault(place, f"{path!r} cannot be read: {error.strerror}", "check the path and who may read it")
        except ValueError:
            return fault(place, f"{path!r} is not UTF-8 text", "store the secret as text")
        if len(content) > _SECRET_FILE_LIMIT:
            return fault(place, f"{path!r} is longer than {_SECRET_FILE_LIMIT} bytes", "a secret is one line")
        return text or fault(place, f"{path!r} is empty", "write the secret into it")


def _names_something(reference: str) -> bool:
    return reference.startswith("file:") or _NAME.match(reference) is not None
