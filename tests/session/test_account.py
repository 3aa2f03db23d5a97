from __future__ import annotations

from typing import Any

from proxy.session.account import enable_sessions, on_install, on_uninstall
from proxy.session.addresses import SMART_SESSION
from proxy.session.revert import BARE, Revert
from proxy.userop.session_abi import encode_sessions
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, session, sudo, usage

PLACE: dict[str, Any] = {"chain_id": 1, "module": SMART_SESSION, "account": ACCOUNT}
FIRST, SECOND = (session(action(TOKEN, TRANSFER, sudo), salt=salt) for salt in (1, 2))
BROKEN = session(action(TOKEN, TRANSFER, usage(0)), salt=3)


def test_enables_several_sessions_at_once() -> None:
    sessions = enable_sessions({}, [FIRST, SECOND], **PLACE)
    assert not isinstance(sessions, Revert)
    assert [state.enabled for state in sessions.values()] == [True, True]
    assert [*sessions] == [FIRST.permission_id, SECOND.permission_id]


def test_one_broken_session_undoes_all() -> None:
    outcome = enable_sessions({}, [FIRST, BROKEN], **PLACE)
    assert isinstance(outcome, Revert)
    assert outcome.error == "PolicyNotInitialized"


def test_installs_with_sessions_in_both_modes_and_with_none() -> None:
    for mode in (b"\x01", b"\x02"):
        sessions = on_install({}, mode + encode_sessions([FIRST]), **PLACE)
        assert not isinstance(sessions, Revert)
        assert sessions[FIRST.permission_id].enabled
    assert on_install({}, b"", **PLACE) == {}


def test_refuses_to_install_in_use_mode_in_an_unknown_mode_or_with_garbage() -> None:
    data = encode_sessions([FIRST])
    assert on_install({}, b"\x00" + data, **PLACE) == Revert("InvalidMode")
    assert on_install({}, b"\x03" + data, **PLACE) == Revert("Panic", (0x21,))
    assert on_install({}, b"\x01" + data[:-1], **PLACE) == BARE


def test_refuses_to_install_over_a_live_session_and_does_after_uninstalling() -> None:
    sessions = enable_sessions({}, [FIRST], **PLACE)
    assert not isinstance(sessions, Revert)
    assert on_install(sessions, b"", **PLACE) == Revert("SmartSessionModuleAlreadyInstalled", (ACCOUNT,))
    gone = on_uninstall(sessions)
    assert not gone[FIRST.permission_id].enabled
    assert on_install(gone, b"", **PLACE) == gone
