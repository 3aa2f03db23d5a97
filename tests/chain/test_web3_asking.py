"""web3 is met on our terms: it changes nothing in the process, says nothing, and its answers are bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CHECK = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
before = sys.getrecursionlimit()
from proxy.chain.node import Node
assert "web3" not in sys.modules, "who has no node does not load it"
node = Node("http://127.0.0.1:9/hush-key")
assert "web3" in sys.modules
assert not {"py_ecc", "eth_keyfile", "Crypto"} & sys.modules.keys(), "the gate has no key files to read"
assert sys.getrecursionlimit() == before, sys.getrecursionlimit()
for name in logging.root.manager.loggerDict:
    if name.split(".")[0] in ("web3", "websockets"):
        assert not logging.getLogger(name).isEnabledFor(logging.CRITICAL), name
def deep(levels):
    return deep(levels - 1) if levels else None
try:
    deep(50_000)
except RecursionError:
    print("bounded")
import eth_account, eth_keyfile
assert eth_keyfile.decode_keyfile_json.__module__ == "eth_keyfile.keyfile", "who reads key files gets what reads them"
assert eth_account.Account.from_key("0x" + "11" * 32).address.startswith("0x19E7")
"""

_CHECK_WITH_KEY_FILES = """
import contextlib, json, sys
before = sys.getrecursionlimit()
import proxy.chain.no_key_files
proxy.chain.no_key_files.no_key_files = contextlib.nullcontext
import proxy.chain.web3_asking
assert "py_ecc" in sys.modules, "what raises the limit is not even there"
assert sys.getrecursionlimit() == before, sys.getrecursionlimit()
from proxy.errors import ParseError
from proxy.jsonrpc import BodyLimits, parse_body
deep = b'{"params":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
for read in (lambda: parse_body(deep, BodyLimits(max_depth=128)), lambda: json.loads(deep)):
    try:
        read()
    except (ParseError, RecursionError) as error:
        print(type(error).__name__)
"""


def test_an_import_that_raises_the_recursion_limit_leaves_it_as_it_was_and_a_deep_body_ends_no_process() -> None:
    run = subprocess.run([sys.executable, "-c", _CHECK_WITH_KEY_FILES], capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("ParseError\nRecursionError\n", 0), run.stderr


def test_an_import_of_web3_reads_no_key_files_raises_no_recursion_limit_and_its_loggers_are_silent() -> None:
    run = subprocess.run([sys.executable, "-c", _CHECK], capture_output=True, text=True, check=False)
    assert run.stdout == "bounded\n", run.stderr


def test_one_place_imports_web3() -> None:
    root = Path(__file__).parents[2] / "proxy"
    found = [path for path in root.rglob("*.py") if "import web3" in (text := path.read_text()) or "from web3" in text]
    assert [path.name for path in found] == ["web3_asking.py"]
