"""One recorded file, operation by operation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.errors import InvalidParams, Undecodable
from proxy.session.addresses import SESSION_MODULES
from proxy.session.signers import INVALID, OWNABLE_FORMS, VALID, check_session_signature, other_form
from proxy.userop.acts import SessionsEnabled
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.primitives import Hash32, parse_address, parse_hash
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import parse_user_operation, print_user_operation

SHARED: Final = Path(__file__).parents[3] / "shared" / "e2e" / "traffic"
SAMPLE: Final = Path(__file__).parent / "sample"
CHAIN_ID: Final = 1946
SEND: Final = "eth_sendUserOperation"
ESTIMATE: Final = "eth_estimateUserOperationGas"
SIGNATURE_FAILED: Final = -32507
"""AA24, the only answer that tells a bad session-key signature from everything else."""
BAD_SHAPE: Final = -32601
"""The recorded bundler's code for a parameter that breaks its schema."""

Finding = tuple[str, bool, str]


@dataclass
class Replay:
    """The sessions seen so far in one conversation, which later signatures are held against."""

    sessions: dict[Hash32, SessionData] = field(default_factory=dict)

    def check(self, record: Mapping[str, Any]) -> str | None:
        """What disagrees about one recorded request; `None` when nothing does."""
        params, response = record["request"]["params"], record["response"]
        estimate = record["request"]["method"] == ESTIMATE
        try:
            decoded = _read(params, estimate=estimate)
        except (InvalidParams, Undecodable) as error:
            return None if "error" in response else f"refused what the bundler took: {error}"
        if response.get("error", {}).get("code") == BAD_SHAPE:
            return "read what the bundler refused for its shape"
        if lost := _lost_in_print(params[0], print_user_operation(decoded.op)):
            return f"printed differently: {', '.join(lost)}"
        self._learn(decoded)
        if estimate:
            return None
        if "result" in response and parse_hash(response["result"], "result") != decoded.user_op_hash:
            return f"another hash: {decoded.user_op_hash.hex()}"
        return self._check_signature(decoded, response)

    def _learn(self, decoded: DecodedOperation) -> None:
        granted = [session for act in decoded.acts if isinstance(act, SessionsEnabled) for session in act.sessions]
        if decoded.claim is not None and decoded.claim.envelope.enable is not None:
            granted.append(decoded.claim.envelope.enable.session)
        self.sessions |= {session.permission_id: session for session in granted}

    def _check_signature(self, decoded: DecodedOperation, response: Mapping[str, Any]) -> str | None:
        if decoded.claim is None:
            return None
        envelope = decoded.claim.envelope
        session = self.sessions.get(envelope.permission_id)
        if session is None:
            return None if "error" in response else "accepted for a session whose grant was not seen"
        validator, signed = (
            session.session_validator,
            (
                session.session_validator_init_data,
                decoded.user_op_hash,
                envelope.signature,
            ),
        )
        verdict = check_session_signature(validator, *signed)
        form = OWNABLE_FORMS.get(validator)
        if "result" in response and form is not None and other_form(form, *signed) is not None:
            # the recorded chain's validators were stand-ins that took every release's form at each address
            return None
        if "result" in response and verdict != VALID:
            return f"accepted by the chain, {verdict.outcome} here"
        if response.get("error", {}).get("code") == SIGNATURE_FAILED and verdict != INVALID:
            return f"signature refused by the chain, {verdict.outcome} here"
        return None


def _read(params: Any, *, estimate: bool) -> DecodedOperation:
    if not isinstance(params, list) or len(params) < 2:
        raise InvalidParams("params", "wanted an operation and an entry point")
    entry_point = ENTRY_POINT_BY_ADDRESS.get(parse_address(params[1], "params[1]"))
    if entry_point is None:
        raise InvalidParams("params[1]", "not an entry point this gate knows")
    op = parse_user_operation(params[0], entry_point.version, estimate=estimate)
    return decode_operation(op, entry_point, CHAIN_ID, SESSION_MODULES)


def _lost_in_print(sent: Mapping[str, Any], printed: Mapping[str, Any]) -> list[str]:
    """Keys whose values are not the same, the case of hex digits apart; `null` is the same as absent."""
    sent = {key: value for key, value in sent.items() if value is not None}
    return sorted(key for key in sent.keys() | printed.keys() if not _same(sent.get(key), printed.get(key)))


def _same(sent: Any, printed: Any) -> bool:
    if isinstance(sent, dict) and isinstance(printed, dict):
        return not _lost_in_print(sent, printed)
    return isinstance(sent, str) and isinstance(printed, str) and sent.lower() == printed.lower()


def operations_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The recorded submissions and estimates of one file, in order."""
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        request = record["request"]
        if record["to"] == "bundler" and isinstance(request, dict) and request.get("method") in (SEND, ESTIMATE):
            yield record


def replay_file(path: Path) -> list[Finding]:
    """(step, agreed, detail) for every operation of a file."""
    replay = Replay()
    findings = []
    for record in operations_of(path):
        problem = replay.check(record)
        findings.append((f"{record['seq']} {record['step']}", problem is None, problem or ""))
    return findings


def traffic_files(directory: Path) -> list[Path]:
    """The recorded files of a directory, by name."""
    return sorted(directory.glob("*.jsonl"))
