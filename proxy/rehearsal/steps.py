"""One step of a case as the facts of an operation. Whatever is not written is that of an ordinary session operation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, get_args

from proxy.document import Location
from proxy.errors import Code, Undecodable
from proxy.judge.facts import ALLOWED, Facts, GrantFacts, MoveFacts
from proxy.judge.reading import facts_of_call, facts_of_movement, grants_in, name_of_act, names_of_acts
from proxy.rehearsal.case import Ending
from proxy.rehearsal.written_acts import Scene, call_that_does, modules_of_case
from proxy.rehearsal.written_calls import ordinary_call, read_back, written_calls
from proxy.rehearsal.written_fields import (
    Desk,
    Fields,
    number_up_to,
    one_of,
    read_duration,
    read_flag,
    read_number,
    read_text,
)
from proxy.rehearsal.written_grants import modules_of_grants, read_grants
from proxy.session.addresses import SMART_SESSION
from proxy.userop.acts import Act
from proxy.userop.administration import acts_of
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import Call, CallType
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.nonce import NonceLayout
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.signature import SessionEnvelope, SessionMode
from proxy.written import fault, kind_of, shorten

STEP_KEYS: Final = (
    *("at", "expect", "repeat", "every", "session", "account", "client", "chain", "method", "preview", "mode"),
    *("module", "nonce_key", "same_nonce", "entry_point", "calls", "call_type", "spend", "approve", "inflow", "to"),
    *("moves", "acts", "grants", "paymaster", "factory", "eip7702", "gas", "call_gas", "max_cost", "max_fee"),
    *("priority_fee", "lanes"),
    *("replaces", "limit_used_percent", "session_age", "session_left", "verdict", "then"),
)
"""Every key of a step."""
TAKEN_AS_WRITTEN: Final = (
    *("moves", "verdict", "lanes", "replaces", "limit_used_percent", "session_age", "session_left"),
)
"""Those which no call data tell: moves that no call is written for, and what the ledger and the chain would say."""

_MOVE_KEYS: Final = ("kind", "asset", "token", "amount", "counterparty", "holder", "unlimited", "call")
ACT_NAMES: Final = tuple(sorted(map(name_of_act, get_args(Act))))
"""What `acts` may name."""
_VERDICTS: Final = (ALLOWED, *(code.label for code in Code))
_SUBMIT: Final = "eth_sendUserOperation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a case file says once for all its steps."""

    start: int
    chain: str
    client: str
    chains: dict[str, int]


@dataclass(slots=True)
class Sequence:
    """The nonces of one case: every operation takes the next one of its account's key, unless it says otherwise.

    `salt` makes the hashes of one case differ from those of others.
    """

    salt: bytes
    next: dict[tuple[Address, int], int] = field(default_factory=dict)
    latest: int = 0
    operations: int = 0

    def take(self, account: Address, key: int, *, again: bool) -> int:
        """The nonce of the next operation."""
        self.operations += 1
        if not again:
            number = self.next.get((account, key), 0)
            self.next[account, key] = number + 1
            self.latest = key << 64 | number
        return self.latest

    def name(self) -> Hash32:
        """The hash of the operation that took a nonce last."""
        return keccak256(self.salt + self.operations.to_bytes(8, "big"))


def step_facts(fields: Fields, around: Surroundings, sequence: Sequence, after: int) -> Facts:
    """The facts of one operation, `after` seconds from the start."""
    desk = fields.desk
    now = around.start + after
    account = fields.get("account", desk.address, desk.address("account"))
    session = fields.values.get("session") != "none"
    again = fields.get("same_nonce", read_flag, False)
    chain = fields.get("chain", one_of(tuple(around.chains)), around.chain)
    chain_id = around.chains[chain]
    scene = _scene(fields, account, chain_id, now, session=session)
    grants = read_grants(fields, scene, session=session)
    calls = [*written_calls(fields, account, chain_id), *grants.calls]
    promised: list[tuple[Location, str | GrantFacts]] = [*grants.promised, *_add_acts(fields, scene, calls)]
    operation = _operation(fields, scene, calls or [ordinary_call(desk)], grants.claim, session=session)
    claim = None if operation is None else operation.claim
    nonce = sequence.take(account, fields.get("nonce_key", number_up_to(2**192 - 1), 0), again=again)
    facts = Facts(
        unix_time=float(now),
        chain_id=chain_id,
        chain=chain,
        client=fields.get("client", read_text, around.client),
        method=fields.get("method", read_text, _SUBMIT),
        preview=fields.get("preview", read_flag, False),
        verdict=fields.get("verdict", one_of(_VERDICTS), ALLOWED),
        account=account,
        entry_point=fields.get("entry_point", one_of(tuple(EntryPointVersion)), EntryPointVersion.V07.value),
        user_op_hash=sequence.name(),
        nonce=nonce,
        session=session,
        permission_id=None if claim is None else claim.envelope.permission_id,
        module=scene.module if session else None,
        mode=grants.mode if session else None,
        call_type=_call_type(operation),
        calls=() if operation is None else tuple(map(facts_of_call, operation.calls)),
        moves=_moves(fields, operation, account),
        acts=() if operation is None else names_of_acts(operation.acts),
        grants=() if operation is None else grants_in(operation.acts, claim, account, now),
        paymaster=_party(fields, "paymaster"),
        factory=_party(fields, "factory"),
        eip7702=fields.get("eip7702", read_flag, False),
        gas=fields.get("gas", read_number, 500_000),
        call_gas=fields.get("call_gas", read_number, 200_000),
        max_cost=fields.get("max_cost", desk.coins, 0),
        max_fee=fields.get("max_fee", desk.coins, 0),
        priority_fee=fields.get("priority_fee", desk.coins, 0),
        replaces=fields.get("replaces", read_flag, again),
        lanes=fields.get("lanes", number_up_to(2**32), 1 if session else 0),
        session_since=None if (age := fields.get("session_age", read_duration, None)) is None else float(now - age),
        session_until=None if (left := fields.get("session_left", read_duration, None)) is None else now + left,
        limit_used_percent=fields.get("limit_used_percent", number_up_to(1_000_000), None),
    )
    if operation is not None:
        _hold_against(facts, desk, promised)
    return facts


