"""What a start takes is counted: what is imported before anything is served."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_SERVING = "import proxy.cli.serve, proxy.app"
_WITH_A_NODE = f"{_SERVING}; from proxy.chain.node import Node; Node('http://127.0.0.1:9/')"
_TELL = "import json, sys; print(json.dumps([name for name in sys.modules if name.count('.') == 0]), len(sys.modules))"
NEVER = {"py_ecc", "eth_keyfile", "Crypto", "hypothesis", "pytest", "tests", "opentelemetry"}
"""Key files of others, what tests stand on, and what only settings ask for."""


@pytest.mark.parametrize(
    ("imports", "most", "besides"), [(_SERVING, 1_100, {"web3", "eth_account"}), (_WITH_A_NODE, 1_450, set())]
)
def test_a_start_imports_what_it_serves_with_and_no_more(imports: str, most: int, besides: set[str]) -> None:
    command = [sys.executable, "-c", f"{imports}\n{_TELL}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    names, _, count = run.stdout.rpartition(" ")
    assert not (NEVER | besides) & set(json.loads(names))
    assert int(count) < most
