"""When gate and bundler agree: both take an operation, or both refuse it, for the same reason where one is shown.

The bundler shows what the entry point says (AA22, AA23 with the session module's revert data, AA24); the gate's audit
shows a code, a sentence and the name of the policy. `SAYINGS` pairs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.errors import Code
from proxy.session.addresses import name_of_policy
from proxy.session.revert import SELECTOR_BY_ERROR
from proxy.userop.primitives import Address
from tests.e2e.differential.twists import SIGNATURE_TWISTS


@dataclass(frozen=True)
class Known:
    """A disagreement that is right as it is.

    `label` is the pattern of its operations, `gates` names the gates that have it, `says` is the pattern of the
    sentence with which they refuse; empty where they let the operation through.
    """

    label: str
    gates: frozenset[str]
    says: str
    why: str

    def covers(self, label: str, gate: str, said: str) -> bool:
        sentence = re.search(self.says, said) if self.says else not said
        return gate in self.gates and bool(sentence) and re.search(self.label, label) is not None


WITH_NODE, WITHOUT_NODE = "with a node", "without a node"

KNOWN = (
    Known(
        r"enable.* signed (by a stranger|as a message)",
        frozenset({WITHOUT_NODE}),
        "",
        "a gate that has no node cannot ask the account whether it takes the owner's signature on a grant; it says so "
        "in a note and leaves that to the bundler's simulation",
    ),
    Known(
        r"enable.* next nonce",
        frozenset({WITHOUT_NODE}),
        "",
        "a gate that has no node cannot know the enable nonce of a session that it has not seen enabled that way; any "
        "of the first few that fits the owner's signature will do",
    ),
    Known(
        r"metered",
        frozenset({WITHOUT_NODE}),
        "base fee is not known",
        "what SimpleGasPolicy counts depends on the base fee, for which a gate that has no node can ask nobody; it "
        "refuses what it cannot count",
    ),
)
"""Everything that gate and bundler are let disagree on.

Not generated, because the rig is not the world: a fallback action in the early release of the engine that the rig runs
covers calls to the session module, which has no action of its own for them; in the published one it never does
(PolicyLib.checkSingle7579Exec). Because it is not about sessions: nonces (AA25), funds (AA21), gas (AA26, AA40, AA95),
fees, and the mempool's own limits are the bundler's to judge. Nor two operations of one session at once: a bundler
looks at each as if no other were under way, the gate counts what is in flight.
"""

ASKED_LAST = re.compile("metered|policy that is no contract|next nonce|two keys: .*claims")
"""Operations of which the node is always asked something. That comes last, and only where nothing else refuses: so
the gate may name a reason that the module would have met later."""
_ASKED_ABOUT = frozenset({"ERC20SpendingLimitPolicy", "ContractWhitelistPolicy"})
"""Policies of which not everything can be read beforehand: the same, where a token or a target is met for the first
time."""

_ABOUT_THE_SIGNATURE = ("AA24", "InvalidSignature")
"""What a gate says of a session key's signature. It looks at that before anything that costs more; the module looks at
it last. So of an operation that was signed otherwise and has another fault as well the two name different ones."""

_SIGNED_OTHERWISE = (*SIGNATURE_TWISTS, "claims")  # who claims another validator signs in the form of that one

_ERRORS = {data: name for name, data in SELECTOR_BY_ERROR.items()}


@dataclass(frozen=True)
class Saying:
    """What the gate may say to one kind of refusal; `sentence` is a pattern, `policy` whether one has to be named."""

    codes: frozenset[Code]
    sentence: str = ""
    policy: bool = False


def _scope(sentence: str, *, policy: bool = False) -> Saying:
    return Saying(frozenset({Code.SESSION_SCOPE}), sentence, policy)


SAYINGS: Mapping[str, Saying] = {
    "AA22": Saying(frozenset({Code.SESSION_NOT_VALID_NOW}), "not valid now"),
    "AA24": _scope(
        "signature is not the session key's|takes the bare|takes the EIP-191|accepts this signature cannot be told"
    ),
    "InvalidPermissionId": Saying(frozenset({Code.SESSION_UNKNOWN, Code.SESSION_REVOKED}), "not enabled|removed"),
    "PaymasterValidationNotEnabled": _scope("does not permit"),
    "NoPoliciesSet": _scope("not among the session's actions|no action for|may not call|needs at least one"),
    "PolicyViolation": Saying(frozenset({Code.SESSION_SCOPE, Code.LIMIT_EXCEEDED}), policy=True),
    "PolicyCheckReverted": Saying(frozenset({Code.SESSION_SCOPE, Code.LIMIT_EXCEEDED, Code.UNDECODABLE}), policy=True),
    "UnsupportedExecutionType": _scope("try mode or executeUserOp"),
    "UnsupportedCallType": _scope("call type"),
    "NoExecutionsInBatch": _scope("batch is empty"),
    "InvalidSelfCall": _scope("own execute"),
    "InvalidTarget": _scope("cannot be called"),
    "InvalidSignature": _scope("cannot read the signature"),
    "ChainIdMismatch": _scope("another chain"),
    "HashMismatch": _scope("signed for another session"),
    "InvalidEnableSignature": _scope("does not accept the owner's signature"),
    "UnsupportedPolicy": _scope("a way that it does not support"),
    "InvalidActionId": _scope("zero address or the session module"),
    "PolicyNotInitialized": _scope("init data"),
    "bare": Saying(frozenset({Code.UNDECODABLE, Code.SESSION_SCOPE})),
    "Panic": Saying(frozenset({Code.UNDECODABLE, Code.SESSION_SCOPE, Code.LIMIT_EXCEEDED})),
}


@dataclass(frozen=True)
class Answer:
    """The bundler's: `refused` is its message, `None` for an operation that it took."""

    refused: str | None

    @property
    def why(self) -> tuple[str, bytes]:
        """A key of `SAYINGS` and the revert data; the message itself where it is about something else."""
        message = self.refused or ""
        found = re.search(r"\bAA\d\d\b", message)
        if found is None or found.group() not in ("AA22", "AA23", "AA24"):
            return message, b""
        if found.group() != "AA23":
            return found.group(), b""
        shown = re.search(r"0x([0-9a-fA-F]*)", message)
        if shown is None:
            return "Panic", b""  # alto puts Solidity's panics into words
        data = bytes.fromhex(shown.group(1))
        return _ERRORS.get(data[:4], f"0x{data[:4].hex()}") if data else "bare", data


