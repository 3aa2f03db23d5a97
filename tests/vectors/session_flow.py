"""session_flow*.json: sessions managed and operations validated, step by step, against the module's own verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coincurve import PublicKey

from proxy.errors import Undecodable
from proxy.session import transitions
from proxy.session.account import Sessions, enable_sessions, on_install, on_uninstall
from proxy.session.addresses import POLICIES
from proxy.session.counters import SessionKey
from proxy.session.enforce import enforce
from proxy.session.facts import EnableSignatureFact
from proxy.session.outcome import Accepted, NeedsFacts, Refused, Verdict
from proxy.session.revert import BARE, Revert
from proxy.session.signers import INVALID, VALID, SignatureVerdict
from proxy.session.state import SessionState
from proxy.session.transitions import Contracts
from proxy.session.validity import VALIDATION_FAILED
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.execution import Execution, decode_execution
from proxy.userop.nonce import NonceLayout
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.session_data import SessionData
from proxy.userop.signature import decode_session_envelope
from tests.vectors.fields import read_actions, read_hex, read_int, read_policies, read_session
from tests.vectors.policies import operation_of, same_revert
from tests.vectors.registry import Finding

KNOWN_ONLY = Contracts(POLICIES, has_code=lambda address: False)
"""The chain of the vectors: nothing but the published contracts has code."""


def signed_by(owner: Address, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """The vectors' account: ERC-1271 by plain ECDSA of its owner."""
    if len(signature) != 65:
        return INVALID
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([(signature[64] - 27) & 3]), digest, hasher=None
        )
    except Exception:  # whatever the library cannot recover is no signature of the owner
        return INVALID
    return VALID if keccak256(key.format(compressed=False)[1:])[12:] == owner else INVALID


