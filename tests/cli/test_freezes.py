"""Freezes reach the running gate, or the ledger when none runs, and the command says which."""

from __future__ import annotations

import json
import socket
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from proxy.edge.audit.verify import verify_trail
from proxy.edge.storage.holding import hold
from proxy.edge.storage.store import Store
from proxy.session.freezes import Freeze
from proxy.userop.primitives import Address, Hash32
from tests.cli.conftest import TOKEN, Run, write_settings
from tests.edge.audit.trails import record, writing
from tests.edge.builders import FakeBackend, decision

PERMISSION = Hash32(b"\xab" * 32)
ID = "0x" + "ab" * 32
ACCOUNT = "0x" + "11" * 20


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    Store(path).close()
    return path


def freezes_in(path: Path) -> list[Freeze]:
    with closing(Store(path)) as store:
        return list(store.freezes())


def test_a_running_gate_is_told(run: Run, gate: FakeBackend) -> None:
    result = run("freeze", ID, "--account", ACCOUNT, "--chain", "soneium", "--reason", "lost phone")
    assert (result.exit_code, result.stdout) == (0, f"frozen {ID}\n")
    (freeze,) = gate.freezes
    assert (freeze.permission_id, freeze.note, freeze.chain) == (PERMISSION, "lost phone", "soneium")
    assert freeze.account == Address(b"\x11" * 20)


def test_a_running_gate_lifts_a_freeze(run: Run, gate: FakeBackend) -> None:
    run("freeze", ID)
    result = run("unfreeze", ID, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"unfrozen": ID, "inForce": True})
    assert gate.freezes == []


def test_what_a_running_gate_refuses_is_not_written_behind_its_back(
    run: Run, gate: FakeBackend, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "another-sixteen-letters")
    result = run("freeze", ID)
    assert result.exit_code == 1
    assert "the gate refuses: send authorization: Bearer" in result.stderr
    assert freezes_in(ledger) == []


def test_lifting_a_freeze_that_is_not_there_fails(run: Run, gate: FakeBackend) -> None:
    result = run("unfreeze", ID)
    assert result.exit_code == 1
    assert "no such freeze" in result.stderr


def test_without_a_gate_the_ledger_is_written_and_the_command_says_so(run: Run, ledger: Path) -> None:
    result = run("freeze", ID, "--account", ACCOUNT, "--chain", "soneium", "--reason", "lost phone", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"frozen": ID, "inForce": False})
    assert "no gate answers at 127.0.0.1:1" in result.stderr
    assert "it takes effect when the gate starts" in result.stderr
    (freeze,) = freezes_in(ledger)
    assert freeze.scope == (PERMISSION, Address(b"\x11" * 20), 1868)
    assert freeze.note == "lost phone"
    assert freeze.since > 0


def test_without_a_gate_a_freeze_is_lifted_from_the_ledger(run: Run, ledger: Path) -> None:
    run("freeze", ID)
    run("freeze", ID, "--account", ACCOUNT)
    assert run("unfreeze", ID, "--account", ACCOUNT).exit_code == 0
    assert [freeze.account for freeze in freezes_in(ledger)] == [None]
    assert run("unfreeze", ID).exit_code == 0
    assert freezes_in(ledger) == []
    result = run("unfreeze", ID)
    assert result.exit_code == 1
    assert "there is no such freeze in the ledger" in result.stderr


def test_without_a_gate_and_without_a_ledger_nothing_can_be_frozen(run: Run) -> None:
    result = run("freeze", ID)
    assert result.exit_code == 1
    assert "has the gate been started?" in result.stderr


