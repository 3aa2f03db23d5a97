from __future__ import annotations

import pytest

from proxy.errors import Code
from proxy.session.addresses import POLICIES, Generation
from proxy.session.counters import Counter
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, SpendingLimits
from proxy.session.policies.policy import PASSED, Asks, Fact, Failed
from proxy.session.revert import BARE
from proxy.userop.execution import Call
from proxy.userop.primitives import UINT256_MAX, ZERO_ADDRESS, Address, print_checksummed
from proxy.userop.session_data import PolicyData
from tests.session.builders import (
    ACCOUNT,
    FRIEND,
    OTHER_TOKEN,
    SPENDING,
    STRANGER,
    TOKEN,
    TRANSFER,
    approve,
    spending,
    transfer,
    word,
)
from tests.session.policies.builders import Deployed, deploy, error_of, key_of, passes, reason_of, refused_init

SPENDING_V1 = next(
    address
    for address, contract in POLICIES.items()
    if contract.name == "ERC20SpendingLimitPolicy" and contract.generation is Generation.V1
)
LIMIT = 100


def transfer_from(sender: Address, to: Address, amount: int) -> Call:
    return Call(TOKEN, 0, bytes.fromhex("23b872dd") + word(sender) + word(to) + word(amount))


def increase(amount: int) -> Call:
    return Call(TOKEN, 0, bytes.fromhex("39509351") + word(FRIEND) + word(amount))


@pytest.mark.parametrize("address", [SPENDING, SPENDING_V1], ids=["v2", "v1"])
@pytest.mark.parametrize(("amount", "allowed"), [(LIMIT - 1, True), (LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("build", [transfer, approve, lambda amount: transfer_from(STRANGER, FRIEND, amount)])
def test_allows_up_to_the_limit_and_not_a_unit_above(address: bytes, amount: int, allowed: bool, build: object) -> None:
    contract = deploy(spending((TOKEN, LIMIT)), at=Address(address))
    assert callable(build)
    outcome, after = contract.call(build(amount))
    assert passes(outcome) is allowed
    assert after.total(TOKEN) == (amount if allowed else 0)


def test_spending_and_approving_share_the_limit_and_approvals_add_up() -> None:
    _, contract = deploy(spending((TOKEN, LIMIT))).call(transfer(40))
    _, contract = contract.call(approve(30))
    _, contract = contract.call(increase(29))
    assert passes(contract.call(transfer(1))[0])
    assert not passes(contract.call(approve(2))[0])


def test_every_token_has_a_limit_of_its_own() -> None:
    _, contract = deploy(spending((TOKEN, LIMIT), (OTHER_TOKEN, 1))).call(transfer(LIMIT))
    assert passes(contract.call(transfer(1, token=OTHER_TOKEN))[0])
    assert not passes(contract.call(transfer(1))[0])


def test_the_last_limit_of_a_token_named_twice_counts() -> None:
    assert deploy(spending((TOKEN, 5), (TOKEN, 7))).config == SpendingLimits({TOKEN: 7})


def test_calls_that_cost_nothing_pass_for_any_contract() -> None:
    contract = deploy(spending((TOKEN, LIMIT)))
    assert contract.call(transfer(0, token=STRANGER))[0] == PASSED
    assert contract.call(approve(0, token=STRANGER))[0] == PASSED
    assert isinstance(contract.call(transfer(1, token=STRANGER))[0], Failed)


def test_pulling_tokens_in_is_free_and_in_the_older_generation_it_is_not() -> None:
    pull = transfer_from(STRANGER, ACCOUNT, LIMIT + 1)
    assert deploy(spending((TOKEN, LIMIT))).call(pull)[0] == PASSED
    assert not passes(deploy(spending((TOKEN, LIMIT)), at=SPENDING_V1).call(pull)[0])


def test_sending_to_oneself_costs_in_full() -> None:
    contract = deploy(spending((TOKEN, LIMIT)))
    assert not passes(contract.call(transfer(LIMIT + 1, to=ACCOUNT))[0])
    assert not passes(contract.call(approve(LIMIT + 1, spender=ACCOUNT))[0])


def test_an_allowance_increase_counts_and_in_the_older_generation_is_refused() -> None:
    assert passes(deploy(spending((TOKEN, LIMIT))).call(increase(LIMIT))[0])
    assert not passes(deploy(spending((TOKEN, LIMIT)), at=SPENDING_V1).call(increase(1))[0])


def test_refuses_native_value_before_it_looks_at_anything_else() -> None:
    outcome, _ = deploy(spending((TOKEN, LIMIT))).call(Call(TOKEN, 1, b""))
    assert isinstance(outcome, Failed)
    assert outcome.reason.code is Code.SESSION_SCOPE


@pytest.mark.parametrize("arguments", [b"", word(FRIEND) + word(0)], ids=["alone", "with arguments"])
@pytest.mark.parametrize("selector", ["a457c2d7", "42842e0e", "00000000"])
def test_refuses_every_other_selector(selector: str, arguments: bytes) -> None:
    data = bytes.fromhex(selector) + arguments
    outcome, _ = deploy(spending((TOKEN, LIMIT))).call(Call(TOKEN, 0, data))
    assert isinstance(outcome, Failed)
    assert selector in reason_of(outcome)


@pytest.mark.parametrize(
    "data",
    [b"", TRANSFER[:3], TRANSFER + word(FRIEND) + bytes(31), TRANSFER + b"\x01" + word(FRIEND)[1:] + word(1)],
    ids=["empty", "short selector", "short amount", "dirty address"],
)
def test_reverts_bare_on_arguments_it_cannot_read(data: bytes) -> None:
    assert error_of(deploy(spending((TOKEN, LIMIT))).call(Call(TOKEN, 0, data))[0]) is None


@pytest.mark.parametrize("dirty", [4, 36])
def test_reverts_bare_on_dirty_addresses_of_a_transfer_from(dirty: int) -> None:
    data = bytearray(transfer_from(STRANGER, FRIEND, 1).data)
    data[dirty] = 1
    assert error_of(deploy(spending((TOKEN, LIMIT))).call(Call(TOKEN, 0, bytes(data)))[0]) is None
    short = transfer_from(STRANGER, FRIEND, 1).data[:-1]
    assert error_of(deploy(spending((TOKEN, LIMIT))).call(Call(TOKEN, 0, short))[0]) is None


def test_trailing_bytes_do_not_matter() -> None:
    assert passes(deploy(spending((TOKEN, LIMIT))).call(Call(TOKEN, 0, transfer(LIMIT).data + b"\xff" * 7))[0])


def test_the_zero_address_is_no_token() -> None:
    assert error_of(deploy(spending((TOKEN, 1))).call(transfer(0, token=ZERO_ADDRESS))[0]) == "InvalidTokenAddress"


def test_overflow_is_a_panic() -> None:
    _, contract = deploy(spending((TOKEN, UINT256_MAX))).call(transfer(UINT256_MAX))
    assert error_of(contract.call(approve(1))[0]) == "Panic"


def test_refuses_init_data_that_means_nothing() -> None:
    assert refused_init(PolicyData(SPENDING, b"\x01")) == BARE
    assert refused_init(spending((ZERO_ADDRESS, 1))).error == "InvalidTokenAddress"
    assert refused_init(spending((TOKEN, 0))).error == "InvalidLimit"
    unequal = word(0x40) + word(0x80) + word(1) + word(TOKEN) + word(0)
    assert refused_init(PolicyData(SPENDING, unequal)).error == "InvalidInitDataLength"
    assert refused_init(PolicyData(SPENDING, unequal), at=SPENDING_V1).error == "Panic"


def test_asks_for_the_limit_of_a_token_that_was_never_asked_for() -> None:
    read = ERC20SpendingLimitPolicy.from_getters({TOKEN: (LIMIT, 40, 20), OTHER_TOKEN: None})
    used = {Counter(*key_of(SPENDING), slot): use for slot, use in read.used.items()}
    contract = Deployed(SPENDING, read.config, used)
    assert passes(contract.call(transfer(40))[0])
    assert not passes(contract.call(transfer(41))[0])
    assert not passes(contract.call(transfer(1, token=OTHER_TOKEN))[0])
    assert contract.call(transfer(1, token=STRANGER))[0] == Asks(Fact.TOKEN_LIMIT, STRANGER)


def test_a_token_without_a_limit_is_said_to_have_none_rather_than_one_of_nought() -> None:
    outcome, _ = deploy(spending((TOKEN, LIMIT))).call(transfer(7, token=OTHER_TOKEN))
    assert isinstance(outcome, Failed)
    assert "of 0" not in outcome.reason.sentence
    assert f"names no limit for {print_checksummed(OTHER_TOKEN)}" in outcome.reason.sentence
    assert not outcome.reason.retryable
    assert "name this token" in outcome.reason.remedy


def test_says_what_was_asked_what_is_left_and_what_is_in_flight() -> None:
    contract = Deployed(SPENDING, SpendingLimits({TOKEN: LIMIT}), in_flight=lambda counter: 60)
    outcome, _ = contract.call(transfer(150))
    assert reason_of(outcome) == (
        "transfer of 150 of token 0x7070707070707070707070707070707070707070, "
        "40 left of 100 in this session; 60 of it in flight"
    )
