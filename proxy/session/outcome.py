"""What `enforce` answers: three values, told apart by type."""

from __future__ import annotations

from enum import StrEnum

from proxy.errors import Reason
from proxy.record import record
from proxy.session.counters import Charge
from proxy.session.facts import MissingFact
from proxy.session.revert import Revert
from proxy.session.state import SessionState
from proxy.session.validity import Window, pack


class Waived(StrEnum):
    """What could not be judged and was let pass, because the settings say so. A closed set, fit for a metric label."""

    SESSION = "session"  # a permission id that is known nowhere
    POLICY = "policy"  # a policy contract that is not mirrored here
    VALIDATOR = "validator"  # a session validator that is not mirrored here
    STATE = "state"  # what is known of the chain is too old


class EnforcedElsewhere(StrEnum):
    """Session keys of other products, whose limits are in contracts that this gate does not mirror. A closed set, fit
    for a metric label."""

    KERNEL_PERMISSION = "kernel_permission"  # ZeroDev's, on a Kernel account


@record(kw_only=True)
class Accepted:
    """The module would take the operation. `charges` has one entry per counter that it moves.

    `enabled` is the state with an ENABLE envelope's session in it, before the charges. `notes` name what was let
    pass without being checked here. `owner_unchecked` when the owner's signature on the grant was.
    """

    valid_after: int  # unix seconds
    valid_until: int  # unix seconds; 2^48-1 when it never ends
    charges: tuple[Charge, ...]
    enabled: SessionState
    notes: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()
    owner_unchecked: bool = False

    @property
    def window(self) -> Window:
        """When the entry point takes the operation, unix seconds."""
        return Window(self.valid_after, self.valid_until)

    @property
    def validation_data(self) -> int:
        """The word that the module returns."""
        return pack(self.valid_after, self.valid_until)

    @property
    def state(self) -> SessionState:
        """The state after the operation has been validated."""
        return self.enabled.with_charges(self.charges)


@record(kw_only=True)
class Refused:
    """The module, or the entry point after it, would not take the operation.

    `revert` is what the module would revert with; `None` when it returns 1 (a bad signature) or when the entry point
    refuses the window it returns.
    """

    reason: Reason
    revert: Revert | None = None


@record()
class NeedsFacts:
    """No verdict without these facts. Nothing that is known speaks against the operation."""

    facts: tuple[MissingFact, ...]


Verdict = Accepted | Refused | NeedsFacts
