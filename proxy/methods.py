"""Which JSON-RPC methods this gate serves, and how: a closed table, compared exactly. No I/O.

Whatever can make an account act is `SUBMIT` or is denied: there is no setting that relays an unjudged submission.
Sources: ERC-7769 for the standard methods; the method tables of alto, rundler, skandha, voltaire and the
eth-infinitism bundler for theirs; ERC-7677 for paymaster services.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.errors import InvalidParams, InvalidRequest, MethodNotFound
from proxy.strict_json import shown


class MethodClass(StrEnum):
    """What is done with a request. A closed set, fit for a metric label."""

    SUBMIT = "submit"  # carries an operation and hands it in: judged, recorded, forwarded as printed by us
    PREVIEW = "preview"  # carries an operation and hands nothing in: judged, nothing recorded
    SPONSOR = "sponsor"  # asks a paymaster to pay for an operation: judged as a preview
    PASS = "pass"  # relayed; submits nothing  # noqa: S105 (a verb, no password)
    OWN = "own"  # answered by this gate; nobody else is asked
    DENY = "deny"  # answered with -32601, never relayed


@dataclass(frozen=True, slots=True)
class Method:
    """One served method and how many positional params go upstream with it."""

    name: str
    method_class: MethodClass
    min_params: int
    max_params: int
    shape: str  # the params in words, for error messages
    names: tuple[str, ...] = ()


_OPERATION: Final = ("userOperation", "entryPoint")


def _method(name: str, method_class: MethodClass, required: tuple[str, ...], optional: tuple[str, ...]) -> Method:
    shape = ", ".join((*required, *(f"{param}?" for param in optional)))
    names = required + optional
    return Method(name, method_class, len(required), len(names), shape, names)


def _submit(name: str) -> Method:
    # exactly two: rundler reads a third as permissions (trusted, sponsorship) that no client may give itself
    return _method(name, MethodClass.SUBMIT, _OPERATION, ())


def _preview(name: str, *optional: str) -> Method:
    return _method(name, MethodClass.PREVIEW, _OPERATION, optional)


def _sponsor(name: str, *required: str, optional: tuple[str, ...] = ()) -> Method:
    return _method(name, MethodClass.SPONSOR, required, optional)


def _pass(name: str, *required: str, optional: tuple[str, ...] = ()) -> Method:
    return _method(name, MethodClass.PASS, required, optional)


_METHODS: Final = (
    _submit("eth_sendUserOperation"),
    _submit("pimlico_sendUserOperationNow"),  # waits for inclusion, answers with a receipt
    _submit("boost_sendUserOperation"),  # zero fees, the bundler pays
    _preview("eth_estimateUserOperationGas", "stateOverrides"),
    _preview("pimlico_simulateAssetChange", "tracking", "stateOverrides"),
    _preview("pimlico_simulateAssetChanges", "block"),
    _preview("alchemy_simulateUserOperationAssetChanges", "block"),  # @account-kit/infra
    _pass("eth_chainId"),
    _pass("eth_supportedEntryPoints"),
    _pass("eth_getUserOperationByHash", "userOpHash", optional=("blockOption",)),
    _pass("eth_getUserOperationReceipt", "userOpHash", optional=("blockOption",)),
    _pass("web3_clientVersion"),
    _pass("web3_bundlerVersion"),
    _pass("pimlico_getUserOperationGasPrice"),
    _pass("pimlico_getUserOperationStatus", "userOpHash"),
    _pass("pimlico_getTokenQuotes", "tokens", "entryPoint", "chainId"),
    _pass("pimlico_getSupportedTokens", optional=("context",)),
    _pass("biconomy_getGasFeeValues"),
    _pass("biconomy_getUserOperationStatus", "userOpHash"),
    _pass("zd_getUserOperationGasPrice"),
    _pass("thirdweb_getUserOperationGasPrice"),
    _pass("rundler_maxPriorityFeePerGas"),
    _pass("rundler_getUserOperationGasPrice"),
    _pass("rundler_getUserOperationStatus", "userOpHash", optional=("blockOption",)),
    _pass("rundler_getMinedUserOperation", "userOpHash", "transactionHash", "entryPoint"),
    _pass("rundler_getPendingUserOperationBySenderNonce", "sender", "nonce"),
    _pass("rundler_delegationStatus", "delegationId"),
    _pass("skandha_getGasPrice"),
    _pass("skandha_feeHistory", "entryPoint", "blockCount", "newestBlock"),
    _pass("skandha_config"),
    _pass("skandha_userOperationStatus", "userOpHash"),
    _pass("voltaire_feesPerGas"),
    # of paymasters: how each carries its operation is read in `proxy.carried`
    _sponsor("pm_getPaymasterStubData", *_OPERATION, "chainId", optional=("context",)),  # ERC-7677; viem, Startale
    _sponsor("pm_getPaymasterData", *_OPERATION, "chainId", optional=("context",)),
    # permissionless, userop.js; Biconomy's older SDK without an entry point; Etherspot's takes chain and key, too
    _sponsor("pm_sponsorUserOperation", *_OPERATION, optional=("context", "chainId", "apiKey")),
    _sponsor("pimlico_sponsorUserOperation", *_OPERATION, optional=("context", "stateOverrides")),
    _sponsor("pm_validateSponsorshipPolicies", *_OPERATION, "policyIds"),  # permissionless
    _sponsor("pimlico_validateSponsorshipPolicies", *_OPERATION, "policyIds"),
    _sponsor("pm_getFeeQuotes", *_OPERATION, optional=("chainId", "context")),  # @startale-scs/aa-sdk
    _sponsor("pm_getFeeQuoteOrData", "userOperation", "context"),  # @biconomy/abstractjs
    _sponsor("zd_sponsorUserOperation", "sponsorship"),  # @zerodev/sdk
    _sponsor("stackup_getERC20TokenQuotes", "sponsorship"),  # @zerodev/sdk
    _sponsor("alchemy_requestGasAndPaymasterAndData", "sponsorship"),  # @account-kit/infra
    _sponsor("alchemy_requestPaymasterAndData", "sponsorship"),
    _sponsor("eth_paymasterAndDataForEstimateGas", *_OPERATION, "chainId"),  # Base's paymaster
    _sponsor("eth_paymasterAndDataForUserOperation", *_OPERATION, "chainId"),
    _pass("pm_supportedEntryPoints"),
    _pass("pm_supportedERC20Tokens", "entryPoint"),  # abstractionkit
    _pass("pm_chainId"),
    _pass("pm_accounts", "entryPoint", optional=("context",)),  # Stackup's
    _pass("zd_pm_accounts", "chain"),  # @zerodev/sdk
    # answered where `session_queries` is on
    _method("sessiongate_getSession", MethodClass.OWN, ("account",), ("permissionId", "module")),
    _method("sessiongate_listSessions", MethodClass.OWN, ("account",), ("after",)),
    # answered over a WebSocket, where the chain's node tells of new heads by itself
    _method("eth_subscribe", MethodClass.OWN, ("kind",), ("filter",)),
    _method("eth_unsubscribe", MethodClass.OWN, ("subscription",), ()),
)

SUBSCRIBE: Final = "eth_subscribe"
SUBSCRIPTIONS: Final = frozenset({SUBSCRIBE, "eth_unsubscribe"})

METHODS: Final = {method.name: method for method in _METHODS}
"""The closed table by exact name."""

PREVIEWS: Final = frozenset({MethodClass.PREVIEW, MethodClass.SPONSOR})
"""What carries an operation and hands nothing in."""

TELL_OF_BLOCKS: Final = frozenset(
    {
        *("eth_getUserOperationReceipt", "eth_getUserOperationByHash", "rundler_getMinedUserOperation"),
        *("pimlico_getUserOperationStatus", "biconomy_getUserOperationStatus", "rundler_getUserOperationStatus"),
        *("skandha_userOperationStatus", "eth_getTransactionReceipt", "eth_getTransactionByHash"),
    }
)
"""Whose answers may tell that the operation, or the transaction, that the first param names was mined."""

_PAYMASTERS: Final = frozenset(
    {
        "pimlico_getTokenQuotes",
        "pimlico_getSupportedTokens",
        "zd_pm_accounts",
        *(method.name for method in _METHODS if method.method_class is MethodClass.SPONSOR),
    }
)


def is_for_paymaster(method: str) -> bool:
    """Whether a method is asked of the chain's paymaster, where it has one of its own, and not of its bundler."""
    return method in _PAYMASTERS or method.startswith("pm_")


def is_preview(method: str) -> bool:
    """Whether a method carries an operation that is judged and not handed in."""
    return classify(method) in PREVIEWS


NODE_READS: Final = frozenset(
    {
        "eth_blockNumber",
        "eth_call",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
    }
)
"""What SDKs ask their one URL for between two operations. Nothing in it submits, signs, traces or scans logs; served
where `node_reads` is on."""

OTHER_METHOD: Final = "other"
METHOD_LABELS: Final = frozenset({*METHODS, OTHER_METHOD})
"""Every value `method_label` can give."""


def method_label(method: str) -> str:
    """The method as a metric label: its name when it is in the table, else `other`."""
    return method if method in METHODS else OTHER_METHOD


def classify(method: str, allow_methods: Collection[str] = frozenset()) -> MethodClass:
    """How a method is served. Exact and case-sensitive; `allow_methods` adds to `PASS` and changes nothing else."""
    if (known := METHODS.get(method)) is not None:
        return known.method_class
    return MethodClass.PASS if method in allow_methods and refusal_of_allow(method) is None else MethodClass.DENY


_NAME: Final = re.compile(r"[a-z][a-z0-9]*_[a-zA-Z0-9_]{1,60}\Z")
_CLOSED_NAMESPACES: Final = ("debug_", "admin_", "personal_", "engine_", "miner_", "anvil_", "hardhat_", "evm_")
_SUBMITTING_WORDS: Final = ("send", "submit", "sign", "publish")
_NEVER: Final = {
    # drops a pending operation for anyone who can sign an empty one, which a session key can
    "rundler_dropLocalUserOperation": "it withdraws operations without a verdict",
    "skandha_subscribe": "it tells the operations of everybody before they are mined",
    "skandha_unsubscribe": "there is no skandha_subscribe here to end",
    "eth_subscribe": "subscriptions answer more than once",
    "eth_unsubscribe": "subscriptions answer more than once",
}


