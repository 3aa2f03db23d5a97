"""What the gate does to itself at somebody's bidding, for the record."""

from __future__ import annotations

from proxy.edge.rule_files.book import ReloadResult
from proxy.edge.telemetry.rule_metrics import ReloadReason
from proxy.ports import Deed, Recorder


def note_reload(recorder: Recorder, reason: ReloadReason, result: ReloadResult) -> None:
    """A reload of the rules, one that found faults too: what asked for it, and which set is in force now."""
    changes = result.difference
    named = {
        "added": changes.added,
        "removed": changes.removed,
        "changed": tuple(change.rule for change in changes.changed),
    }
    recorder.noted(
        Deed(
            what="rules_reloaded" if result.ok else "rules_not_reloaded",
            who={
                ReloadReason.FILE: "a changed file",
                ReloadReason.SIGNAL: "a signal",
                ReloadReason.ADMIN: "the admin listener",
            }[reason],
            details={
                "digest": result.digest,
                "faults": len(result.faults),
                **{name: ", ".join(rules) for name, rules in named.items() if rules},
            },
        )
    )
