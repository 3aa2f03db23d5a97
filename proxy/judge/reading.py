"""From an operation that was decoded to the facts that rules are held against."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Final

from proxy.judge.facts import ALLOWED, MOST_ARGUMENTS, CallFacts, Facts, GrantFacts, MoveFacts
from proxy.record import record
from proxy.session.counters import SessionKey
from proxy.session.lint import Finding, lint, lint_addition, lint_enable, lint_grant
from proxy.session.lint.grant import Grant, configs_of
from proxy.session.lint.reading import read_session
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.transitions import PUBLISHED
from proxy.userop.acts import (
    Act,
    ActionPoliciesEnabled,
    EmissaryConfigSet,
    Erc1271PoliciesEnabled,
    SessionsEnabled,
    UserOpPoliciesEnabled,
)
from proxy.userop.declared_acts import FOREVER, DeclaredGrant
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.execution import Call, CallType
from proxy.userop.movement import Movement
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import EnableSession, PolicyData, SessionData
from proxy.userop.signature import SessionMode
from proxy.userop.transfers import movements_known
from proxy.userop.user_operation import UserOperation

_made: Final = tuple.__new__
_VERSIONS: Final = {version: version.value for version in EntryPointVersion}
_MODES: Final = {mode: mode.label for mode in SessionMode}
_CALL_TYPES: Final = {each.value: each.name.lower() for each in CallType}
_USE: Final = _MODES[SessionMode.USE]
_SINGLE: Final = _CALL_TYPES[CallType.SINGLE]
_NO_HASH: Final = Hash32(bytes(32))
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@record(kw_only=True)
class Arrival:
    """How an operation came in: the chain's and the client's name, the method, whether it only asks, the peer's
    address, where there is one, and how many sessions a second the client may name in vain, by its licence."""

    chain: str
    client: str
    method: str
    preview: bool = False
    peer: str = ""
    absent_rate: float | None = None


@record(kw_only=True)
class Background:
    """What is known of an operation beyond itself; the defaults are those of one that was refused early."""

    verdict: str
    replaces: bool = False
    lanes: int = 0
    limit_used_percent: int | None = None
    session_since: float | None = None
    session_until: int | None = None

    @property
    def by_itself(self) -> Background:
        """The same but for what else is in flight."""
        return replace(self, replaces=False, lanes=0, limit_used_percent=None)


def facts_of(
    op: UserOperation,
    entry_point: EntryPoint,
    chain_id: int,
    operation: DecodedOperation | None,
    *,
    request: Arrival,
    standing: Background,
    now: float,
    asked: Collection[Selector] = (),
) -> Facts:
    """The facts of an operation at unix time `now`; `operation` is `None` when it could not be read. `asked` are the
    functions whose arguments rules look into."""
    claim = None if operation is None else operation.claim
    execution = None if operation is None else operation.execution
    call_gas, max_fee = op.call_gas_limit or 0, op.max_fee_per_gas or 0
    gas = call_gas + (op.verification_gas_limit or 0) + (op.pre_verification_gas or 0)
    gas += (op.paymaster_verification_gas_limit or 0) + (op.paymaster_post_op_gas_limit or 0)
    return Facts(
        unix_time=now,
        chain_id=chain_id,
        chain=request.chain,
        client=request.client,
        method=request.method,
        preview=request.preview,
        verdict=standing.verdict,
        account=op.sender,
        entry_point=_VERSIONS[entry_point.version],
        user_op_hash=_NO_HASH if operation is None else operation.told_hash or _NO_HASH,
        nonce=op.nonce,
        # one that cannot be read is refused only when it claims a session
        session=operation is None or claim is not None,
        permission_id=None if claim is None else claim.envelope.permission_id,
        module=None if claim is None else claim.module,
        mode=None if claim is None else _MODES[claim.envelope.mode],
        call_type=None if execution is None or execution.call_type is None else _CALL_TYPES.get(execution.call_type),
        calls=() if operation is None else tuple([facts_of_call(call, asked) for call in operation.calls]),
        moves=() if operation is None else tuple(map(facts_of_movement, operation.movements)),
        acts=() if operation is None or not operation.acts else names_of_acts(operation.acts),
        grants=() if operation is None else grants_in(operation.acts, claim, op.sender, int(now)),
        paymaster=_paymaster(op),
        factory=None if op.factory is None and op.init_code is None else _factory(op),
        eip7702=op.eip7702_auth is not None,
        gas=gas,
        call_gas=call_gas,
        max_cost=gas * max_fee,
        max_fee=max_fee,
        priority_fee=op.max_priority_fee_per_gas or 0,
        replaces=standing.replaces,
        lanes=standing.lanes,
        limit_used_percent=standing.limit_used_percent,
        session_since=standing.session_since,
        session_until=standing.session_until,
    )


def facts_of_use(
    operation: DecodedOperation,
    session: SessionKey,
    function: Selector,
    *,
    request: Arrival,
    now: float,
    asked: Collection[Selector],
    moves: tuple[MoveFacts, ...],
    replaces: bool,
    lanes: int,
    since: float | None,
    until: int | None,
    fullest: int | None,
) -> Facts:
    """`facts_of` the use of a session that takes it, by one `execute` of this function that administers nothing, of an
    account that is there: the same in one step. `moves` are the facts of its movements; `since`, `until` and `fullest`
    are of the session, see `Background`."""
    op, (call,), data = operation.op, operation.calls, operation.calls[0].data
    call_gas, max_fee = op.call_gas_limit or 0, op.max_fee_per_gas or 0
    gas = call_gas + (op.verification_gas_limit or 0) + (op.pre_verification_gas or 0)
    if op.paymaster_verification_gas_limit is not None or op.paymaster_post_op_gas_limit is not None:
        gas += (op.paymaster_verification_gas_limit or 0) + (op.paymaster_post_op_gas_limit or 0)
    arguments = data[4:] if function in asked and 4 <= len(data) <= MOST_ARGUMENTS + 4 else b""
    version, highest = operation.entry_point.version, gas * max_fee
    # in the order of the fields, made without asking for their names: there is one for every operation
    # fmt: off
    signed = (
        now, operation.chain_id, request.preview, ALLOWED, _VERSIONS[version], op.nonce, True,
        request.chain, request.client, request.method,
        op.sender, operation.told_hash, session.permission_id, _USE, session.module, _SINGLE, (),
    )
    spent = (
        op.paymaster, None, False, gas, call_gas, highest, max_fee, op.max_priority_fee_per_gas or 0,
        replaces, lanes, since, until, fullest,
        (_made(CallFacts, (call.target, function, call.value, len(data), arguments)),), moves, (),
    )
    # fmt: on
    return _made(Facts, signed + spent)  # of more than thirty parts a tuple is made by way of a list


def _paymaster(op: UserOperation) -> Address | None:
    if op.paymaster_and_data:
        return Address(op.paymaster_and_data[:20])
    return op.paymaster


def _factory(op: UserOperation) -> Address | None:
    if op.init_code:
        return Address(op.init_code[:20])
    return None if op.factory is None else Address(op.factory.ljust(20, b"\0"))


def facts_of_call(call: Call, asked: Collection[Selector] | None = None) -> CallFacts:
    """A call as rules see it, with its arguments where its function is one of `asked` (`None`: all are)."""
    selector, size = call.selector, len(call.data)
    wanted = (asked is None or selector in asked) and 4 <= size <= MOST_ARGUMENTS + 4
    arguments = call.data[4:] if wanted else b""
    return CallFacts(target=call.target, selector=selector, value=call.value, size=size, arguments=arguments)


def facts_of_movement(movement: Movement) -> MoveFacts:
    """A movement as rules see it."""
    kinds, of = (movement.kind, movement.asset), (movement.token, movement.amount, movement.counterparty)
    return _made(MoveFacts, (movement.call, *kinds, *of, movement.holder, movement.unlimited))


@lru_cache(maxsize=4_096)
def facts_of_known_moves(target: Address, function: Selector, account: Address) -> tuple[MoveFacts, ...] | None:
    """The facts of `movements_known`: the same of each call that an account makes of a function."""
    known = movements_known(target, function, account)
    return None if known is None else tuple(map(facts_of_movement, known))


def names_of_acts(acts: Iterable[object]) -> tuple[str, ...]:
    """What rules call these acts, in their order."""
    return tuple([name_of_act(type(act)) for act in acts])


def name_of_act(act: type) -> str:
    """`ModuleInstalled` as `module_installed`."""
    return _HUMP.sub("_", act.__name__).lower()


def grants_in(acts: Collection[Act], claim: SessionClaim | None, account: Address, now: int) -> tuple[GrantFacts, ...]:
    """What signature and acts of an operation grant, reviewed at unix time `now`: the signature's grant first."""
    if not acts and (claim is None or claim.envelope.enable is None):  # nearly always
        return ()
    return tuple(_each_grant(acts, claim, account, now))


