"""Who signed for a session is remembered beyond its removal, of those that were removed last."""

from __future__ import annotations

from dataclasses import replace

from proxy.session.counters import SessionKey
from proxy.session.former_signers import FormerSigners, Signer
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32
from tests.session.builders import ACCOUNT, SMART_SESSION, TOKEN, TRANSFER, action, enabled, key_of, session, usage

GRANT = session(action(TOKEN, TRANSFER, usage(3)))
KEY = key_of(GRANT)
STATE = enabled(GRANT)


def key(number: int) -> SessionKey:
    return SessionKey(1, SMART_SESSION, ACCOUNT, Hash32(number.to_bytes(32, "big")))


def signer(number: int) -> Signer:
    return Signer(Address(b"\x51" * 20), bytes([number]))


def test_of_more_than_are_kept_those_go_that_were_removed_first() -> None:
    former = FormerSigners(most=2)
    for number in (1, 2, 1, 3):  # the first one was granted again meanwhile, and removed again
        former.remember(key(number), signer(number))
    assert [former.get(key(number)) for number in (1, 2, 3, 4)] == [signer(1), None, signer(3), None]


def test_whoever_signed_for_a_session_is_known_after_it_is_removed_and_its_state_is_gone() -> None:
    registry = Registry()
    registry.put(KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=1.0, state=STATE))
    signed = registry.signer_of(KEY)
    assert signed is not None
    removed = replace(STATE, session_validator=None)
    registry.put(KnownSession(key=KEY, status=Status.REMOVED, source=Source.NODE, updated_at=2.0, state=removed))
    assert registry.signer_of(KEY) == signed
    assert registry.signer_of(key(7)) is None
