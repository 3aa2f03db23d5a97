"""What the rooms hand to the writer of a database."""

from __future__ import annotations

from collections.abc import Sequence

Statement = tuple[str, Sequence[object]]
"""A text and its values: of SQL, or one that stands for several (`proxy.ledger.transactions.STAND_FOR`)."""
