"""What the released contracts were measured to take, asked of a whole gate: sent, estimated, granted on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.errors import Code
from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.policies.parameter_rules import Condition
from proxy.userop.primitives import Address, Hash32, print_checksummed
from proxy.userop.session_data import PolicyData, SessionData
from tests.admission.builders import enabling, granting, known, lane
from tests.app.builders import audited
from tests.app.released import (
    BETA,
    FIRST,
    OLDER_MODULE,
    OLDEST,
    PAY,
    RELEASE,
    SECOND,
    STRANGER,
    UNLISTED,
    Sign,
    asked,
    enabled_by,
    of,
    sized,
    used,
)
from tests.bypass_list.desk import a_session, use
from tests.running_gate import ESTIMATE, running_gate
from tests.session.builders import (
    TOKEN,
    TRANSFER,
    action,
    arg,
    node,
    rule,
    uni_action,
    word,
)
from tests.session.signers.keys import Key, Passkey, credentials_data, malleable, session_form


def bare_with(v: int, key: Key = FIRST) -> Sign:
    return lambda digest: key.sign(digest)[:64] + bytes([v])


def of_contract(key: Key) -> Sign:
    """v is 0: r names a contract that is asked, s where its own signature stands."""
    return lambda _: word(key.address) + word(65) + b"\0" + word(0)


FORMS: dict[str, tuple[Sign, bool | None, bool | None]] = {
    # how it is signed; whether the release takes it, whether the beta does, `None` where only the chain can tell
    "bare, v 27 or 28": (FIRST.sign, True, False),
    "bare, v 0 or 1": (lambda digest: FIRST.sign(digest, add_to_v=0), False, False),
    "bare, v + 4": (lambda digest: FIRST.sign(digest, add_to_v=31), False, False),
    "EIP-191, v 27 or 28": (FIRST.sign_message, False, True),
    "EIP-191, v + 4": (lambda digest: FIRST.sign_message(digest, add_to_v=31), True, False),
    "EIP-191, v 0 or 1": (lambda digest: FIRST.sign_message(digest, add_to_v=0), False, False),
    "bare, the malleable twin": (lambda digest: malleable(FIRST.sign(digest)), True, False),
    "EIP-191, the malleable twin": (lambda digest: malleable(FIRST.sign_message(digest)), False, True),
    "by a stranger": (STRANGER.sign, False, False),
    "bare, v 29": (bare_with(29), False, False),
    "by a contract that is the owner": (of_contract(FIRST), None, None),
    "by a contract that is none": (of_contract(STRANGER), False, False),
    "with a chunk of a stranger behind": (lambda d: FIRST.sign(d) + STRANGER.sign(d), True, False),
    "with a chunk of a stranger before": (lambda d: STRANGER.sign(d) + FIRST.sign(d), True, False),
    "with less than a chunk behind": (lambda d: FIRST.sign(d) + bytes(64), True, False),
    "one byte short": (lambda d: FIRST.sign(d)[:-1], False, False),
}


@pytest.mark.parametrize("validator", [RELEASE, BETA], ids=["release", "beta"])
async def test_a_session_signs_in_the_form_of_its_validators_release(validator: Address) -> None:
    """In a USE and in an ENABLE; where only the chain can tell and there is no node, nobody is believed."""
    async with running_gate() as gate:
        for number, (form, (sign, at_release, at_beta)) in enumerate(FORMS.items()):
            takes = at_release if validator == RELEASE else at_beta
            grant, new = of(validator, salt=2 * number), of(validator, salt=2 * number + 1)
            gate.running.registry.put(known(grant))
            for op in (used(grant, sign, 2 * number), enabled_by(new, sign, number=2 * number + 1)):
                assert await asked(gate, op, ESTIMATE) is None, form  # what an estimate is signed by is a stub
                error = await asked(gate, op)
                assert (error is None) is (takes is True), (form, error)


@pytest.mark.parametrize(
    ("validator", "sign", "wanted"),
    [
        (RELEASE, FIRST.sign_message, "account.sign({ hash: userOpHash })"),
        (BETA, FIRST.sign, "account.signMessage({ message: { raw: userOpHash } })"),
    ],
    ids=["release", "beta"],
)
async def test_who_signed_in_the_other_form_hears_the_call_that_makes_the_wanted_one(
    validator: Address, sign: Sign, wanted: str
) -> None:
    grant = of(validator)
    async with running_gate() as gate:
        gate.running.registry.put(known(grant))
        for op in (used(grant, sign), enabled_by(of(validator, salt=2), sign, number=1)):
            error = await asked(gate, op)
            assert error is not None
            assert error["code"] == Code.SESSION_SCOPE
            assert wanted in error["data"]["remedy"]


@pytest.mark.parametrize(
    ("validator", "one", "two"), [(RELEASE, FIRST.sign, SECOND.sign), (BETA, FIRST.sign_message, SECOND.sign_message)]
)
async def test_of_two_owners_both_sign_in_any_order(validator: Address, one: Sign, two: Sign) -> None:
    grant = of(validator, FIRST, SECOND, threshold=2)
    ways: list[tuple[Sign, bool]] = [
        (lambda digest: one(digest) + two(digest), True),
        (lambda digest: two(digest) + one(digest), True),
        (lambda digest: one(digest) * 2, False),
        (one, False),
        (lambda digest: one(digest) + FIRST.sign_message(digest, add_to_v=31), False),
    ]
    async with running_gate() as gate:
        gate.running.registry.put(known(grant))
        for number, (sign, taken) in enumerate(ways):
            assert (await asked(gate, used(grant, sign, number)) is None) is taken, number


async def test_at_the_release_each_owner_may_sign_in_either_of_its_two_forms() -> None:
    grant = of(RELEASE, FIRST, SECOND, threshold=2)
    ways: list[tuple[Sign, bool]] = [
        (lambda digest: FIRST.sign(digest) + SECOND.sign_message(digest, add_to_v=31), True),
        (lambda digest: SECOND.sign_message(digest, add_to_v=31) + FIRST.sign(digest), True),
        (lambda digest: FIRST.sign(digest) + SECOND.sign_message(digest), False),
    ]
    async with running_gate() as gate:
        gate.running.registry.put(known(grant))
        for number, (sign, taken) in enumerate(ways):
            assert (await asked(gate, used(grant, sign, number)) is None) is taken, number


@pytest.mark.parametrize("validator", [OLDEST, UNLISTED], ids=["the oldest release", "an unlisted one"])
async def test_who_cannot_ask_what_another_release_takes_believes_nobody_and_names_it(validator: Address) -> None:
    async with running_gate() as gate:
        for number, sign in enumerate((FIRST.sign, FIRST.sign_message, STRANGER.sign)):
            grant = of(validator, salt=number)
            gate.running.registry.put(known(grant))
            for op in (
                used(grant, sign, 2 * number),
                enabled_by(of(validator, salt=9 + number), sign, number=2 * number + 1),
            ):
                assert await asked(gate, op, ESTIMATE) is None
                error = await asked(gate, op)
                assert error is not None
                assert error["code"] == Code.SESSION_SCOPE
                assert print_checksummed(validator) in error["message"]


@pytest.mark.parametrize(
    ("size", "fits"), [(288, True), (319, True), (320, True), (321, False), (352, False), (384, False)]
)
async def test_init_data_of_a_validator_that_the_measured_module_cannot_store_enable_nothing(
    size: int, fits: bool
) -> None:
    async with running_gate() as gate:
        for method in (ESTIMATE, "eth_sendUserOperation"):
            error = await asked(gate, enabled_by(sized(size)), method)
            assert (error is None) is fits, error
            if error is not None:
                assert error["code"] == Code.SESSION_SCOPE
                assert f"have {size} bytes" in error["message"]
                assert "at most 320" in error["message"]


async def test_what_another_module_can_store_was_not_measured_and_is_not_refused() -> None:
    async with running_gate() as gate:
        for method in (ESTIMATE, "eth_sendUserOperation"):
            assert await asked(gate, enabled_by(sized(352), module=OLDER_MODULE), method) is None


@pytest.mark.parametrize(("size", "reverts"), [(320, False), (321, True), (384, True)])
async def test_an_owners_grant_of_init_data_too_long_passes_and_is_told(
    size: int, reverts: bool, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    async with running_gate(rules=[str(tmp_path / "rules.yaml")]) as gate:
        assert await asked(gate, granting(sized(size))) is None
        (row,) = await audited(gate, 1)
        assert [rule["rule"] for rule in row.get("rules", [])] == ["useless-grant"] * reverts
        assert any("at most 320" in note for note in row.get("notes", [])) is reverts, row


RULES = """
rules:
  - id: useless-grant
    description: A grant that the chain would not take.
    mode: alert
    when: op.grant_would_revert
