"""API keys, of which a digest alone is kept: they are long and random, so that SHA-256 tells nothing of them."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

HASHED: Final = "sha256:"
_HASH: Final = re.compile(r"sha256:[0-9a-fA-F]{64}\Z")


def digest_of(key: str) -> bytes:
    """The SHA-256 digest of a key as it was sent."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def digest_written(text: str) -> bytes:
    """The digest of a key as settings have it: the key itself, or `sha256:` and the digest in hex."""
    return bytes.fromhex(text.removeprefix(HASHED)) if is_hash(text) else digest_of(text)


def is_hash(text: str) -> bool:
    """Whether settings have a digest in place of a key."""
    return _HASH.match(text) is not None


def keys_in_query(query: str) -> list[str]:
    """The keys in the query of a URL: every `apikey=`. `+` stands for itself, as keys have it."""
    pairs = (pair.partition("=") for pair in query.split("&"))
    return [unquote(value, errors="surrogateescape") for name, _, value in pairs if unquote(name) == "apikey"]


def key_in_segment(segment: str) -> str:
    """The key that the last segment of a path is."""
    return unquote(segment, errors="surrogateescape")