def _each_grant(acts: Collection[Act], claim: SessionClaim | None, account: Address, now: int) -> Iterator[GrantFacts]:
    if claim is not None and claim.envelope.enable is not None:
        yield _enabled(claim.envelope.enable, claim.envelope.mode, claim.module, account, now=now)
    for act in acts:
        match act:
            case SessionsEnabled(module, sessions):
                for session in sessions:
                    findings = lint(session, now=now, account=account, module=module)
                    yield _granted(session, module, account, how="call", findings=findings)
            case UserOpPoliciesEnabled() | ActionPoliciesEnabled() | Erc1271PoliciesEnabled():
                yield GrantFacts(
                    permission_id=act.permission_id,
                    module=act.module,
                    how="call",
                    findings=_ids(lint_addition(act, now=now, account=account)),
                    targets=tuple(each.target for each in act.actions)
                    if isinstance(act, ActionPoliciesEnabled)
                    else (),
                    policies=tuple(dict.fromkeys(each.policy for each in _policies_added(act))),
                )
            case DeclaredGrant():
                yield _declared(act, now)
            case EmissaryConfigSet(module, holder, enable):
                yield _enabled(enable, SessionMode.ENABLE, module, holder, now=now, how="call")
            case _:
                pass


def _declared(grant: DeclaredGrant, now: int) -> GrantFacts:
    """At a module that the settings declare there are no policies: what it is told is all there is."""
    ends = [min(call.terms.valid_until, grant.terms.valid_until) for call in grant.calls]
    last = max(ends, default=FOREVER)
    return GrantFacts(
        permission_id=grant.permission_id,
        module=grant.module,
        how="call",
        findings=_ids(lint_grant(grant, now=now)),
        valid_until=None if last >= FOREVER else last,
        targets=tuple(dict.fromkeys(call.target for call in grant.calls)),
        policies=(),
    )


