"""How long tests wait for what happens behind the scenes: long enough for a machine with much else to do.

Only a test that fails waits so long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

PATIENCE_SECONDS: Final = 90.0


def patiently(seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """One turn for each look at what is waited for, until the patience is over.

    What is not there then is the caller's failure, who can say what was waited for; he also rests between two looks.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
