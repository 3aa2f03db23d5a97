"""How each step of each flow must end through the gate: the whole contract with the real world, as one table.

`SAME` is the same ending as directly at the bundler: mined with the same success, or refused by the bundler in the
bundler's own words, or the same answer. `rejected` is the gate's own refusal, and the bundler must not have seen
the operation. `answered` is the gate's own answer to a request that is no operation's fault.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import Code
from tests.e2e.flow import BICONOMY, BUNDLER, LANES, NEXUS, SAFE, STARTALE, ZERODEV, Flow


@dataclass(frozen=True)
class Same:
    """As directly at the bundler."""


@dataclass(frozen=True)
class Rejected:
    """Refused by the gate. `estimated`: the estimate before it may pass, since a stub signature is not judged."""

    code: Code
    estimated: bool = False


@dataclass(frozen=True)
class Answered:
    """What the gate answers, as far as it matters: a subset of the answer's members, or of each of a batch's."""

    answer: object


@dataclass(frozen=True)
class Bundlers:
    """The bundler's own answer, whichever it is: it hangs on how far the bundler has got with an earlier operation."""


Ending = Same | Rejected | Answered | Bundlers

SAME = Same()
BUNDLERS = Bundlers()
SCOPE = Rejected(Code.SESSION_SCOPE)
LIMIT = Rejected(Code.LIMIT_EXCEEDED)
UNKNOWN = Rejected(Code.SESSION_UNKNOWN)
REVOKED = Rejected(Code.SESSION_REVOKED)
NOT_NOW = Rejected(Code.SESSION_NOT_VALID_NOW)
UNREADABLE = Rejected(Code.UNDECODABLE)


def error(code: Code) -> Answered:
    return Answered({"error": {"code": int(code)}})


_BICONOMY: dict[str, Ending] = {
    "install": SAME,
    # the SDK signs in a form that its own default validator does not take: AA24 at the bundler
    "default-validator.send": SCOPE,
    "enable-and-use": SAME,
    "use-single": SAME,
    "use-batch": SAME,
    "outside-selector.estimate": SCOPE,
    "outside-selector.send": SCOPE,
    "outside-target.send": SCOPE,
    "spending-limit-exceeded.send": LIMIT,
    "wrong-session-key.send": SCOPE,
    "enable-replayed.send": SCOPE,
    "revoke": SAME,
    "revoked.estimate": REVOKED,
    "revoked.send": REVOKED,
}

# another product's permissions: nothing of them is enforced here
_ZERODEV: dict[str, Ending] = {
    "owner": SAME,
    "permission-enabled-by-its-first-use": SAME,
    "permission-used": SAME,
}

_STARTALE: dict[str, Ending] = {
    "install": SAME,
    "grant": SAME,
    "use-single": SAME,
    "use-single-with-rule": SAME,
    "use-batch": SAME,
    "outside-selector.estimate": SCOPE,
    "outside-selector.send": SCOPE,
    "outside-target.send": SCOPE,
    "rule-violated.estimate": SCOPE,
    "rule-violated.send": SCOPE,
    "value-over-limit.send": SCOPE,  # a bound on each call, not a counter that fills up
    "spending-limit-exceeded.send": LIMIT,
    "self-call.send": SCOPE,
    "batch-one-bad.send": SCOPE,
    "wrong-session-key": Rejected(Code.SESSION_SCOPE, estimated=True),
    "wrong-session-key.send": SCOPE,
    "unknown-permission.send": UNKNOWN,
    "enable-mode-first-op": SAME,
    "use-after-enable-mode": SAME,
    "enable-mode-replayed.send": SCOPE,
    "grant-paymaster": SAME,
    "use-with-paymaster": SAME,
    "paymaster-not-permitted.estimate": SCOPE,
    "revoke": SAME,
    "revoked.estimate": REVOKED,
    "revoked.send": REVOKED,
}

_ENABLE: dict[str, Ending] = {
    "first-op": SAME,
    "then-use": SAME,
    "replayed.send": SCOPE,
    "tampered.send": SCOPE,
    "not-owner.send": SCOPE,
    "owner-signed-as-message.send": SCOPE,  # signMessage of the SDKs' guides: no owner's at this release
}

