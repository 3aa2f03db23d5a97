"""The emissary's vectors are what the pinned SDK makes, to the byte."""

from __future__ import annotations

import subprocess

from tests.e2e.rig import install, node_binary
from tests.vectors.registry import SAMPLE


def test_the_sdk_makes_the_committed_vectors() -> None:
    install()
    made = subprocess.run(
        [node_binary(), SAMPLE.parent / "make_emissary.mjs"], capture_output=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr.decode()
    assert made.stdout == (SAMPLE / "emissary.json").read_bytes()
