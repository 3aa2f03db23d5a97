"""One secp256k1 owner.

Source: Nexus `K1Validator.validateSignatureWithData`, Startale `ECDSAValidator`.
"""

from __future__ import annotations

from proxy.session.signers.verdict import BAD_INIT_DATA, INVALID, VALID, SignatureVerdict
from proxy.userop.primitives import ZERO_ADDRESS, Hash32
from proxy.userop.secp256k1 import HALF_ORDER, SIGNATURE, expand_compact, recover, signed_message_hash

_COMPACT = 64


def check_ecdsa(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """65 bytes, or 64 in the form of ERC-2098, by the one owner over the hash or its EIP-191 form; s must be low."""
    if len(init_data) != 20:
        return BAD_INIT_DATA
    if init_data == ZERO_ADDRESS or int.from_bytes(signature[32:64].ljust(32, b"\0"), "big") > HALF_ORDER:
        return INVALID
    if len(signature) == _COMPACT:
        signature = expand_compact(signature)  # its parity bit would make s high, so it is even here
    if len(signature) != SIGNATURE:
        return INVALID
    signed = (signed_message_hash(digest), digest)
    return VALID if any(recover(each, signature) == init_data for each in signed) else INVALID
