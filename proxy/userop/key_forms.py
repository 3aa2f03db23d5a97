"""In which forms one session key signs an operation for a declared module, and whose signature it is.

Each form has an address of our own, so that a session's state names it where it names other session validators; no
contract can be there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, keccak256
from proxy.userop.secp256k1 import HALF_ORDER, SIGNATURE, recover, signed_message_hash

PLAIN_KEY: Final = Address(keccak256(b"sessiongate: one key, the userOpHash as it is")[12:])
MESSAGE_KEY: Final = Address(keccak256(b"sessiongate: one key, the userOpHash as a message (EIP-191)")[12:])
KEY_FORMS: Final = (PLAIN_KEY, MESSAGE_KEY)


@lru_cache(maxsize=1 << 10)
def key_that_signed(form: Address, user_op_hash: Hash32, signature: bytes) -> Address | None:
    """The one key by which `signature` is good in this form; `None`: by none.

    65 bytes with v 27 or 28 and a low s. An operation is looked at several times, its signature is recovered once.
    """
    if len(signature) != SIGNATURE or int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        return None
    digest = signed_message_hash(user_op_hash) if form == MESSAGE_KEY else user_op_hash
    signer = recover(digest, signature)
    return None if signer == ZERO_ADDRESS else signer


def other_key_form(form: Address) -> Address:
    """The form that is taken for this one by mistake."""
    return PLAIN_KEY if form == MESSAGE_KEY else MESSAGE_KEY
