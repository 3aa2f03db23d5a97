"""Several secp256k1 owners with a threshold, in releases that want different things signed.

Source: rhinestonewtf/core-modules `OwnableValidator.validateSignatureWithData` with rhinestonewtf/checknsignatures;
which release takes which form was measured on the byte-exact contracts. What owners sign besides operations has the
same form: @rhinestone/sdk 1.15 `accounts/signing/message.js` adds 4 to v for the release of module-sdk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.session.signers.verdict import BAD_INIT_DATA, INVALID, TOO_SHORT, UNKNOWN, VALID, SignatureVerdict
from proxy.userop import abi
from proxy.userop.libsecp256k1 import recover_point
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, sha3
from proxy.userop.secp256k1 import PERSONAL_MESSAGE, SIGNATURE, address_of, recover, signed_message_hash

_MOST_SIGNATURES: Final = 64
"""Twice as many as the validator takes owners: nobody sends more, and each costs two recoveries."""
_PLAIN_V: Final = (27, 28)
_OWNERS: Final = abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS))


@lru_cache(maxsize=4096)
def _owners(init_data: bytes) -> tuple[int, tuple[Address, ...], bool] | None:
    """threshold and owners of abi.encode(uint256, address[]), and whether they ascend; `None` when it does not
    decode."""
    try:
        threshold, owners = abi.decode(_OWNERS, init_data, "sessionValidatorInitData")
    except Undecodable:
        return None
    return threshold, owners, all(owners[index] < owners[index + 1] for index in range(len(owners) - 1))


@record()
class OwnableForm:
    """What one release takes for a signature of an operation.

    `prefixes`: the validator itself puts the EIP-191 prefix before the hash, always. `reads_all`: every 65 bytes are
    recovered, those beyond the threshold too. `wanted` and `sdk_call` name the form for people, of a userOpHash; of a
    grant's digest an owner signs the same.
    """

    prefixes: bool
    reads_all: bool
    wanted: str
    sdk_call: str

    def of(self, digest: str) -> OwnableForm:
        """The same in words about what is named so, in place of the userOpHash."""
        wanted, sdk_call = (text.replace("userOpHash", digest) for text in (self.wanted, self.sdk_call))
        return replace(self, wanted=wanted, sdk_call=sdk_call)


BARE_HASH: Final = OwnableForm(
    prefixes=False,
    reads_all=True,
    wanted="the bare userOpHash with v 27 or 28, or its EIP-191 form with 4 added to v",
    sdk_call="account.sign({ hash: userOpHash }) of a viem account, or signMessage({ message: { raw: userOpHash } }) of"
    " another wallet with 4 added to its last byte",
)
MESSAGE: Final = OwnableForm(
    prefixes=True,
    reads_all=False,
    wanted="the EIP-191 form of the userOpHash with v 27 or 28",
    sdk_call="account.signMessage({ message: { raw: userOpHash } }) of a viem account",
)
OWNABLE_FORMS: Final = {
    Address(bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98")): BARE_HASH,  # release, module-sdk's default
    Address(bytes.fromhex("0000000000E9E6E96Bcaa3c113187CdB7E38AED9")): MESSAGE,  # beta, Startale's session validator
}
"""By address, as measured on the byte-exact contracts. Releases that are not here are asked at the chain."""


def check_ownable(form: OwnableForm, init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """threshold × 65 bytes in any order; fewer than 65 bytes at the end are ignored."""
    configured = _owners(init_data)
    if configured is None:
        return BAD_INIT_DATA
    threshold, owners, ascending = configured
    if threshold == 0 or not ascending:
        return INVALID
    if len(signature) < threshold * SIGNATURE:
        return TOO_SHORT
    if threshold > len(owners):
        return INVALID
    signed = signed_message_hash(digest) if form.prefixes else digest
    return _count(form, signed, threshold, owners, signature)


KeyCheck = Callable[[Hash32, bytes], SignatureVerdict]
"""(user_op_hash, signature) → verdict, of one session's key."""


def one_of(form: OwnableForm, init_data: bytes) -> KeyCheck | None:
    """`check_ownable` made ready for a session that one signature is enough for; `None` of any other."""
    configured = _owners(init_data)
    if configured is None:
        return None
    threshold, owners, ascending = configured
    if threshold != 1 or not ascending or not owners:
        return None
    prefixes, signers = form.prefixes, frozenset(owners) - {ZERO_ADDRESS}  # it is what nobody recovers to

    def check(digest: Hash32, signature: bytes) -> SignatureVerdict:
        if len(signature) != SIGNATURE or signature[64] not in _PLAIN_V:
            return check_ownable(form, init_data, digest, signature)
        signed = sha3(PERSONAL_MESSAGE + digest).digest() if prefixes else digest
        point = recover_point(signed, signature, signature[64] - 27)
        return INVALID if point is None or address_of(point) not in signers else VALID

    return check


def other_form(form: OwnableForm, init_data: bytes, digest: Hash32, signature: bytes) -> OwnableForm | None:
    """The release whose form a signature is in that was refused for its form."""
    for other in OWNABLE_FORMS.values():
        if other is not form and check_ownable(other, init_data, digest, signature) is VALID:
            return other
    return None


def nobody_signed(form: OwnableForm, digest: Hash32, signature: bytes) -> bool:
    """Whether whoever the owners are, none of them made a signature: there is no whole one, or none recovers to a key.

    A contract that would have to be asked may be one of them.
    """
    count = len(signature) // SIGNATURE
    if count > _MOST_SIGNATURES:
        return False
    signed = signed_message_hash(digest) if form.prefixes else digest
    chunks = (signature[at : at + SIGNATURE] for at in range(0, count * SIGNATURE, SIGNATURE))
    return not any(signers or asks for signers, asks in (_signers(signed, chunk) for chunk in chunks))


def _count(
    form: OwnableForm, digest: Hash32, threshold: int, owners: tuple[Address, ...], signature: bytes
) -> SignatureVerdict:
    """Where it decides whether signatures beyond the threshold are read, and that is not known, ask the chain."""
    count = len(signature) // SIGNATURE
    if count > _MOST_SIGNATURES:
        return UNKNOWN
    every = signature[: count * SIGNATURE]
    if form.reads_all or count == threshold:
        return _count_owners(digest, threshold, owners, every)
    verdict = _count_owners(digest, threshold, owners, signature[: threshold * SIGNATURE])
    return verdict if _count_owners(digest, threshold, owners, every) is verdict else UNKNOWN


def _count_owners(digest: Hash32, threshold: int, owners: tuple[Address, ...], signature: bytes) -> SignatureVerdict:
    signers, asks_contract = _signers(digest, signature)
    if len(signers.intersection(owners)) < threshold:
        return INVALID
    return UNKNOWN if asks_contract else VALID


def _signers(digest: Hash32, signature: bytes) -> tuple[set[Address], bool]:
    """Who made the signatures, and whether a contract among them is to be asked."""
    signers = set()
    asks_contract = False
    for at in range(0, len(signature), SIGNATURE):
        single = signature[at : at + SIGNATURE]
        v = single[64]
        if v == 0:  # r is the address of a contract that is asked (ERC-1271)
            asks_contract = True
            signers.add(Address(single[12:32]))
        elif v > 30:  # eth_sign: the signer added the EIP-191 prefix itself
            signers.add(recover(signed_message_hash(digest), single[:64] + bytes((v - 4,))))
        else:
            signers.add(recover(digest, single))
    signers.discard(ZERO_ADDRESS)  # a signature of nobody, even where the zero address is an owner
    return signers, asks_contract