def refusal_of_allow(method: str) -> str | None:
    """Why `allow_methods` must not name this method; `None` when it may. For the configuration check."""
    if method in METHODS:
        return None
    if not _NAME.match(method):
        return "not a method name: wanted namespace_name, with the namespace in lower case"
    folded = method.lower()
    if folded.startswith(_CLOSED_NAMESPACES):
        return f"{folded.partition('_')[0]}_* methods administer a node or bundler and are never served"
    if any(word in folded for word in _SUBMITTING_WORDS):
        return "it can submit or sign without a verdict and is never served"
    return _NEVER.get(method)


def denial(method: str) -> MethodNotFound:
    """The answer to a denied method; it says which setting would allow it, if one would."""
    name = shown(method, 64)
    refusal = refusal_of_allow(method)
    if refusal is not None:
        return MethodNotFound(f"{name} is not served here: {refusal}", data={"method": name})
    remedy = "to relay it unjudged, add it to allow_methods of this chain"
    return MethodNotFound(f"{name} is not served here; {remedy}", data={"method": name, "setting": "allow_methods"})


def check_arity(method: str, count: int) -> None:
    """Refuse params this gate would otherwise have to relay unread. Raises `InvalidParams` naming the first one."""
    known = METHODS.get(method)
    if known is None or known.min_params <= count <= known.max_params:
        return
    takes = f"{shown(method)} takes [{known.shape}]"
    if count < known.min_params:
        raise InvalidParams(f"params[{count}]", f"missing; {takes}")
    raise InvalidParams(f"params[{known.max_params}]", f"not read by this gate and never forwarded; {takes}")


def refusal_of_notification(method_class: MethodClass) -> InvalidRequest | None:
    """Why a request without an id is not served: nobody would hear the verdict on a submission.

    `None` for the other classes, which are then neither answered nor forwarded.
    """
    if method_class is MethodClass.SUBMIT:
        return InvalidRequest("a submission needs an id: as a notification nobody would hear its verdict")
    return None


def no_subscriptions(method: str) -> MethodNotFound:
    """Of a chain whose node tells nothing by itself, or whose settings do not share it."""
    problem = f"{method} is not served here; it takes a node reached by WebSocket, and node_reads: true"
    return MethodNotFound(problem, data={"method": method, "setting": "node_reads"})
