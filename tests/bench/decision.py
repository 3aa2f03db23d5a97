"""What one decision costs: bytes of a request to verdict, without sockets, ledger or log."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.jsonrpc import BodyLimits, Request, Single, parse_body
from proxy.session.addresses import SESSION_MODULES
from proxy.session.counters import SessionKey
from proxy.session.enforce import Accepted, enforce
from proxy.session.signers import VALID, check_session_signature
from proxy.session.state import SessionState
from proxy.session.transitions import enable
from proxy.userop.acts import SessionsEnabled
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.user_operation import UserOperation, parse_user_operation
from tests.bench.operations import CHAIN_ID, ENTRY_POINT, RECORDED, read, submission

LIMITS = BodyLimits()
NOW = 1_800_000_000
ROUNDS = 5


@dataclass(frozen=True)
class Part:
    """One part of a decision, in microseconds: the best of several rounds, the others being noise."""

    name: str
    microseconds: float


def decision_parts(repeats: int) -> list[Part]:
    """The parts of the decision on a recorded single-call USE operation, and all of them together."""
    body = submission(RECORDED["use"][0])
    op = parse(body)
    operation = decode(op)
    state = granted_state(operation)
    assert isinstance(judge(operation, state), Accepted)
    return [
        Part("parse the request", best(lambda: parse(body), repeats)),
        Part("decode the operation", best(lambda: decode(op), repeats)),
        Part("enforce the session", best(lambda: judge(operation, state), repeats)),
        Part("bytes to verdict", best(lambda: judge(decode(parse(body)), state), repeats)),
        Part("check the signature", best(lambda: check(operation, state), repeats)),
    ]


def parse(body: bytes) -> UserOperation:
    parsed = parse_body(body, LIMITS)
    assert isinstance(parsed, Single)
    assert isinstance(parsed.item, Request)
    params: Any = parsed.item.params
    return parse_user_operation(params[0], ENTRY_POINT.version)


def decode(op: UserOperation) -> DecodedOperation:
    return decode_operation(op, ENTRY_POINT, CHAIN_ID, SESSION_MODULES)


def judge(operation: DecodedOperation, state: SessionState) -> object:
    """The session's verdict; its key's signature, by far the dearest part, is measured apart."""
    return enforce(operation, state, base_fee=None, in_flight=None, now=NOW, check_signature=lambda *_: VALID)


def check(operation: DecodedOperation, state: SessionState) -> None:
    assert operation.claim is not None
    assert state.session_validator is not None
    verdict = check_session_signature(
        state.session_validator,
        state.session_validator_init_data,
        operation.user_op_hash,
        operation.claim.envelope.signature,
    )
    assert verdict == VALID


def granted_state(operation: DecodedOperation) -> SessionState:
    """What the chain stores once the recorded grant is mined."""
    grant = decode(read(RECORDED["grant"]))
    (act,) = [act for act in grant.acts if isinstance(act, SessionsEnabled)]
    (session,) = act.sessions
    assert operation.claim is not None
    key = SessionKey(
        chain_id=CHAIN_ID,
        module=act.module,
        account=operation.op.sender,
        permission_id=operation.claim.envelope.permission_id,
    )
    state = enable(SessionState(key=key), session)
    assert isinstance(state, SessionState)
    return state


def best(work: Callable[[], object], repeats: int) -> float:
    gc.disable()
    try:
        return min(_round(work, repeats) for _ in range(ROUNDS)) * 1e6
    finally:
        gc.enable()


def _round(work: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats
