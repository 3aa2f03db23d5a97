"""What binds the records of a trail to one another: each carries a hash over its content and over the hash before it.

With a key the hash is a MAC: who can write the file but has no key can neither alter a record nor forge one. Without
a key it is a plain chain, which anybody can compute anew: it shows accidents, not malice.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import orjson

HASH_BYTES: Final = 32
GENESIS: Final = bytes(HASH_BYTES)
"""What stands for the hash before the first record of a trail."""

KEYLESS: Final = "none"
"""The name of no key."""

_DERIVE: Final = b"sessiongate-aud1"
_NAME: Final = b"audit-key-name-1"
_HEAD: Final = b"audit-trail-head"

Content = tuple[object, ...]
"""The columns of a record that its hash covers, in order: the id first. Text, integers, floats, bytes and None."""


@dataclass(frozen=True, slots=True, repr=False)
class ChainKey:
    """The key of a chain, derived from a secret of any length. Its name tells which key it was, and nothing of it."""

    secret: bytes  # 32 bytes, or none for a chain without a key
    name: str

    def __repr__(self) -> str:
        return f"ChainKey({self.name})"

    def link(self, before: bytes, content: Content) -> bytes:
        """The hash of a record that follows the one with the hash `before`."""
        return blake2b(before + canonical(content), key=self.secret, digest_size=HASH_BYTES).digest()

    def seal(self, record_id: int, record_hash: bytes) -> bytes:
        """What vouches for a record being the newest."""
        told = record_id.to_bytes(8, "big") + record_hash
        return blake2b(told, key=self.secret, digest_size=HASH_BYTES, person=_HEAD).digest()


NO_KEY: Final = ChainKey(b"", KEYLESS)


def chain_key(secret: str | None) -> ChainKey:
    """The key for a secret out of the settings; no secret, no key."""
    if secret is None:
        return NO_KEY
    key = blake2b(secret.encode(), digest_size=32, person=_DERIVE).digest()
    return ChainKey(key, blake2b(key=key, digest_size=8, person=_NAME).hexdigest())


def canonical(content: Content) -> bytes:
    """The one form in which a record is hashed: a JSON array of its columns, bytes in hex."""
    return orjson.dumps(content, bytes.hex)
