"""ECDSA recovery in two calls into libsecp256k1, as coincurve brings it along.

coincurve's own way makes objects on the way and lets go of the interpreter in every call: to have it back costs more
than the curve, as soon as another thread wants it. These calls keep it for the forty microseconds that they take.

To verify with a remembered key would save a tenth of that and is not done: it says nothing of v, by which contracts
tell one signer from another.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Final

from coincurve import PublicKey, _libsecp256k1

_SIGNATURE: Final = 65  # opaque to us, like the key
_KEY: Final = 64
_UNCOMPRESSED: Final = 2  # SECP256K1_EC_UNCOMPRESSED
_POINT: Final = 65


def _plainly(digest: bytes, compact: bytes, parity: int) -> bytes | None:
    """The same by coincurve's public names, for a build of it that shows no others."""
    try:
        key = PublicKey.from_signature_and_message(compact[:64] + bytes((parity,)), digest, hasher=None)
    except ValueError:
        return None
    return bytes(key.format(compressed=False))


try:
    _LIBRARY: Final = ctypes.PyDLL(_libsecp256k1.__file__)
    _CONTEXT: Final = ctypes.c_void_p.in_dll(_LIBRARY, "secp256k1_context_static")
    _PARSE: Final = _LIBRARY.secp256k1_ecdsa_recoverable_signature_parse_compact
    _RECOVER: Final = _LIBRARY.secp256k1_ecdsa_recover
    _PRINT: Final = _LIBRARY.secp256k1_ec_pubkey_serialize
except (AttributeError, OSError, ValueError):
    IS_DIRECT = False
else:
    IS_DIRECT = True
    _PARSE.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
    _RECOVER.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)
    _PRINT.argtypes = (
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t), ctypes.c_char_p, ctypes.c_uint),
    )


class _Room:
    """Where the library writes. It is taken and given back, for another thread may be let on between two calls."""

    __slots__ = ("key", "signature")

    def __init__(self) -> None:
        self.signature = ctypes.create_string_buffer(_SIGNATURE)
        self.key = ctypes.create_string_buffer(_KEY)


_ROOMS: Final[list[_Room]] = []


@lru_cache(maxsize=1 << 13)
def _printed(key: bytes) -> bytes:
    """A public key of the library's own, as everybody else writes it. A session's key comes back with each operation,
    and what the library keeps for one key are always the same bytes."""
    point, length = ctypes.create_string_buffer(_POINT), ctypes.c_size_t(_POINT)
    _PRINT(_CONTEXT, point, ctypes.byref(length), key, _UNCOMPRESSED)
    return point.raw


def recover_point(digest: bytes, signature: bytes, parity: int) -> bytes | None:
    """The public key, uncompressed (04 ‖ x ‖ y), that signed `digest` (32 bytes) with r(32) ‖ s(32); what follows s
    is not looked at. `parity` is 0 or 1. `None` where there is none. Raises `ValueError` for a digest of another
    length or a shorter signature."""
    if len(digest) != 32 or len(signature) < 64 or parity not in (0, 1):
        raise ValueError("wanted a digest of 32 bytes, a signature of 64 and a parity")
    if not IS_DIRECT:
        return _plainly(digest, signature, parity)
    try:
        room = _ROOMS.pop()
    except IndexError:
        room = _Room()
    opaque, key = room.signature, room.key
    found = _PARSE(_CONTEXT, opaque, signature, parity) and _RECOVER(_CONTEXT, key, opaque, digest)
    signer = _printed(key.raw) if found else None
    _ROOMS.append(room)
    return signer