class Flow:
    """One account of one flow: its sessions as they stand after each step."""

    def __init__(self, document: Mapping[str, Any], flow: Mapping[str, Any]) -> None:
        self.module = Address(read_hex(document["contracts"]["SmartSession"]))
        self.entry_point = ENTRY_POINT_BY_ADDRESS[Address(read_hex(document["entryPoint"]))]
        self.base_fee = read_int(document["block"]["basefee"])
        self.chain_id = flow["chainId"]
        self.account = Address(read_hex(flow["account"]))
        self.owner = Address(read_hex(flow["accountOwner"]))
        self.sessions: Sessions = {}

    def state(self, permission_id: Hash32) -> SessionState:
        known = self.sessions.get(permission_id)
        key = SessionKey(self.chain_id, self.module, self.account, permission_id)
        # on this chain nothing happened before the flow, so the first nonce is zero
        return known or SessionState(key=key, enable_nonce=0)

    def run(self, step: Mapping[str, Any]) -> str:
        """Play one step; the text of a disagreement, or nothing."""
        wanted = step["result"]
        match step["op"]:
            case "validateUserOp":
                return self._validate(step, wanted)
            case "readState":
                return self._read(wanted)
            case "enableSessions":
                grants = self._granted(step)
                ids = ["0x" + grant.permission_id.hex() for grant in grants]
                if wanted["status"] == "ok" and ids != wanted["permissionIds"]:
                    return f"permission ids {ids}, wanted {wanted}"
                return self._replace(enable_sessions(self.sessions, grants, **self._place), wanted)
            case "onInstall":
                self._granted(step)
                return self._replace(on_install(self.sessions, read_hex(step["data"]), **self._place), wanted)
            case "onUninstall":
                return self._replace(on_uninstall(self.sessions), wanted)
        state = self.state(Hash32(read_hex(step["permissionId"])))
        after = _transition(state, step)
        return self._replace(
            after if isinstance(after, Revert) else {**self.sessions, state.key.permission_id: after}, wanted
        )

    def _granted(self, step: Mapping[str, Any]) -> list[SessionData]:
        """The sessions of a step, each of which has a place from now on."""
        grants = [read_session(item) for item in step.get("sessions", ())]
        for grant in grants:
            self.sessions = {**self.sessions, grant.permission_id: self.state(grant.permission_id)}
        return grants

    @property
    def _place(self) -> dict[str, Any]:
        place = {"chain_id": self.chain_id, "module": self.module, "account": self.account}
        return {**place, "contracts": KNOWN_ONLY}

    def _replace(self, after: Sessions | Revert, wanted: Mapping[str, Any]) -> str:
        if isinstance(after, Revert):
            return "" if same_revert(after, wanted) else f"{after}, wanted {wanted}"
        self.sessions = after
        return "" if wanted["status"] == "ok" else f"went through, wanted {wanted}"

    def _read(self, wanted: Mapping[str, Any]) -> str:
        for item in wanted["sessions"]:
            state = self.state(Hash32(read_hex(item["permissionId"])))
            got = {
                "enabled": state.enabled,
                "nonce": state.enable_nonce,
                "userOpPolicies": [policy.hex() for policy in state.user_op_policies],
                "actions": [
                    (action_id.hex(), [policy.hex() for policy in policies])
                    for action_id, policies in state.actions.items()
                ],
            }
            said = {
                "enabled": item["enabled"],
                "nonce": item["nonce"],
                "userOpPolicies": [read_hex(policy).hex() for policy in item["userOpPolicies"]],
                "actions": [
                    (read_hex(action["actionId"]).hex(), [read_hex(policy).hex() for policy in action["policies"]])
                    for action in item["actions"]
                ],
            }
            if got != said:
                return f"{got}, wanted {said}"
        return ""

    def _validate(self, step: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
        if "caller" in step:
            sender = read_hex(step["userOp"]["sender"])
            return "" if same_revert(Revert("InvalidUserOpSender", (sender,)), wanted) else f"wanted {wanted}"
        try:
            operation, unreadable = self._operation(step)
        except Undecodable as problem:
            return "" if same_revert(BARE, wanted) else f"{problem}, wanted {wanted}"
        verdict = self._judge(operation, unreadable)
        if isinstance(verdict, Refused):
            return _compare_refusal(verdict, wanted)
        if not isinstance(verdict, Accepted):
            return f"{verdict}, wanted {wanted}"
        state = verdict.state
        self.sessions = {**self.sessions, state.key.permission_id: state}
        if wanted["status"] != "ok" or read_int(wanted["value"]) != verdict.validation_data or not step["committed"]:
            return f"accepted with {verdict.validation_data:#x}, wanted {wanted}"
        return ""

    def _operation(self, step: Mapping[str, Any]) -> tuple[DecodedOperation, Undecodable | None]:
        op = operation_of(step["userOp"])
        unreadable = None
        try:
            execution = decode_execution(op.call_data)
        except Undecodable as problem:
            execution, unreadable = Execution(None), problem
        envelope = decode_session_envelope(op.signature)
        return DecodedOperation(
            op=op,
            entry_point=self.entry_point,
            chain_id=self.chain_id,
            told_hash=Hash32(read_hex(step["userOpHash"])),
            claim=SessionClaim(module=self.module, layout=NonceLayout.VALIDATOR_FIRST, envelope=envelope),
            execution=execution,
            calls=execution.calls,
            movements=(),
            acts=(),
        ), unreadable

    def _judge(self, operation: DecodedOperation, unreadable: Undecodable | None) -> Verdict:
        assert operation.claim is not None
        state = self.state(operation.claim.envelope.permission_id)
        answers: dict[Any, Any] = {}
        while True:
            verdict = enforce(
                operation,
                state,
                base_fee=self.base_fee,
                in_flight=None,
                now=None,
                answers=answers,
                contracts=KNOWN_ONLY,
                unreadable=unreadable,
            )
            asked = verdict.facts if isinstance(verdict, NeedsFacts) else ()
            fresh = [fact for fact in asked if isinstance(fact, EnableSignatureFact) and fact not in answers]
            if not fresh:
                return verdict
            for fact in fresh:
                answers[fact] = signed_by(self.owner, fact.digest, fact.signature)


def _compare_refusal(verdict: Refused, wanted: Mapping[str, Any]) -> str:
    if verdict.revert is not None:
        return "" if same_revert(verdict.revert, wanted) else f"{verdict}, wanted {wanted}"
    agreed = wanted["status"] == "ok" and read_int(wanted["value"]) == VALIDATION_FAILED
    return "" if agreed else f"{verdict}, wanted {wanted}"


def _transition(state: SessionState, step: Mapping[str, Any]) -> SessionState | Revert:
    addresses = [Address(read_hex(policy)) for policy in step.get("policies", ())]
    match step["op"]:
        case "removeSession":
            return transitions.remove_session(state)
        case "revokeEnableSignature":
            return transitions.revoke_enable_signature(state)
        case "setPermit4337Paymaster":
            return transitions.set_permit_4337_paymaster(state, step["enabled"])
        case "enableUserOpPolicies":
            return transitions.enable_user_op_policies(state, read_policies(step["userOpPolicies"]), KNOWN_ONLY)
        case "disableUserOpPolicies":
            return transitions.disable_user_op_policies(state, addresses)
        case "enableActionPolicies":
            return transitions.enable_action_policies(state, read_actions(step["actions"]), KNOWN_ONLY)
        case "disableActionPolicies":
            return transitions.disable_action_policies(state, Hash32(read_hex(step["actionId"])), addresses)
        case "disableActionId":
            return transitions.disable_action_id(state, Hash32(read_hex(step["actionId"])))
        case other:
            raise ValueError(f"unknown step {other}")


def check_session_flows(document: Mapping[str, Any]) -> Iterator[Finding]:
    for item in document["flows"]:
        flow = Flow(document, item)
        problems = []
        for number, step in enumerate(item["steps"]):
            if problem := flow.run(step):
                problems.append(f"step {number} {step['op']}: {problem}")
        yield item["id"], not problems, "; ".join(problems)


CHECKERS = {"session-flow/1": check_session_flows}
