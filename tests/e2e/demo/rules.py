"""The rule that the demo's operators wrote, on top of what the owner's permission allows."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.rig import CHAIN_ID

TOKENS = f"""
tokens:
  TUSD: {{on: {{{CHAIN_ID}: {{address: "0x00000000000000000000000000000000dadadada", decimals: 0}}}}}}
"""
RULES = """
rules:
  - id: tusd-per-session-per-hour
    description: No session moves more than 450 TUSD an hour.
    mode: enforce
    severity: high
    remedy: send at most what is left, or wait until the hour is over
    match: {session: true, moves: TUSD}
    limit: {sum: spend, token: TUSD, max: 450, per: session, window: 1h}
"""


def write_rules(folder: Path) -> None:
    """Put them beside the gate's settings."""
    rules = folder / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    (rules / "tokens.yaml").write_text(TOKENS)
    (rules / "spending.yaml").write_text(RULES)