"""


def nested(kind: str, depth: int) -> PolicyData:
    """An expression that an amount of one satisfies, whose one rule stands so deep, where each node asks first."""
    kinds = [node("rule"), *(node(kind, left=level, right=level) for level in range(depth))]
    amount = 2 if kind == "not" and depth % 2 else 1
    return arg([rule(Condition.EQUAL, 32, amount)], kinds, root=depth)


@pytest.mark.parametrize(("kind", "deepest"), [("not", 97), ("or", 89)])
async def test_expressions_deeper_than_the_chains_stack_are_refused_in_a_grant_and_in_a_use(
    kind: str, deepest: int
) -> None:
    """Measured on the released contract: where a tree of each kind halts. Nothing short of it is refused."""

    def grant(depth: int) -> SessionData:
        return a_session(action(TOKEN, TRANSFER, nested(kind, depth)), salt=depth)

    async with running_gate() as gate:
        for depth in (1, *range(80, 101)):
            used_grant, new = grant(depth), replace(grant(depth), salt=Hash32(word(1_000 + depth)))
            gate.running.registry.put(known(used_grant))
            ops = (use(used_grant, PAY, nonce=lane(2 * depth)), enabling(new, PAY, nonce=lane(2 * depth + 1)))
            for op in ops:
                for method in (ESTIMATE, "eth_sendUserOperation"):
                    error = await asked(gate, op, method)
                    assert (error is None) is (depth <= deepest), (depth, error)
                    if error is not None:
                        assert error["code"] == Code.SESSION_SCOPE
                        assert "deeper than the chain's stack takes" in error["message"]


PASSKEY = Passkey(5)
WEBAUTHN = next(address for address, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.WEBAUTHN)


async def test_a_session_of_one_passkey_can_never_be_enabled_and_is_told_so() -> None:
    """Its init data have 384 bytes."""
    data = credentials_data(PASSKEY)
    assert len(data) == 384
    grant = replace(of(RELEASE), session_validator=WEBAUTHN, session_validator_init_data=data)
    op = enabled_by(grant, lambda digest: session_form(PASSKEY.assert_challenge(digest)))
    async with running_gate() as gate:
        for method in (ESTIMATE, "eth_sendUserOperation"):
            error = await asked(gate, op, method)
            assert error is not None
            assert (error["code"], error["data"]["retryable"]) == (Code.SESSION_SCOPE, False)
            assert "have 384 bytes" in error["message"]
        assert await asked(gate, granting(grant)) is None
        assert [recorded.method for recorded in gate.bundler.sent] == ["eth_sendUserOperation"]


async def test_init_data_of_a_policy_may_be_as_long_as_a_universal_actions() -> None:
    """3,136 bytes: only what the module stores of a session validator has a bound."""
    limited = uni_action(rule(Condition.EQUAL, 32, 1))
    assert len(limited.init_data) == 3_136
    grant = a_session(action(TOKEN, TRANSFER, limited))
    ops = (enabling(grant, PAY), granting(replace(grant, salt=Hash32(word(2)))))
    async with running_gate() as gate:
        for op in ops:
            for method in (ESTIMATE, "eth_sendUserOperation"):
                assert await asked(gate, op, method) is None
        for row in await audited(gate, 4):
            assert not any("at most" in note for note in row["notes"]), row
