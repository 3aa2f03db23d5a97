"""A session's verdict given again, on what the trail kept of the operation and of the session."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from proxy.edge.audit.row import AuditRow
from proxy.errors import InvalidParams, Undecodable
from proxy.session.addresses import SESSION_MODULES
from proxy.session.granted import is_granted
from proxy.session.grounds import grounds_from_json, judge_again
from proxy.session.outcome import Verdict
from proxy.session.state import SessionState
from proxy.userop.declared_module import DeclaredModule, SessionModules
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.primitives import Address, Hash32, parse_address, print_bytes
from proxy.userop.user_operation import parse_user_operation

_USE = "use"
_STUB = bytes(65)
"""In place of the session key's signature, which no trail keeps."""


class NotRecomputableError(Exception):
    """Why a verdict can only be repeated as it was recorded."""


def judge_session_again(row: AuditRow, chain_id: int) -> Verdict:
    """The verdict of the session on the grounds of then. Raises `NotRecomputableError`."""
    if row.permission_id is None:
        raise NotRecomputableError("no session signed it")
    if row.whole is None:
        raise NotRecomputableError("the trail keeps facts only (audit.keep)")
    if row.session_mode != _USE:
        raise NotRecomputableError("its grant stood in the signature, which no trail keeps")
    if row.whole.get("grounds") is None:
        raise NotRecomputableError("the session's state was not asked for")
    try:
        grounds = grounds_from_json(row.whole["grounds"])
        return judge_again(_operation(row, chain_id, grounds.state), grounds)
    except (ValueError, KeyError, TypeError, InvalidParams, Undecodable) as error:
        raise NotRecomputableError(f"what was kept of it cannot be read ({type(error).__name__})") from error


def _operation(row: AuditRow, chain_id: int, state: SessionState) -> DecodedOperation:
    assert row.whole is not None  # noqa: S101  # the caller has looked
    assert row.permission_id is not None  # noqa: S101  # likewise
    entry_point = ENTRY_POINT_BY_ADDRESS[parse_address(row.whole["entryPoint"], "entryPoint")]
    module = state.key.module
    modules: Collection[Address] = SESSION_MODULES | {module}
    signature = b"\0" + row.permission_id + _STUB
    if is_granted(state):
        # however its signatures named the session: which one it was is on record
        modules, signature = SessionModules.of((), (DeclaredModule(address=module),), chain_id), _STUB
    written = {**row.whole["operation"], "signature": print_bytes(signature)}
    op = parse_user_operation(written, entry_point.version, estimate=row.estimate)
    # as a preview, whose signature and hash nobody asks for
    operation = decode_operation(op, entry_point, chain_id, modules, preview=True)
    if operation.claim is None:
        return operation
    envelope = operation.claim.envelope._replace(permission_id=Hash32(row.permission_id))
    return replace(operation, claim=operation.claim._replace(envelope=envelope))
