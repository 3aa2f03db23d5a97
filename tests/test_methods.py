"""No spelling and no setting lets a submission past the verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, InvalidParams
from proxy.methods import (
    METHOD_LABELS,
    METHODS,
    NODE_READS,
    MethodClass,
    check_arity,
    classify,
    denial,
    is_for_paymaster,
    is_preview,
    method_label,
    refusal_of_allow,
    refusal_of_notification,
)

SUBMITTING = ("eth_sendUserOperation", "pimlico_sendUserOperationNow", "boost_sendUserOperation")
PREVIEWS = (
    *("eth_estimateUserOperationGas", "pimlico_simulateAssetChange", "pimlico_simulateAssetChanges"),
    "alchemy_simulateUserOperationAssetChanges",
)
READS = (
    "eth_chainId",
    "eth_supportedEntryPoints",
    "eth_getUserOperationByHash",
    "eth_getUserOperationReceipt",
    "pimlico_getUserOperationGasPrice",
    "pimlico_getUserOperationStatus",
    "rundler_maxPriorityFeePerGas",
    "rundler_getUserOperationGasPrice",
    "rundler_getUserOperationStatus",
    "rundler_getMinedUserOperation",
    "rundler_getPendingUserOperationBySenderNonce",
    "skandha_getGasPrice",
    "skandha_feeHistory",
    "skandha_config",
    "skandha_userOperationStatus",
    "voltaire_feesPerGas",
    "web3_clientVersion",
    "web3_bundlerVersion",
    "pm_supportedEntryPoints",
    "zd_pm_accounts",
)
SPONSORSHIPS = (
    "pm_getPaymasterStubData",
    "pm_getPaymasterData",
    "pm_sponsorUserOperation",
    "pm_validateSponsorshipPolicies",
    "pm_getFeeQuotes",
    "pm_getFeeQuoteOrData",
    "pimlico_sponsorUserOperation",
    "zd_sponsorUserOperation",
    "stackup_getERC20TokenQuotes",
    "alchemy_requestGasAndPaymasterAndData",
    "eth_paymasterAndDataForUserOperation",
)
NEVER = (
    "eth_sendRawTransaction",
    "eth_sendRawTransactionConditional",
    "eth_sendRawTransactionSync",
    "eth_sendPrivateTransaction",
    "eth_sendTransaction",
    "eth_sendBundle",
    "eth_sendCompressedUserOperation",
    "eth_signTransaction",
    "wallet_sendCalls",
    "wallet_sendPreparedCalls",
    "pimlico_sendCompressedUserOperation",
    "pimlico_experimental_sendUserOperation7702",
    "bolt_sendUserOperation",
    "rundler_sendSponsoredDelegation",
    "rundler_dropLocalUserOperation",
    "debug_bundler_sendBundleNow",
    "debug_bundler_setMempool",
    "debug_bundler_dumpMempool",
    "debug_bundler_addUserOps",
    "debug_bundler_sendTransactionSkipValidation",
    "debug_traceCall",
    "admin_clearState",
    "admin_setTracking",
    "personal_unlockAccount",
    "skandha_subscribe",
    "anvil_setBalance",
)


@pytest.mark.parametrize("method", SUBMITTING)
def test_submissions_are_judged(method: str) -> None:
    assert classify(method) is MethodClass.SUBMIT


def test_nothing_else_is_a_submission() -> None:
    assert {name for name, method in METHODS.items() if method.method_class is MethodClass.SUBMIT} == set(SUBMITTING)


@pytest.mark.parametrize("method", PREVIEWS)
def test_previews_are_judged(method: str) -> None:
    assert classify(method) is MethodClass.PREVIEW


@pytest.mark.parametrize("method", SPONSORSHIPS)
def test_what_asks_a_paymaster_to_pay_is_judged_as_a_preview_and_is_the_paymasters(method: str) -> None:
    assert classify(method) is MethodClass.SPONSOR
    assert is_preview(method)
    assert is_for_paymaster(method)


def test_what_submits_or_asks_the_chain_is_never_put_to_a_paymaster() -> None:
    assert not any(is_for_paymaster(method) for method in (*SUBMITTING, *PREVIEWS, "eth_chainId", *NODE_READS))


@pytest.mark.parametrize("method", READS)
def test_reads_are_relayed(method: str) -> None:
    assert classify(method) is MethodClass.PASS


@pytest.mark.parametrize("method", NEVER)
def test_what_submits_or_administers_is_denied_whatever_is_allowed(method: str) -> None:
    assert classify(method) is MethodClass.DENY
    assert classify(method, {method}) is MethodClass.DENY
    assert refusal_of_allow(method) is not None
    assert "never served" in denial(method).message or "not served here" in denial(method).message
    assert denial(method).data == {"method": method}


@pytest.mark.parametrize("method", SUBMITTING)
def test_no_setting_turns_a_submission_into_a_relayed_method(method: str) -> None:
    assert classify(method, {method}) is MethodClass.SUBMIT
    assert refusal_of_allow(method) is None


@pytest.mark.parametrize(
    "spelling",
    [
        "ETH_SENDUSEROPERATION",
        "eth_senduseroperation",
        "eth_SendUserOperation",
        "Eth_sendUserOperation",
        " eth_sendUserOperation",
        "eth_sendUserOperation ",
        "eth_sendUserOperation\n",
        "eth_sendUserOperation\0",
        "eth_sendUserOperati\u043en",
        "eth_sendRawUserOperation",
        "eth_sendUserOperations",
        "eth.sendUserOperation",
        "Debug_bundler_sendBundleNow",
        "",
    ],
)
def test_another_spelling_is_another_method_and_denied_whatever_is_allowed(spelling: str) -> None:
    assert classify(spelling) is MethodClass.DENY
    assert classify(spelling, {spelling}) is MethodClass.DENY
    assert refusal_of_allow(spelling) is not None


def test_an_unlisted_read_is_denied_until_it_is_allowed() -> None:
    assert classify("eth_blockNumber") is MethodClass.DENY
    assert classify("eth_blockNumber", {"eth_blockNumber"}) is MethodClass.PASS
    assert classify("eth_blocknumber", {"eth_blockNumber"}) is MethodClass.DENY
    assert refusal_of_allow("eth_blockNumber") is None


def test_the_answer_to_an_unlisted_read_names_the_setting() -> None:
    error = denial("eth_blockNumber")
    assert error.code == Code.METHOD_NOT_FOUND
    assert "allow_methods" in error.message
    assert error.data == {"method": "eth_blockNumber", "setting": "allow_methods"}


def test_the_answer_quotes_foreign_text_escaped_and_short() -> None:
    error = denial("eth_\u202e" + "x" * 1000)
    assert "\u202e" not in error.message
    assert len(error.message) < 250


@given(st.text(max_size=40))
def test_labels_come_from_a_closed_set(method: str) -> None:
    assert method_label(method) in METHOD_LABELS


def test_a_served_method_is_its_own_label() -> None:
    assert {method_label(method) for method in METHODS} | {"other"} == METHOD_LABELS
    assert method_label("eth_sendRawTransaction") == "other"


@given(st.text(max_size=40), st.frozensets(st.text(max_size=40), max_size=3))
def test_only_the_table_submits(method: str, allowed: frozenset[str]) -> None:
    assert (classify(method, allowed | {method}) is MethodClass.SUBMIT) is (method in SUBMITTING)


@pytest.mark.parametrize("method", SUBMITTING)
def test_a_submission_takes_exactly_two_params(method: str) -> None:
    check_arity(method, 2)
    with pytest.raises(InvalidParams, match=r"missing; .* takes \[userOperation, entryPoint\]") as short:
        check_arity(method, 1)
    assert short.value.field == "params[1]"
    with pytest.raises(InvalidParams, match="never forwarded") as long:
        check_arity(method, 3)
    assert long.value.field == "params[2]"


def test_an_estimate_takes_state_overrides_and_nothing_more() -> None:
    check_arity("eth_estimateUserOperationGas", 2)
    check_arity("eth_estimateUserOperationGas", 3)
    with pytest.raises(InvalidParams, match="params\\[3\\]"):
        check_arity("eth_estimateUserOperationGas", 4)


def test_an_allowed_method_of_unknown_shape_takes_any_params() -> None:
    check_arity("eth_blockNumber", 9)


@pytest.mark.parametrize("name", METHODS)
def test_every_served_method_takes_its_bounds_and_nothing_beyond(name: str) -> None:
    method = METHODS[name]
    check_arity(name, method.min_params)
    check_arity(name, method.max_params)
    for count in {method.min_params - 1, method.max_params + 1} - {-1}:
        with pytest.raises(InvalidParams):
            check_arity(name, count)


def test_a_submission_without_an_id_is_refused_and_a_read_without_one_is_not() -> None:
    refusal = refusal_of_notification(MethodClass.SUBMIT)
    assert refusal is not None
    assert refusal.code == Code.INVALID_REQUEST
    assert refusal_of_notification(MethodClass.PASS) is None
