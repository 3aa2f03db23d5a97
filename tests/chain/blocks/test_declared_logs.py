"""What declared modules log is told as what they say, of the account that they name, and of nobody else."""

from __future__ import annotations

import logging

import pytest

from proxy.chain.blocks.follower import MOST_BLOCKS_BEHIND
from proxy.chain.blocks.source import Transaction
from proxy.errors import StateUnavailable
from proxy.session.changes import UsedPastGate
from proxy.session.counters import SessionKey
from proxy.userop import abi
from proxy.userop.acts import SessionAct, SessionsCleared
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation
from proxy.userop.declared_module import SessionModules, key_id
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from tests.bypass_list.desk import single
from tests.chain.blocks.builders import (
    BUNDLE,
    CHAIN_ID,
    V07,
    Backend,
    Books,
    FakeChain,
    Knowledge,
    Ledgerless,
    a_hash,
    dropped,
    executed,
    follower_of,
)
from tests.session.builders import ACCOUNT, SMART_SESSION, STRANGER, TOKEN, TRANSFER, word
from tests.session.declared_modules import (
    CLOSED,
    CREATED,
    GRANTED_LIST,
    GUIDE,
    LEDGER_OF_IDS,
    NAMED,
    PLAIN,
    REVOKED,
    an_id,
    log_of,
    module,
)
from tests.session.signing import nonce_at

KEY = Address(b"\x5e" * 20)
MODULES = SessionModules.of((SMART_SESSION,), (GUIDE, LEDGER_OF_IDS), CHAIN_ID)


def logged(prototype: str, *values: object, at: Address = PLAIN, transaction: int = 0) -> Ledgerless:
    topics, data = log_of(prototype, *values)
    return Ledgerless(at, topics, data, Hash32(word(transaction)))


def created(account: Address = ACCOUNT, key: Address = KEY, **place: object) -> Ledgerless:
    return logged(CREATED, account, key, TOKEN, TRANSFER, 0, 0, 0, **place)  # type: ignore[arg-type]  # passed through


REVOCATION = logged(REVOKED, ACCOUNT, KEY)


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def books() -> Books:
    return Books()


def said(books: Books) -> list[tuple[Address, type[object]]]:
    return [(each.changes.account, type(change)) for each in books.told for change in each.changes.at_validation]


async def test_grants_and_revocations_are_told_in_order_at_their_places(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books, modules=MODULES)
    await follower.look()
    named = logged(GRANTED_LIST, an_id("a"), 0, [(TRANSFER, TOKEN, 0)], 1, 1, KEY, ACCOUNT, at=NAMED)
    header = chain.mine(created(), created(STRANGER), REVOCATION, named)
    chain.mine(logged(CLOSED, ACCOUNT, an_id("a"), at=NAMED))
    await follower.look()
    assert said(books) == [
        (ACCOUNT, DeclaredGrant),
        (STRANGER, DeclaredGrant),
        (ACCOUNT, DeclaredRevocation),
        (ACCOUNT, DeclaredGrant),
        (ACCOUNT, DeclaredRevocation),
    ]
    assert [each.place for each in books.told[:4]] == [(header.number, index) for index in range(4)]
    assert books.touched == []


async def test_the_same_event_from_another_address_tells_nothing(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books, modules=MODULES)
    await follower.look()
    for address in (STRANGER, NAMED, SMART_SESSION, V07.address, ACCOUNT):
        chain.mine(created(at=address))
    await follower.look()
    assert books.told == []


