"""Keys that sign as wallets and authenticators do, and validator configurations."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.signers import p256, signed_message_hash
from proxy.session.signers.webauthn import ASSERTION
from proxy.userop import abi
from proxy.userop.primitives import Address, Hash32, keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HASH = Hash32(keccak256(b"operation"))
OTHER_HASH = Hash32(keccak256(b"another"))
ACCOUNT = Address(b"\xac" * 20)


def validators(kind: ValidatorKind) -> list[Address]:
    return [address for address, each in VALIDATOR_KINDS.items() if each is kind]


class Key:
    """A secp256k1 session key."""

    def __init__(self, number: int) -> None:
        self._key = PrivateKey(number.to_bytes(32, "big"))
        self.address = Address(keccak256(self._key.public_key.format(compressed=False)[1:])[12:])

    def sign(self, digest: bytes, *, add_to_v: int = 27) -> bytes:
        """r ‖ s ‖ v over the digest itself."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + add_to_v])

    def sign_message(self, digest: bytes, *, add_to_v: int = 27) -> bytes:
        """As viem's signMessage({raw}): over the EIP-191 hash."""
        return self.sign(signed_message_hash(digest), add_to_v=add_to_v)


def malleable(signature: bytes) -> bytes:
    """The other signature by the same key: s negated, v flipped."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def compact(signature: bytes) -> bytes:
    """The 64 bytes of ERC-2098."""
    return signature[:32] + bytes([signature[32] | (signature[64] - 27) << 7]) + signature[33:64]


class Passkey:
    """A P-256 key behind an authenticator."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(number, ec.SECP256R1())
        public = self._key.public_key().public_numbers()
        self.x, self.y = public.x, public.y
        self.id = keccak256(self.words + ACCOUNT.rjust(32, b"\0"))

    @property
    def words(self) -> bytes:
        return self.x.to_bytes(32, "big") + self.y.to_bytes(32, "big")

    def sign(self, message: bytes) -> tuple[int, int]:
        """(r, s) with a low s."""
        r, s = utils.decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256())))
        return r, min(s, p256.ORDER - s)

    def assert_challenge(
        self, challenge: bytes, *, flags: int = 0x05, counter: bytes = bytes(4)
    ) -> tuple[bytes, bytes, int, int, int, int]:
        """A WebAuthnAuth, as a browser has its authenticator make it."""
        authenticator_data = sha256(b"dapp.example").digest() + bytes([flags]) + counter
        text = urlsafe_b64encode(challenge).decode().rstrip("=")
        client_data = f'{{"type":"webauthn.get","challenge":"{text}","origin":"https://dapp.example"}}'.encode()
        r, s = self.sign(authenticator_data + sha256(client_data).digest())
        return authenticator_data, client_data, client_data.index(b'"challenge"'), 1, r, s


def owners_data(threshold: int, *owners: Address) -> bytes:
    """Configuration of an OwnableValidator."""
    return abi.encode(abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS)), (threshold, owners))


def session_form(*assertions: tuple[bytes, bytes, int, int, int, int]) -> bytes:
    """abi.encode(WebAuthnAuth[])."""
    return abi.encode(abi.tuple_of(abi.list_of(ASSERTION)), (assertions,))


def v0_form(assertion: tuple[bytes, bytes, int, int, int, int], *, use_precompiled: bool = False) -> bytes:
    authenticator_data, client_data, _, type_index, r, s = assertion
    types = abi.tuple_of(abi.BYTES, abi.BYTES, abi.UINT256, abi.UINT256, abi.UINT256, abi.BOOL)
    return abi.encode(types, (authenticator_data, client_data, type_index, r, s, use_precompiled))


def credentials_data(
    *passkeys: Passkey, threshold: int = 1, use_precompile: bool = False, require_uv: bool = False
) -> bytes:
    """Configuration of a WebAuthnValidator for a session."""
    credential = abi.tuple_of(abi.UINT256, abi.UINT256, abi.BOOL)
    context = abi.tuple_of(abi.BOOL, abi.UINT256, abi.list_of(abi.BYTES32), abi.list_of(credential))
    ids = [passkey.id for passkey in passkeys]
    credentials = [(passkey.x, passkey.y, require_uv) for passkey in passkeys]
    return abi.encode(abi.tuple_of(context, abi.ADDRESS), ((use_precompile, threshold, ids, credentials), ACCOUNT))


def signers_data(*signers: bytes) -> bytes:
    """Configuration of a MultiKeySigner: addresses (20 bytes) and passkeys (64 bytes)."""
    return bytes([len(signers)]) + b"".join(bytes([len(signer) == 64]) + signer for signer in signers)


def signatures_of(*signatures: bytes) -> bytes:
    """abi.encode(bytes[])."""
    return abi.encode(abi.tuple_of(abi.list_of(abi.BYTES)), (signatures,))


def flips(signature: bytes, accepted: object) -> set[tuple[int, int]]:
    """The (byte, bit) positions at which a flipped signature is still `accepted`."""
    assert callable(accepted)
    assert accepted(signature)
    changed = bytearray(signature)
    found = set()
    for at in range(len(signature)):
        for bit in range(8):
            changed[at] ^= 1 << bit
            if accepted(bytes(changed)):
                found.add((at, bit))
            changed[at] ^= 1 << bit
    return found


def every_bit(*spans: range) -> set[tuple[int, int]]:
    return {(at, bit) for span in spans for at in span for bit in range(8)}