def disagreement(label: str, answer: Answer, row: Mapping[str, Any], *, mined: bool) -> str | None:
    """What the audit row and the bundler's answer do not agree on."""
    if answer.refused is None:
        if row["verdict"] != "allow":
            return "the bundler took it, the gate would have refused it"
        return None if mined else "both took it, and it was never mined"
    why, data = answer.why
    if row["verdict"] == "allow":
        return f"the bundler refused it ({why}), the gate would have let it through"
    if why not in SAYINGS:
        return f"the bundler's reason is not in the table: {why}"
    reason = row["reasons"][0]
    if any(twist in label for twist in _SIGNED_OTHERWISE) and _speaks_of_the_signature(reason):
        return None
    return None if ASKED_LAST.search(label) else _other_reason(why, data, reason)


def known_as(label: str, gate: str, row: Mapping[str, Any]) -> Known | None:
    """The entry under which a disagreement is listed."""
    said = row["reasons"][0]["sentence"] if row["reasons"] else ""
    return next((known for known in KNOWN if known.covers(label, gate, said)), None)


def _speaks_of_the_signature(reason: Mapping[str, Any]) -> bool:
    sayings = (SAYINGS[each] for each in _ABOUT_THE_SIGNATURE)
    return any(reason["code"] in each.codes and re.search(each.sentence, reason["sentence"]) for each in sayings)


def _other_reason(why: str, data: bytes, reason: Mapping[str, Any]) -> str | None:
    """How the gate's reason differs from the module's."""
    if reason["code"] == Code.UNDECODABLE:
        return None  # read as a whole before any of it is judged: the module may meet another reason before
    policy = name_of_policy(Address(data[48:68])) if why == "PolicyViolation" else None
    if why == "InvalidEnableSignature" or policy in _ASKED_ABOUT:
        return None
    saying = SAYINGS[why]
    if reason["code"] not in saying.codes or not re.search(saying.sentence, reason["sentence"]):
        return f"both refused it, but for other reasons: {why}"
    if saying.policy and not reason.get("policy"):
        return f"both refused it, but the gate names no policy: {why}"
    if policy is not None and reason["policy"] != policy:
        return f"both refused it, but by other policies: {policy}"
    return None