async def test_an_event_that_is_not_as_declared_is_said_and_stops_nothing(
    chain: FakeChain, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    follower = follower_of(Backend(chain), books, modules=MODULES)
    await follower.look()
    dirty = Ledgerless(PLAIN, REVOCATION.topics[:2], REVOCATION.data)
    chain.mine(dirty, created())
    with caplog.at_level(logging.WARNING):
        await follower.look()
    assert said(books) == [(ACCOUNT, DeclaredGrant)]
    assert "cannot be read as it is declared" in caplog.text


async def test_of_a_module_without_events_no_logs_are_asked_for(chain: FakeChain, books: Books) -> None:
    silent = SessionModules.of((), (module(address=PLAIN, grants=["f(address sessionKey, address target)"]),), CHAIN_ID)
    backend = Backend(chain)
    follower = follower_of(backend, books, modules=silent)
    await follower.look()
    chain.mine(created())
    await follower.look()
    assert books.told == []
    assert not [asked for asked in backend.asked if asked[0] == "logs_of"]


async def test_a_grant_past_the_gate_is_told_of_watched_accounts(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(watched={ACCOUNT}, ours={a_hash(1)})
    follower = follower_of(Backend(chain), books, knows, modules=MODULES)
    await follower.look()
    other = Address(b"\x5f" * 20)
    chain.mine(created(transaction=1), executed(1, transaction=Hash32(word(1))))
    chain.mine(created(key=other, transaction=2), created(STRANGER))
    await follower.look()
    assert [key.permission_id for key in knows.grants] == [key_id(other)]


@pytest.mark.parametrize("ours", [True, False])
async def test_what_a_session_used_past_the_gate_is_told_with_its_calls(
    chain: FakeChain, books: Books, ours: bool
) -> None:
    name = an_id("a")
    knows = Knowledge(ours={a_hash(1)} if ours else set(), watched={ACCOUNT})
    follower = follower_of(Backend(chain), books, knows, modules=MODULES)
    await follower.look()
    pay = Call(TOKEN, 3, TRANSFER + bytes(64))
    bundle, nonce = Hash32(word(7)), nonce_at(NAMED)
    signature = b"\0" + name + bytes(65)
    operation = (ACCOUNT, nonce, b"", single(pay), bytes(32), 0, bytes(32), b"", signature)
    call_data = bytes.fromhex("765e827f") + abi.encode(BUNDLE, ((operation,), STRANGER))
    chain.transactions[bundle] = Transaction(to=V07.address, call_data=call_data)
    chain.mine(executed(1, nonce=nonce, transaction=bundle))
    await follower.look()
    assert [each.changes.at_validation for each in books.told] == (
        [] if ours else [(UsedPastGate(NAMED, name, (pay,)),)]
    )
    assert books.touched == []


async def test_an_account_that_drops_the_module_ends_its_sessions_there(chain: FakeChain, books: Books) -> None:
    key = SessionKey(CHAIN_ID, PLAIN, ACCOUNT, key_id(KEY))
    follower = follower_of(Backend(chain), books, Knowledge(sessions={ACCOUNT: [key]}), modules=MODULES)
    await follower.look()
    chain.mine(dropped(ACCOUNT, PLAIN), dropped(STRANGER, PLAIN), dropped(ACCOUNT, Address(b"\x0d" * 20)))
    await follower.look()
    assert [(each.changes.account, each.changes.at_validation) for each in books.told] == [
        (ACCOUNT, (SessionsCleared(PLAIN),))
    ]
    assert books.touched == []


# blocks that nobody followed


async def test_what_was_told_in_blocks_that_were_missed_is_read_from_the_modules_logs(
    chain: FakeChain, books: Books
) -> None:
    follower = follower_of(Backend(chain), books, modules=MODULES)
    await follower.look()
    chain.mine(created(), blocks=2)
    chain.mine(REVOCATION, blocks=MOST_BLOCKS_BEHIND)
    chain.mine(blocks=3)
    await follower.look()
    assert books.started_at[-1] == chain.name()
    assert books.told_at_start is not None
    kinds: list[type[SessionAct]] = [type(each.changes.at_validation[0]) for each in books.told_at_start]  # type: ignore[misc]  # of the two below
    assert kinds == [DeclaredGrant, DeclaredRevocation]


async def test_without_a_block_to_begin_at_nothing_before_the_first_look_is_told(
    chain: FakeChain, books: Books
) -> None:
    chain.mine(created())
    await follower_of(Backend(chain), books, modules=MODULES).look()
    assert books.told_at_start is None


async def test_from_its_deployment_on_everything_is_told_at_the_first_look(chain: FakeChain, books: Books) -> None:
    first = chain.headers[-1].number
    chain.mine(created(), blocks=40)
    since = module(address=PLAIN, grants=[CREATED], revokes=[REVOKED], from_block=first)
    await follower_of(Backend(chain), books, modules=SessionModules.of((), (since,), CHAIN_ID)).look()
    assert books.told_at_start is not None
    assert len(books.told_at_start) == 1


async def test_a_node_that_answers_for_few_logs_at_once_is_asked_for_less(chain: FakeChain, books: Books) -> None:
    first = chain.headers[-1].number
    for number in range(40):
        chain.mine(created(key=Address(number.to_bytes(20, "big"))), blocks=10)
    since = module(address=PLAIN, grants=[CREATED], from_block=first)
    follower = follower_of(Backend(chain, most_logs=8), books, modules=SessionModules.of((), (since,), CHAIN_ID))
    await follower.look()
    assert books.told_at_start is not None
    assert len(books.told_at_start) == 40


async def test_nothing_begins_before_the_missed_blocks_could_be_told(chain: FakeChain, books: Books) -> None:
    first = chain.headers[-1].number
    chain.mine(created(), created(STRANGER))
    since = module(address=PLAIN, grants=[CREATED], from_block=first)
    follower = follower_of(Backend(chain, most_logs=1), books, modules=SessionModules.of((), (since,), CHAIN_ID))
    with pytest.raises(StateUnavailable):
        await follower.look()
    assert books.started_at == []


async def test_on_a_chain_begun_anew_nothing_that_was_told_counts(chain: FakeChain, books: Books) -> None:
    since = module(address=PLAIN, grants=[CREATED], from_block=chain.headers[-1].number)
    backend = Backend(chain)
    follower = follower_of(backend, books, modules=SessionModules.of((), (since,), CHAIN_ID))
    await follower.look()
    assert books.told_at_start == []
    backend.chain = FakeChain(salt=9)
    backend.chain.mine(created(), blocks=3)
    with pytest.raises(StateUnavailable):
        await follower.look()
    await follower.look()
    assert books.started_at[-1] == backend.chain.name()
    assert books.told_at_start is None
