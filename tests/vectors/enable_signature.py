"""enable_signature.json: the session envelope, and the digests an owner signs for it.

Streams that only the careless decompressor on chain reads (`corrupted-but-decodable`) may be refused; where they are
read, they must be read as the chain did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.errors import Undecodable
from proxy.session.enable_digest import multichain_digest, session_digest
from proxy.userop import fastlz
from proxy.userop.primitives import Address, keccak256
from proxy.userop.signature import SessionEnvelope, decode_session_envelope, encode_session_envelope
from tests.vectors.fields import read_enable_session, read_hex
from tests.vectors.registry import Finding


def check_enable_signatures(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        problem = _problem_of(vector)
        yield vector["id"], problem is None, problem or ""


def _problem_of(vector: Mapping[str, Any]) -> str | None:
    packed, expected = read_hex(vector["packed"]), vector["expected"]
    try:
        envelope = decode_session_envelope(packed)
    except Undecodable as error:
        refusable = expected["status"] == "reject" or vector["kind"] == "corrupted-but-decodable"
        return None if refusable else f"refused: {error}"
    if expected["status"] != "ok":
        return "read, though the chain refuses it"
    if (envelope.mode, envelope.permission_id) != (expected["mode"], read_hex(expected["permissionId"])):
        return "another mode or permission id"
    if envelope.signature != read_hex(expected["signature"]):
        return "another session signature"
    if decode_session_envelope(encode_session_envelope(envelope)) != envelope:
        return "encoding is not the inverse of decoding"
    return _problem_of_enable(vector, envelope, packed)


def _problem_of_enable(vector: Mapping[str, Any], envelope: SessionEnvelope, packed: bytes) -> str | None:
    enable = envelope.enable
    if enable is None:
        return None
    if enable != read_enable_session(vector["expected"]["enableSession"]):
        return "another EnableSession"
    if "plain" in vector and keccak256(fastlz.inflate(packed[1:])) != read_hex(vector["plain"]["keccak256"]):
        return "another inflated content"
    if (digest := vector.get("digest")) is None:
        return None
    of_session = session_digest(
        enable.session,
        account=Address(read_hex(digest["account"])),
        smart_session=Address(read_hex(digest["smartSession"])),
        mode=envelope.mode,
        nonce=digest["nonce"],
    )
    if of_session != read_hex(digest["sessionDigest"]):
        return "another session digest"
    if multichain_digest(enable.digests) != read_hex(digest["multichainDigest"]):
        return "another multichain digest"
    return None


CHECKERS = {"enable-signature/1": check_enable_signatures}
