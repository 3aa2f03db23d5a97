"""`sessiongate audit`, which lists, and what belongs to it."""

from __future__ import annotations

from typing import Final

from proxy.cli.audit.list import audit
from proxy.cli.late import Late, grouped

_AUDIT: Final = {
    "verify": Late("Say whether anybody changed the trail, and where.", "proxy.cli.audit.verify:verify"),
    "replay": Late("Judge one decision again by the rules as they are.", "proxy.cli.audit.replay:replay"),
}

audits = grouped(_AUDIT, callback=audit, invoke_without_command=True)
