"""Whatever this gate takes, every bundler reads as it was read here: Node, Go and Python are asked, live.

Where Go is not installed its readings come from a table, which is checked wherever it is.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.errors import RpcError
from proxy.jsonrpc import BodyLimits, Request, Single, parse_body, print_json, print_request
from proxy.strict_json import NumberLiteral
from tests.bypass_list.hostile import HOW_MANY, bodies

READERS: Final = Path(__file__).parent / "readers"
TABLE: Final = READERS / "go.table"
_MARK: Final = 8
"""Bytes of a reading's digest in the table."""

Reading = list[Any] | str
"""`error`, or for each request its method and params as `_told`; `None` for what is no request."""


def _told(value: Any) -> Any:
    """A value as every reader tells it: numbers by the bits a double keeps of them, members in order."""
    if isinstance(value, NumberLiteral):
        return _told(float(value.text))
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return _bits(value)
    if isinstance(value, str):
        return "s:" + value
    if isinstance(value, dict):
        return ["o", sorted([key, _told(item)] for key, item in value.items())]
    return ["a", [_told(item) for item in value]]


def _bits(number: float) -> str:
    try:
        return "n:" + struct.pack(">d", number + 0.0).hex()  # zero has one sign here
    except OverflowError:
        return "n:7ff0000000000000"


def _in_order(told: Any) -> Any:
    if isinstance(told, list) and len(told) == 2 and told[0] == "o":
        return ["o", sorted([key, _in_order(item)] for key, item in told[1])]
    return [_in_order(item) for item in told] if isinstance(told, list) else told


def by_this_gate(body: bytes) -> list[Request | None]:
    """What is taken of a body: nothing at all, or for each element the request or `None`."""
    try:
        parsed = parse_body(body, BodyLimits())
    except RpcError:
        return []
    items = (parsed.item,) if isinstance(parsed, Single) else parsed.items
    return [item if isinstance(item, Request) else None for item in items]


def by_python(body: bytes) -> Reading:
    try:
        value = json.loads(body)
        return [_python_request(item) for item in (value if isinstance(value, list) else [value])]
    except (ValueError, RecursionError):
        return "error"


def _python_request(item: Any) -> Any:
    if not isinstance(item, dict):
        return None
    method = item.get("method")
    return [method if isinstance(method, str) else None, _told(item.get("params"))]


def _ask(command: Sequence[str], asked: Sequence[bytes]) -> list[Reading]:
    lines = b"".join(b64encode(body) + b"\n" for body in asked)
    done = subprocess.run(command, input=lines, capture_output=True, check=True)
    readings = [_in_order(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(readings) == len(asked)
    return readings


def _mark(reading: Reading) -> bytes:
    return sha256(json.dumps(reading).encode()).digest()[:_MARK]


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    return list(bodies())


@pytest.fixture(scope="module")
def go_marks(corpus: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What Go makes of each body, as marks."""
    table = TABLE.read_bytes()
    marks = [table[at : at + _MARK] for at in range(0, len(table), _MARK)]
    go = shutil.which("go")
    if go is not None:
        program = tmp_path_factory.mktemp("go") / "read"
        subprocess.run(
            [go, "build", "-o", str(program), str(READERS / "read.go")],
            check=True,
            env={**os.environ, "GO111MODULE": "off"},
        )
        live = [_mark(reading) for reading in _ask([str(program)], corpus)]
        assert live == marks, "the table is old: python -m tests.bypass_list.write_table"
    return marks


def test_the_corpus_is_large_and_both_kinds_are_in_it(corpus: list[bytes]) -> None:
    taken = sum(any(by_this_gate(body)) for body in corpus)
    assert len(corpus) == HOW_MANY >= 10_000
    assert len(set(corpus)) > 0.8 * HOW_MANY
    assert 500 < taken < HOW_MANY // 2


def test_what_is_taken_node_and_python_read_alike(corpus: list[bytes]) -> None:
    node = _ask(["node", str(READERS / "read.mjs")], corpus)
    for body, by_node in zip(corpus, node, strict=True):
        for index, request in enumerate(by_this_gate(body)):
            if request is not None:
                here = [request.method, _told(request.params)]
                for reading in (by_node, by_python(body)):
                    assert reading == "error" or reading[index] in (here, _without_params(here)), body


def _without_params(here: list[Any]) -> list[Any]:
    """How others tell a request that left its params out; here it has none either."""
    return [here[0], None] if here[1] == ["a", []] else here


def test_what_is_taken_go_reads_alike(corpus: list[bytes], go_marks: list[bytes]) -> None:
    for body, mark in zip(corpus, go_marks, strict=True):
        taken = by_this_gate(body)
        if taken and None not in taken:
            here = [[request.method, _told(request.params)] for request in taken if request is not None]
            assert mark in (_mark("error"), _mark(here), _mark([_without_params(each) for each in here])), body


def test_what_goes_on_is_read_alike_by_all(corpus: list[bytes]) -> None:
    requests = [request for body in corpus for request in by_this_gate(body) if request is not None]
    printed = [print_request(1, request.method, print_json(request.params)) for request in requests]
    node = _ask(["node", str(READERS / "read.mjs")], printed)
    for request, body, by_node in zip(requests, printed, node, strict=True):
        here = [[request.method, _told(request.params)]]
        assert by_node == here == by_python(body)
