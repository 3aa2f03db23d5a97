"""Signatures as the SDKs make them, and each kind of tampering with them; see fixtures/make_signatures.mjs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.signers import UNKNOWN, SignatureOutcome, SignatureVerdict, check_session_signature
from proxy.userop.primitives import Address, Hash32

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "signatures.json").read_text(encoding="utf-8"))


def member(vector: dict[str, str], name: str) -> bytes:
    return bytes.fromhex(vector[name].removeprefix("0x"))


def verdict_on(vector: dict[str, str], *, change_hash: bytes = bytes(32)) -> SignatureVerdict:
    changed = bytes(byte ^ change for byte, change in zip(member(vector, "hash"), change_hash, strict=True))
    validator = Address(member(vector, "validator"))
    return check_session_signature(validator, member(vector, "init_data"), Hash32(changed), member(vector, "signature"))


@pytest.mark.parametrize("vector", RECORDED, ids=[vector["name"] for vector in RECORDED])
def test_says_what_the_contract_says(vector: dict[str, str]) -> None:
    verdict = verdict_on(vector)
    assert verdict.outcome == vector["expected"]
    assert (verdict.revert.error if verdict.revert else None) == vector.get("revert")


@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_nothing_that_was_signed_is_valid_for_another_hash(bit: int) -> None:
    flipped = (1 << bit).to_bytes(32, "big")
    assert {verdict_on(vector, change_hash=flipped).outcome for vector in RECORDED} >= {SignatureOutcome.INVALID}
    for vector in RECORDED:
        assert verdict_on(vector, change_hash=flipped).outcome is not SignatureOutcome.VALID, vector["name"]


def test_every_kind_of_validator_is_recorded() -> None:
    recorded = {VALIDATOR_KINDS[Address(member(vector, "validator"))] for vector in RECORDED}
    assert recorded == set(ValidatorKind)
    assert {vector["expected"] for vector in RECORDED} == set(SignatureOutcome)


def test_does_not_know_other_validators() -> None:
    vector = RECORDED[0]
    stranger = Address(b"\x99" * 20)
    assert check_session_signature(stranger, member(vector, "init_data"), Hash32(bytes(32)), b"") == UNKNOWN
