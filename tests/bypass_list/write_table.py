"""Writes down what Go makes of the hostile bodies, for machines without it.

python -m tests.bypass_list.write_table
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.bypass_list.hostile import bodies
from tests.bypass_list.test_readers import READERS, TABLE, _ask, _mark


def main() -> None:
    """Build the reader, ask it, keep the marks."""
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "read"
        subprocess.run(["go", "build", "-o", str(program), str(READERS / "read.go")], check=True)
        TABLE.write_bytes(b"".join(_mark(reading) for reading in _ask([str(program)], list(bodies()))))


if __name__ == "__main__":
    main()
