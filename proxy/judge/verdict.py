"""The verdict on one operation, and what a mode makes of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from proxy.errors import Reason
from proxy.record import record
from proxy.session.outcome import EnforcedElsewhere, Waived


class Mode(StrEnum):
    """How much a verdict weighs: the gate's own mode is the ceiling for everything below it."""

    OFF = "off"  # nothing is judged; what is forwarded is still parsed strictly
    SHADOW = "shadow"  # judged, counted, audited; nobody is refused
    ALERT = "alert"  # as shadow, and a would-be rejection raises an alert
    ENFORCE = "enforce"  # a rejection is answered to the caller


@record()
class Allow:
    """The operation fits everything this gate knows. `notes` are remarks for the audit, not for the caller.

    `waived` names what could not be judged and passes only because a setting lets it, `elsewhere` whose session key
    signed if it is another product's: that passes as owners' operations do.
    """

    notes: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()
    elsewhere: EnforcedElsewhere | None = None


ALLOWED: Final = Allow()
"""Nothing to remark and nothing waived: the verdict on nearly all operations, known again without a look inside."""


@record()
class Reject:
    """The operation is refused; the first reason is the one the caller is told, all are recorded."""

    reasons: tuple[Reason, ...]

    @property
    def first(self) -> Reason:
        """The reason that becomes the JSON-RPC error."""
        return self.reasons[0]


Verdict = Allow | Reject
