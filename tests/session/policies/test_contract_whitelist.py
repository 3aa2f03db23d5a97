from __future__ import annotations

import pytest

from proxy.errors import Code
from proxy.session.policies.contract_whitelist import AllowedTargets, ContractWhitelistPolicy
from proxy.session.policies.policy import Asks, Fact, Failed
from proxy.userop.session_data import PolicyData
from tests.session.builders import FRIEND, OTHER_TOKEN, STRANGER, TARGETS, TOKEN, call, only
from tests.session.policies.builders import Deployed, deploy, passes, reason_of, refused_init


def test_allows_the_listed_targets_whatever_value_and_data() -> None:
    contract = deploy(only(TOKEN, FRIEND))
    assert passes(contract.call(call(TOKEN, value=2**255, data=b"\x01"))[0])
    assert passes(contract.call(call(FRIEND))[0])


def test_refuses_every_other_target() -> None:
    outcome, _ = deploy(only(TOKEN)).call(call(STRANGER))
    assert isinstance(outcome, Failed)
    assert outcome.reason.code is Code.SESSION_SCOPE
    assert "is not among the contracts this session may call" in reason_of(outcome)
    assert not passes(Deployed(TARGETS).call(call(TOKEN))[0])


@pytest.mark.parametrize("init_data", [b"", TOKEN[:19], TOKEN + b"\x01", TOKEN + bytes(20)])
def test_refuses_lists_that_are_empty_ragged_or_name_the_zero_address(init_data: bytes) -> None:
    assert refused_init(PolicyData(TARGETS, init_data)).error == "InvalidInitData"


def test_asks_for_a_target_that_was_never_asked_for() -> None:
    read = ContractWhitelistPolicy.from_getters({TOKEN: True, FRIEND: False})
    contract = Deployed(TARGETS, read.config)
    assert passes(contract.call(call(TOKEN))[0])
    assert not passes(contract.call(call(FRIEND))[0])
    assert contract.call(call(STRANGER))[0] == Asks(Fact.TARGET, STRANGER)


def test_a_later_answer_replaces_an_earlier_one() -> None:
    known = AllowedTargets(frozenset({TOKEN}), complete=False)
    assert known.with_target(TOKEN, False) == AllowedTargets(frozenset(), frozenset({TOKEN}), complete=False)
    again = known.with_target(OTHER_TOKEN, False).with_target(OTHER_TOKEN, True)
    assert again == AllowedTargets(frozenset({TOKEN, OTHER_TOKEN}), frozenset(), complete=False)