def _enabled(
    enable: EnableSession | EmissaryEnable,
    mode: SessionMode,
    module: Address,
    account: Address,
    *,
    now: int,
    how: str | None = None,
) -> GrantFacts:
    findings = lint_enable(enable, mode, now=now, account=account, module=module)
    claims = enable.claim_policies if isinstance(enable, EmissaryEnable) else ()
    return _granted(enable.session, module, account, how=how or mode.label, findings=findings, claims=claims)


def _granted(
    session: SessionData,
    module: Address,
    account: Address,
    *,
    how: str,
    findings: tuple[Finding, ...],
    claims: tuple[PolicyData, ...] = (),
) -> GrantFacts:
    policies = [*session.user_op_policies, *session.erc7739_policies.erc1271_policies, *claims]
    policies += [policy for action in session.actions for policy in action.policies]
    return GrantFacts(
        permission_id=session.permission_id,
        module=module,
        how=how,
        findings=_ids(findings),
        valid_until=_end_of(read_session(session, account, module, PUBLISHED, claims)),
        targets=tuple(dict.fromkeys(action.target for action in session.actions)),
        policies=tuple(dict.fromkeys(each.policy for each in policies)),
    )


def _ids(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.id for finding in findings))


def _policies_added(
    act: UserOpPoliciesEnabled | ActionPoliciesEnabled | Erc1271PoliciesEnabled,
) -> Iterator[PolicyData]:
    match act:
        case UserOpPoliciesEnabled():
            yield from act.policies
        case ActionPoliciesEnabled():
            for action in act.actions:
                yield from action.policies
        case Erc1271PoliciesEnabled():
            yield from act.erc7739_policies.erc1271_policies


def _end_of(grant: Grant) -> int | None:
    """When the last action of the session ends; `None` when one never does, or nothing can be called at all."""
    ends: list[int] = []
    for action in grant.actions:
        if action.is_dummy:
            continue
        frames = configs_of(grant.bearing_on(action), TimeFrame)
        until = [frame.valid_until for frame in frames if frame.valid_until]
        if not until:
            return None
        ends.append(min(until))
    return max(ends, default=None)
