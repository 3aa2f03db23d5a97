"""What the account's own module is told about sessions, where the settings say how to read it."""

from __future__ import annotations

from typing import Final

from proxy.record import record
from proxy.userop.primitives import Address, Hash32, Selector

FOREVER: Final = (1 << 48) - 1
"""The last second that an entry point can name."""


@record(kw_only=True)
class GrantedTerms:
    """How far something may be used: `None` is without limit.

    `max_value` is in wei for each call, `max_total` over all of them. `max_uses` counts calls, or, `per_operation`, the
    operations that have such calls. Seconds are unix time, both ends inclusive.
    """

    max_value: int | None = None
    max_total: int | None = None
    max_uses: int | None = None
    per_operation: bool = False
    valid_after: int = 0
    valid_until: int = FOREVER


@record(kw_only=True)
class GrantedCall:
    """A function that a session may call; `selector` of `None` is every function of the target."""

    target: Address
    selector: Selector | None
    terms: GrantedTerms


@record(kw_only=True)
class DeclaredGrant:
    """A session of `account` comes into force: who signs (`signer` names the form), and what may be called.

    `terms` hold for all calls together. `adds`: what the session could do before, it can do still.
    """

    module: Address
    account: Address
    permission_id: Hash32
    session_key: Address
    signer: Address
    calls: tuple[GrantedCall, ...]
    terms: GrantedTerms = GrantedTerms()
    adds: bool = False


@record(kw_only=True)
class DeclaredRevocation:
    """A session of `account` ends; with a `target`, only what it may call there, by `selector` where that is told."""

    module: Address
    account: Address
    permission_id: Hash32
    target: Address | None = None
    selector: Selector | None = None