def _scene(fields: Fields, account: Address, chain_id: int, now: int, *, session: bool) -> Scene:
    """What acts that are named are about: the step's session, or `granted` for an operation of the owner."""
    desk = fields.desk
    module = fields.get("module", desk.address, desk.address("smart_sessions"))
    granted = desk.permission_id("granted")
    modules = (module, SMART_SESSION, *modules_of_grants(fields))
    return Scene(
        account=account,
        module=module,
        chain_id=chain_id,
        now=now,
        permission_id=fields.get("session", desk.permission_id, desk.permission_id("session")) if session else granted,
        modules=modules_of_case(modules, chain_id),
    )


_CALL_TYPES: Final = tuple(each.name.lower() for each in CallType)


def read_ending(value: object) -> Ending:
    """What becomes of the operation."""
    return Ending(one_of(tuple(Ending))(value))


def _party(fields: Fields, key: str) -> Address | None:
    return fields.get(key, fields.desk.address, None) if fields.values.get(key) != "none" else None


def _operation(
    fields: Fields, scene: Scene, calls: list[Call], claim: SessionClaim | None, *, session: bool
) -> DecodedOperation | None:
    """The operation that makes these calls, as the gate reads it; `None`, and a fault, where it refuses to."""
    by_default = CallType.SINGLE if len(calls) == 1 else CallType.BATCH
    kind = CallType[fields.get("call_type", one_of(_CALL_TYPES), by_default.name.lower()).upper()]
    if len(calls) > 1 and kind is not CallType.BATCH:
        fields.fault(f"this step makes {len(calls)} calls, and call_type says one", "leave out call_type")
        return None
    if session and claim is None:
        envelope = SessionEnvelope(mode=SessionMode.USE, permission_id=scene.permission_id, signature=bytes(65))
        claim = SessionClaim(module=scene.module, layout=NonceLayout.VALIDATOR_FIRST, envelope=envelope)
    try:
        return read_back(calls, kind, scene, claim)
    except Undecodable as problem:
        fields.fault(f"the gate cannot read this operation: {problem}", "write less in one step")
        return None


def _add_acts(fields: Fields, scene: Scene, calls: list[Call]) -> list[tuple[Location, str]]:
    """Add a call for each act that is named and that no call does already; those are returned, with their places."""
    desk, added = fields.desk, []
    done = names_of_acts(acts_of(calls, scene.account, scene.modules))
    for at, item in fields.items("acts"):
        name = desk.read(at, item, one_of(ACT_NAMES), None)
        if name is None or name in done:
            continue
        if (call := call_that_does(name, scene)) is None:
            desk.fault(at, f"no call does {name} here and nothing else", "write the call itself among calls")
        else:
            calls.append(call)
            added.append((at, name))
    return added


def _hold_against(facts: Facts, desk: Desk, promised: Iterable[tuple[Location, str | GrantFacts]]) -> None:
    """What is read of each act and each grant by itself is to be read of the whole operation as well."""
    read = {*facts.acts, *facts.grants}
    unread = [at for at, each in promised if each not in read]
    if unread:
        problem = f"the gate does not read that far in this operation, of call_type {facts.call_type}"
        desk.fault(unread[0], problem, "write less in one step, and no call_type")


def _call_type(operation: DecodedOperation | None) -> str | None:
    execution = None if operation is None else operation.execution
    if execution is None or execution.call_type is None:
        return None
    return CallType(execution.call_type).name.lower()


def _moves(fields: Fields, operation: DecodedOperation | None, account: Address) -> tuple[MoveFacts, ...]:
    moves = () if operation is None else tuple(map(facts_of_movement, operation.movements))
    full = tuple(_full(fields.desk.fields(at, item, _MOVE_KEYS), account) for at, item in fields.items("moves"))
    if not fields.has("moves"):
        return moves
    # what is written in full stands beside what is written in short, and in place of what no call was written for
    in_short = any(fields.has(name) for name in ("calls", "spend", "approve", "inflow"))
    return (*moves, *full) if in_short else full


def _full(fields: Fields, account: Address) -> MoveFacts:
    desk = fields.desk
    asset = AssetKind(fields.get("asset", one_of(tuple(AssetKind)), AssetKind.ERC20.value))
    return MoveFacts(
        call=fields.get("call", number_up_to(2**16), 0),
        kind=MovementKind(fields.need("kind", one_of(tuple(MovementKind)), MovementKind.SPEND.value)),
        asset=asset,
        token=_party(fields, "token"),
        amount=fields.get("amount", desk.coins if asset is AssetKind.NATIVE else read_number, None),
        counterparty=_party(fields, "counterparty"),
        holder=fields.get("holder", desk.address, account),
        unlimited=fields.get("unlimited", read_flag, False),
    )


def read_expectation(value: object) -> bool:
    """`fires` or `passes`."""
    if value not in ("fires", "passes"):
        raise fault(f"wanted fires or passes, got {shorten(value) if isinstance(value, str) else kind_of(value)}")
    return value == "fires"
