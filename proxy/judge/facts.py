"""What rules see of an operation: plain typed facts, made once by the judge and never the operation itself.

Rules, their test cases, the audit trail and backtests all speak of this one record, so that what was judged can be
judged again. It holds no signature, no key and no call data beyond the selector.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, Selector

MOST_ARGUMENTS: Final = 4_096
"""Bytes of arguments of one call that rules may look into."""

IN_FLIGHT: Final = frozenset({"op.replaces", "op.lanes", "op.limit_used_percent"})
"""Names of the fields that hang on what else is in flight: another operation may change them at any moment."""

ALLOWED: Final = "allow"
"""The verdict of the chain on an operation that fits; otherwise it is the label of a `Code`."""


class CallFacts(NamedTuple):
    """One call of the operation. `value` in wei; `selector` is VALUE_SELECTOR for a call without a function.

    `arguments` is what follows the selector, of calls of the functions whose arguments rules ask about; otherwise, and
    where it is longer than `MOST_ARGUMENTS`, it is empty.
    """

    target: Address
    selector: Selector
    value: int
    size: int = 0  # bytes of call data
    arguments: bytes = b""


class MoveFacts(NamedTuple):
    """Value that a call moves; see `proxy.userop.movement.Movement`. Amounts in base units, `None` when not told."""

    call: int
    kind: MovementKind
    asset: AssetKind
    token: Address | None
    amount: int | None
    counterparty: Address | None
    holder: Address
    unlimited: bool = False


class GrantFacts(NamedTuple):
    """A session that the operation brings into force or adds to.

    `how` is `enable` or `unsafe_enable` for an envelope, `call` for a write to the session module. `findings` are the
    ids of what a careful reviewer would say of it (`proxy.session.lint.KINDS`).
    """

    permission_id: Hash32
    module: Address
    how: str
    findings: tuple[str, ...] = ()
    valid_until: int | None = None  # unix seconds; None: no end
    targets: tuple[Address, ...] = ()
    policies: tuple[Address, ...] = ()


class Facts(NamedTuple):
    """One operation as rules see it. Amounts in wei, times in unix seconds.

    `verdict` is what the chain and the session say: `allow`, or the label of the code they refuse with. Of an
    operation that could not be read only the sender and what surrounds it is known.

    A tuple, as the audit trail takes nearly all of it with it as it is: what a record of the trail has columns for
    stands together, and what is made of records itself at the end (`proxy.edge.audit.facts`).
    """

    unix_time: float
    chain_id: int
    preview: bool  # an estimate: nothing is handed in
    verdict: str
    entry_point: str  # v0.6 … v0.9
    nonce: int
    session: bool  # signed by a session key, as far as it claims
    chain: str  # its name in the settings
    client: str
    method: str
    account: Address
    user_op_hash: Hash32
    permission_id: Hash32 | None = None
    mode: str | None = None  # use | enable | unsafe_enable
    module: Address | None = None
    call_type: str | None = None  # single | batch | static | delegatecall
    acts: tuple[str, ...] = ()  # names of `proxy.userop.acts`, in snake case: module_installed, session_removed
    paymaster: Address | None = None
    factory: Address | None = None
    eip7702: bool = False  # an authorisation is attached
    gas: int = 0  # all gas limits of the operation added up
    call_gas: int = 0
    max_cost: int = 0  # wei: all gas limits at the highest fee
    max_fee: int = 0  # wei per gas: the highest fee
    priority_fee: int = 0  # wei per gas: the tip
    replaces: bool = False  # another operation with this nonce is in flight
    lanes: int = 0  # nonce keys on which the session has operations in flight, this one's included
    session_since: float | None = None  # when this gate first knew of the session, unix seconds
    session_until: int | None = None  # when the session ends, unix seconds; None: no end, or none that is known
    limit_used_percent: int | None = None  # of the fullest on-chain limit of the session, this operation included
    calls: tuple[CallFacts, ...] = ()
    moves: tuple[MoveFacts, ...] = ()
    grants: tuple[GrantFacts, ...] = ()
