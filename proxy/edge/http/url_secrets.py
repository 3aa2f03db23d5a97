"""What of a URL may be a secret, and texts without it: hosted bundlers and nodes take a key there, and quote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

_SHORTEST: Final = 8
"""Shorter ones stand in many a text by chance."""
_SHOWN: Final = re.compile(r"[A-Za-z0-9._~-]{0,15}\Z")  # a segment of a path that names a thing, as settings show it
_HIDDEN: Final = "***"


def secrets_in(url: str) -> tuple[str, ...]:
    """Whatever in it may be a key, as it stands there and as it reads, the longest first."""
    forms = {form for each in _candidates(urlsplit(url)) for form in (each, unquote(each))}
    return tuple(sorted((each for each in forms if len(each) >= _SHORTEST), key=lambda each: (-len(each), each)))


def without(secrets: Iterable[str], text: str) -> str:
    """The text with something else in place of each."""
    for each in secrets:
        text = text.replace(each, _HIDDEN)
    return text


def hiding(urls: Iterable[str]) -> Callable[[str], str]:
    """What makes texts without the secrets of these."""
    return partial(without, [each for url in urls for each in secrets_in(url)])


def _candidates(parts: SplitResult) -> Iterator[str]:
    yield from (each for each in parts.path.split("/") if _SHOWN.match(each) is None)
    for pair in parts.query.split("&"):
        name, equals, value = pair.partition("=")
        yield value if equals else name
    yield parts.username or ""
    yield parts.password or ""