_RHINESTONE: dict[str, Ending] = {
    "install": SAME,
    "grant": SAME,
    "use-single": SAME,
    "use-batch": SAME,
    "use-value": SAME,
    "outside-selector.estimate": SCOPE,
    "outside-selector.send": SCOPE,
    "outside-target.send": SCOPE,
    "rule-violated.send": SCOPE,
    "value-limit-exceeded.send": LIMIT,
    "spending-limit-exceeded.send": LIMIT,
    "approve-exceeded.send": LIMIT,
    "calls-smart-sessions.send": SCOPE,
    "signed-as-message.send": SCOPE,  # signMessage of the SDKs' guides: AA24 at this release of the validator
    "wrong-session-key.send": SCOPE,
    "unknown-permission.send": UNKNOWN,
    **{f"enable-{step}": ending for step, ending in _ENABLE.items()},
    **{f"unsafe-enable-{step}": ending for step, ending in _ENABLE.items()},
    "revoke": SAME,
    "revoked.estimate": REVOKED,
    "revoked.send": REVOKED,
}

_REQUESTS: dict[str, Ending] = {
    "unknown-method": error(Code.METHOD_NOT_FOUND),
    "rundler-fee-method": SAME,  # translated: this bundler does not know it
    "node-method": error(Code.METHOD_NOT_FOUND),
    "debug-method": error(Code.METHOD_NOT_FOUND),
    "gas-price": SAME,
    "chain-id": SAME,
    "entry-points": SAME,
    "no-params": error(Code.INVALID_PARAMS),
    "params-object": error(Code.INVALID_PARAMS),
    "wrong-entry-point": error(Code.INVALID_PARAMS),
    "missing-field": error(Code.INVALID_PARAMS),
    "bad-hex": error(Code.INVALID_PARAMS),
    "number-for-quantity": error(Code.INVALID_PARAMS),
    "extra-field": error(Code.INVALID_PARAMS),
    "id-string": Answered({"id": "abc", "result": "0x79a"}),
    "id-null": Answered({"id": None, "result": "0x79a"}),
    "no-params-key": SAME,
    "no-version": error(Code.INVALID_REQUEST),
    "batch": Answered([{"id": 1, "result": "0x79a"}, {"id": 2}]),
    "submit-notification": error(Code.INVALID_REQUEST),
}

_OPERATIONS: dict[str, Ending] = {
    "nonce-too-high": SAME,
    "good": SAME,
    "good-receipt": SAME,
    "by-hash": SAME,
    "status": SAME,
    "by-hash-unknown": SAME,
    "receipt-unknown": SAME,
    "receipt-bad-hash": SAME,
    "nonce-used": SAME,
    "verification-gas-too-low": SAME,
    "verification-gas-tiny": SAME,
    "gas-over-bundler-limit": SAME,
    "paymaster-not-permitted": SCOPE,
    "other-sender": UNKNOWN,  # that account has granted nothing
    "changed-after-signing": SCOPE,
    "short-signature": UNREADABLE,
    "empty-signature": UNREADABLE,
    "unknown-mode": UNREADABLE,
    "delegatecall": SCOPE,
    "try-execution": SCOPE,
    "execute-user-op": SCOPE,
    "empty-batch": SCOPE,
    "account-function": SCOPE,
    "expired-session": NOT_NOW,
    "future-session": NOT_NOW,
    "current-session": SAME,
    "current-session-receipt": SAME,
    "inner-revert": SAME,
    "inner-revert-receipt": SAME,
    "usage-1st": SAME,
    "usage-1st-receipt": SAME,
    "usage-2nd": LIMIT,
    "waiting": SAME,
    "waiting-again": SAME,
    "same-nonce-other-op": BUNDLERS,
    "same-nonce-higher-fee": BUNDLERS,
    "no-funds": SAME,
    "pre-verification-gas-low": SAME,
    "fee-zero": SAME,
    "fee-below-base": SAME,
    "priority-above-max": SAME,
}

_LANES: dict[str, Ending] = {
    "install": SAME,
    "grant": SAME,
    "one-lane": SAME,
    "same-lane-again": SAME,
    "all-lanes-at-once": SAME,
    # the bundler alone takes all five: it looks at each as if the others were not there
    "spend-at-once": Answered({"accepted": 2, "refused": [int(Code.LIMIT_EXCEEDED)] * 3}),
}

ENDINGS: dict[Flow, dict[str, Ending]] = {
    STARTALE: _STARTALE,
    NEXUS: {**_RHINESTONE, "validator-first-nonce.send": SAME},
    SAFE: _RHINESTONE,
    BICONOMY: _BICONOMY,
    ZERODEV: _ZERODEV,
    BUNDLER: {"install": SAME, "grant": SAME, **_REQUESTS, **_OPERATIONS},
    LANES: _LANES,
}
