"""The house has a direction: cli → app → edge → chain → gate → admission → judge, ledger → session → userop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROXY = Path(__file__).parent.parent / "proxy"

# Each room and the rooms it may import from. A room may always import from itself.
MAY_IMPORT: dict[str, frozenset[str]] = {}


def _room(name: str, *below: str) -> None:
    reachable = set(below)
    for room in below:
        reachable |= MAY_IMPORT[room]
    MAY_IMPORT[name] = frozenset(reachable)


_room("record")
_room("errors", "record")
_room("userop", "errors")
_room("strict_json", "userop")
_room("moments")
_room("broken_off")
_room("plain_yaml")
_room("document", "errors", "plain_yaml")
_room("written", "userop")
_room("jsonrpc", "strict_json")
_room("methods", "strict_json")
_room("carried", "methods")
_room("bundler_answers", "jsonrpc")
_room("session", "userop")
_room("judge", "session", "document", "plain_yaml", "written")
_room("ledger", "judge")
_room("happening", "session")
_room("clients", "methods")
_room("config", "judge", "clients")
_room("rehearsal", "judge", "ledger")
_room("admission", "judge", "ledger")
_room("refusal", "judge")
_room("ports", "clients", "judge", "ledger", "jsonrpc", "methods", "happening")
_room("replies", "ports", "refusal")
_room("dispatch", "admission", "bundler_answers", "carried", "ports", "replies")
_room("refused_before", "bundler_answers", "ports")
_room("gate", "dispatch", "refusal", "refused_before")
_room("passage", "gate")
_room("chain", "gate", "broken_off")
_room("edge", "chain", "passage", "config", "moments", "broken_off")
_room("app", "edge")
_room("cli", "app", "rehearsal")

PURE_ROOMS = frozenset(
    {
        "bundler_answers",
        "carried",
        "clients",
        "document",
        "errors",
        "happening",
        "jsonrpc",
        "judge",
        "methods",
        "moments",
        "plain_yaml",
        "record",
        "session",
        "strict_json",
        "userop",
        "written",
    }
)
IMPURE_MODULES = frozenset(
    [
        *("aiohttp", "asyncio", "asyncpg", "logging", "os", "prometheus_client", "random"),
        *("redis", "secrets", "socket", "sqlite3", "threading", "time", "web3"),
    ]
)


def _room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "proxy" and len(parts) > 1 else None


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "proxy":
                yield from (f"proxy.{alias.name}" for alias in node.names)
            else:
                yield node.module


def _sources() -> list[Path]:
    return sorted(path for path in PROXY.rglob("*.py") if path != PROXY / "__init__.py")


def _own_room(path: Path) -> str:
    return path.relative_to(PROXY).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(PROXY)))
def test_each_file_imports_only_from_rooms_below_its_own(path: Path) -> None:
    own = _own_room(path)
    assert own in MAY_IMPORT, f"{own} is a new room: say in this test what it may import"
    rooms = {room for module in _imports(path) if (room := _room_of(module)) and room != "__version__"}
    assert rooms - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize(
    "path",
    [path for path in _sources() if _own_room(path) in PURE_ROOMS],
    ids=lambda path: str(path.relative_to(PROXY)),
)
def test_pure_rooms_touch_no_clock_no_socket_no_disk(path: Path) -> None:
    assert not {module.split(".")[0] for module in _imports(path)} & IMPURE_MODULES


def test_every_room_on_disk_is_in_the_map() -> None:
    assert {_own_room(path) for path in _sources()} <= MAY_IMPORT.keys()
