"""A folder with settings and a ledger, the command run in it, and a gate's admin listener to talk to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxy.cli import application
from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.server import AdminServer
from tests.edge.builders import FakeBackend, gate_metrics
from tests.edge.recording_bundler import RecordingBundler

TOKEN = "hush-sixteen-letters"
SECRETS = {"BUNDLER_KEY": "hush-bundler", "ADMIN_TOKEN": TOKEN}
SETTINGS = """\
admin_listen: 127.0.0.1:{port}
admin_token: ${{ADMIN_TOKEN}}
ledger: sqlite:ledger.db
chains:
  soneium:
    chain_id: 1868
    bundlers: [https://bundler.example/rpc?apikey=${{BUNDLER_KEY}}]
sessions:
  - permissionId: 0x{declared}
    account: 0x1111111111111111111111111111111111111111
    chain: soneium
    sessionKey: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    actions:
      - {{target: 0x2222222222222222222222222222222222222222, selector: "transfer(address,uint256)", maxUses: 3}}
"""
DECLARED = "dd" * 32

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `sessiongate ARGUMENTS` in a folder with settings; nothing it prints may hold a secret."""
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    # a port that nobody can listen on
    write_settings(tmp_path, port=1)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(application, arguments, input=stdin)
        assert "hush" not in result.output
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def write_settings(folder: Path, *, port: int) -> None:
    text = SETTINGS.format(port=port, declared=DECLARED)
    (folder / "sessiongate.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def gate(run: Run, tmp_path: Path) -> Iterator[FakeBackend]:
    """An admin listener that the settings name, and what stands behind it."""
    backend = FakeBackend()
    server = AdminServer(backend, metrics=gate_metrics(), audit=None, access=AdminAccess(token=TOKEN))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0), loop).result()
    write_settings(tmp_path, port=port)
    yield backend
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def bundler(run: Run, tmp_path: Path) -> Iterator[RecordingBundler]:
    """The bundler of the settings."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = RecordingBundler(chain_id=1868)
    asyncio.run_coroutine_threadsafe(made.start(), loop).result()
    settings = tmp_path / "sessiongate.yaml"
    text = settings.read_text().replace("https://bundler.example/rpc?apikey=${BUNDLER_KEY}", made.url)
    settings.write_text(text)
    yield made
    asyncio.run_coroutine_threadsafe(made.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
