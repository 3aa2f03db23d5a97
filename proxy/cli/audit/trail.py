"""The audit trail that the settings name."""

from __future__ import annotations

from proxy.cli.options import ExitCode, fail
from proxy.config import Config
from proxy.edge.audit.reading import Trail


def audit_trail(config: Config) -> Trail:
    """Where the gate's decisions are; a gate that keeps them in memory, or never ran, ends the command."""
    path = config.audit_path
    if path is None:
        fail("this gate keeps everything in memory (ledger: memory); ask its admin listener instead")
    if not path.exists() and not (config.ledger.path is not None and config.ledger.path.exists()):
        fail(f"there is no audit trail at {path} yet; has the gate been started?", ExitCode.REFUSED)
    return Trail(path, config.ledger.path)