def test_a_ledger_that_is_none_is_not_touched(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database at all, but a text of some length" * 20)
    before = path.read_bytes()
    result = run("freeze", ID)
    assert result.exit_code == 2
    assert "cannot be read: file is not a database" in result.stderr
    assert path.read_bytes() == before


def test_without_a_gate_both_are_on_record_with_who_and_why_and_bind_to_what_the_gate_wrote(
    run: Run, ledger: Path, tmp_path: Path
) -> None:
    trail = tmp_path / "ledger.audit.db"
    with writing(trail) as writer:
        record(writer, decision())
    assert run("freeze", ID, "--account", ACCOUNT, "--reason", "lost phone").exit_code == 0
    assert run("unfreeze", ID, "--reason", "found it").exit_code == 0
    listed = run("audit", "--show", "deeds", "--json").stdout.splitlines()
    frozen, lifted = (json.loads(line) for line in listed)
    assert (frozen["detail"]["what"], frozen["detail"]["why"], frozen["account"]) == ("freeze", "lost phone", ACCOUNT)
    assert frozen["detail"]["who"].startswith("the command line, user ")
    assert (lifted["detail"]["what"], lifted["detail"]["why"], lifted["permissionId"]) == ("unfreeze", "found it", ID)
    assert verify_trail(trail).remarks == []


def test_a_freeze_that_cannot_be_put_on_record_says_so_and_is_there_all_the_same(
    run: Run, ledger: Path, tmp_path: Path
) -> None:
    with writing(tmp_path / "ledger.audit.db"):
        result = run("freeze", ID)
    assert result.exit_code == 0
    assert "this is not on record: the audit trail" in result.stderr
    assert len(freezes_in(ledger)) == 1


def test_a_gate_that_holds_the_ledger_and_does_not_answer_was_not_told(run: Run, ledger: Path) -> None:
    held = hold(ledger)
    try:
        for command in ("freeze", "unfreeze"):
            result = run(command, ID)
            assert result.exit_code == 1
            assert "another gate holds it: it is running on this ledger" in result.stderr
            assert f"nothing was {'frozen' if command == 'freeze' else 'unfrozen'}" in result.stderr
    finally:
        held.close()
    assert freezes_in(ledger) == []


def test_a_gate_that_takes_the_question_and_says_nothing_is_told_apart_within_a_second(
    run: Run, ledger: Path, tmp_path: Path
) -> None:
    held = hold(ledger)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        write_settings(tmp_path, port=silent.getsockname()[1])
        result = run("freeze", ID)
    held.close()
    assert result.exit_code == 1
    assert "within 0.9 s" in result.stderr
    assert "whether the session is frozen is not known" in result.stderr
    assert freezes_in(ledger) == []


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for_and_what_it_would_have_said_is_not_told(
    run: Run, ledger: Path, tmp_path: Path
) -> None:
    """Each byte comes sooner than a socket's patience ends; the whole of it would be a yes."""
    told = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
    heard = Event()

    def trickle(listening: socket.socket) -> None:
        caller, _ = listening.accept()
        with caller, suppress(ConnectionError):
            caller.recv(65_536)
            for byte in told:
                caller.send(bytes([byte]))
                heard.wait(0.2)

    with socket.create_server(("127.0.0.1", 0)) as slow, closing(hold(ledger)):
        thread = Thread(target=trickle, args=(slow,))
        thread.start()
        write_settings(tmp_path, port=slow.getsockname()[1])
        result = run("freeze", ID)
        heard.set()
        thread.join()
    assert result.exit_code == 1, result.output
    assert "within 0.9 s" in result.stderr
    assert "whether the session is frozen is not known" in result.stderr


def test_address_and_token_are_all_it_takes(run: Run, gate: FakeBackend, tmp_path: Path) -> None:
    url = next(line for line in (tmp_path / "sessiongate.yaml").read_text().splitlines() if "admin_listen" in line)
    (tmp_path / "sessiongate.yaml").unlink()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    reach = ("--admin-url", f"http://{url.removeprefix('admin_listen: ')}", "--token-file", "token")
    assert run("freeze", ID, "--reason", "lost phone", *reach).exit_code == 0
    assert [freeze.note for freeze in gate.freezes] == ["lost phone"]
    assert run("unfreeze", ID, *reach).exit_code == 0
    assert gate.freezes == []


def test_the_settings_are_where_the_environment_says_as_in_the_image(
    run: Run, gate: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "etc" / "gate.yaml"
    elsewhere.parent.mkdir()
    (tmp_path / "sessiongate.yaml").rename(elsewhere)
    assert run("freeze", ID).exit_code != 0
    monkeypatch.setenv("SESSIONGATE_CONFIG", str(elsewhere))
    assert run("freeze", ID, "--reason", "lost phone").exit_code == 0
    assert [freeze.note for freeze in gate.freezes] == ["lost phone"]
    assert run("unfreeze", ID).exit_code == 0
    assert gate.freezes == []


def test_nobody_at_the_address_is_a_failure(run: Run, ledger: Path) -> None:
    result = run("freeze", ID, "--admin-url", "http://127.0.0.1:1")
    assert (result.exit_code, freezes_in(ledger)) == (1, [])
    assert "nothing was frozen" in result.stderr
    for url in ("127.0.0.1:9090", "ftp://gate", "http://gate/path?x"):
        assert run("freeze", ID, "--admin-url", url).exit_code == 2
