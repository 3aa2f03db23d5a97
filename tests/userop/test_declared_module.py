"""What a declared module is told is read by what its arguments mean, whatever their order."""

from __future__ import annotations

from typing import Any

import eth_abi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.acts import SessionsCleared, Unreadable
from proxy.userop.administration import acts_of
from proxy.userop.declared_acts import FOREVER, DeclaredGrant, DeclaredRevocation, GrantedCall, GrantedTerms
from proxy.userop.declared_module import SessionModules, ToldOf, key_id
from proxy.userop.execution import Call
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.primitives import Address, Hash32, Selector, keccak256
from tests.bypass_list.desk import batch, single
from tests.session.builders import ACCOUNT, STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import (
    CHAIN_ID,
    CLOSE,
    CLOSED,
    CREATE,
    CREATED,
    GRANT_LIST,
    GRANTED_LIST,
    GUIDE,
    LEDGER_OF_IDS,
    MODULES,
    NAMED,
    PLAIN,
    REVOKE,
    REVOKED,
    an_id,
    call_of,
    log_of,
    module,
)

KEY = Address(b"\x5e" * 20)
ID = an_id("first")
OF_GUIDE = DeclaredGrant(
    module=PLAIN,
    account=ACCOUNT,
    permission_id=key_id(KEY),
    session_key=KEY,
    signer=MESSAGE_KEY,
    calls=(
        GrantedCall(
            target=TOKEN,
            selector=TRANSFER,
            terms=GrantedTerms(max_value=7, valid_after=5, valid_until=900),
        ),
    ),
)
CREATING = call_of(CREATE, KEY, TOKEN, TRANSFER, 7, 900, 5)


def test_a_grant_by_call_is_read_by_meaning() -> None:
    assert GUIDE.news_of_call(CREATING, ACCOUNT) == (OF_GUIDE,)


def test_a_grant_by_event_is_the_same_grant() -> None:
    topics, data = log_of(CREATED, ACCOUNT, KEY, TOKEN, TRANSFER, 7, 900, 5)
    assert GUIDE.news_of_log(topics, data) == (ToldOf(ACCOUNT, OF_GUIDE),)


def test_a_list_of_calls_is_one_session_with_limits_over_all_of_them() -> None:
    calls = [(TRANSFER, TOKEN, 0), (Selector(bytes(4)), STRANGER, 3)]
    told = LEDGER_OF_IDS.news_of_call(call_of(GRANT_LIST, 0, ID, calls, 20, 100, KEY, module=NAMED), ACCOUNT)
    grant = DeclaredGrant(
        module=NAMED,
        account=ACCOUNT,
        permission_id=ID,
        session_key=KEY,
        signer=PLAIN_KEY,
        calls=(
            GrantedCall(target=TOKEN, selector=TRANSFER, terms=GrantedTerms(max_value=0)),
            GrantedCall(target=STRANGER, selector=Selector(bytes(4)), terms=GrantedTerms(max_value=3)),
        ),
        terms=GrantedTerms(max_total=100, max_uses=20, valid_until=FOREVER),
    )
    assert told == (grant,)
    topics, data = log_of(GRANTED_LIST, ID, 0, calls, 20, 100, KEY, ACCOUNT)
    assert LEDGER_OF_IDS.news_of_log(topics, data) == (ToldOf(ACCOUNT, grant),)


def test_a_list_of_sessions_is_a_grant_each() -> None:
    several = module(address=PLAIN, grants=["createAll((address sessionKey, address target)[] sessions)"])
    call = call_of("createAll((address sessionKey, address target)[] s)", [(KEY, TOKEN), (STRANGER, TOKEN)])
    told = several.news_of_call(call, ACCOUNT)
    assert [each.session_key for each in told if isinstance(each, DeclaredGrant)] == [KEY, STRANGER]


def test_revocations_are_read_by_call_and_by_event() -> None:
    revocation = DeclaredRevocation(module=PLAIN, account=ACCOUNT, permission_id=key_id(KEY))
    assert GUIDE.news_of_call(call_of(REVOKE, KEY), ACCOUNT) == (revocation,)
    assert GUIDE.news_of_log(*log_of(REVOKED, ACCOUNT, KEY)) == (ToldOf(ACCOUNT, revocation),)
    closing = DeclaredRevocation(module=NAMED, account=ACCOUNT, permission_id=ID)
    assert LEDGER_OF_IDS.news_of_call(call_of(CLOSE, ID, module=NAMED), ACCOUNT) == (closing,)
    assert LEDGER_OF_IDS.news_of_log(*log_of(CLOSED, ACCOUNT, ID)) == (ToldOf(ACCOUNT, closing),)


def test_without_a_name_all_sessions_of_the_account_end() -> None:
    assert GUIDE.news_of_call(call_of("revokeAll()"), ACCOUNT) == (SessionsCleared(PLAIN),)


def test_nobody_ends_all_sessions_of_another_by_a_call() -> None:
    clearing = module(address=PLAIN, revokes=["clear(address account)"])
    assert clearing.news_of_call(call_of("clear(address account)", STRANGER), ACCOUNT) == ()
    assert clearing.news_of_call(call_of("clear(address account)", ACCOUNT), ACCOUNT) == (SessionsCleared(PLAIN),)


def test_functions_and_events_that_are_not_declared_tell_nothing() -> None:
    assert GUIDE.news_of_call(Call(PLAIN, 0, b"\x01\x02\x03\x04"), ACCOUNT) == ()
    assert GUIDE.news_of_call(Call(PLAIN, 0, b""), ACCOUNT) == ()
    assert GUIDE.news_of_log((keccak256(b"Other()"),), b"") == ()
    assert GUIDE.news_of_log((), b"") == ()


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:4] + b"\xff" + data[5:]])
def test_a_grant_that_the_contract_would_not_read_is_unreadable(spoil: Any) -> None:
    (told,) = GUIDE.news_of_call(Call(PLAIN, 0, spoil(CREATING.data)), ACCOUNT)
    assert isinstance(told, Unreadable)


def test_an_event_with_other_topics_than_declared_is_refused() -> None:
    topics, data = log_of(REVOKED, ACCOUNT, KEY)
    with pytest.raises(Undecodable):
        GUIDE.news_of_log(topics[:2], data)
    with pytest.raises(Undecodable):
        GUIDE.news_of_log((topics[0], Hash32(b"\xff" * 32), topics[2]), data)


def test_more_calls_than_are_read_are_no_grant() -> None:
    many = [(TRANSFER, TOKEN, 0)] * 129
    (told,) = LEDGER_OF_IDS.news_of_call(call_of(GRANT_LIST, 0, ID, many, 1, 1, KEY, module=NAMED), ACCOUNT)
    assert isinstance(told, Unreadable)


HUGE = 2**256 - 1


def test_the_largest_numbers_are_limits_as_large() -> None:
    prototype = "f(address sessionKey, address target, uint maxValue, uint maxUses, uint validUntil, uint validAfter)"
    there = module(address=PLAIN, grants=[prototype])
    (told,) = there.news_of_call(call_of(prototype, KEY, TOKEN, HUGE, HUGE, HUGE, HUGE), ACCOUNT)
    assert isinstance(told, DeclaredGrant)
    terms = GrantedTerms(max_value=HUGE, max_uses=HUGE, valid_until=FOREVER, valid_after=FOREVER)
    assert told.calls == (GrantedCall(target=TOKEN, selector=None, terms=terms),)


def test_what_a_zero_means_is_the_settings_word() -> None:
    prototype = "f(address sessionKey, address target, bytes4 selector, uint maxValue, uint maxUses, uint validUntil)"
    values = (KEY, TOKEN, bytes(4), 0, 0, 0)
    strict = module(address=PLAIN, grants=[prototype], unlimited_at_zero=[])
    generous = module(
        address=PLAIN, grants=[prototype], unlimited_at_zero=["selector", "maxValue", "maxUses", "validUntil"]
    )
    for there, selector, terms in (
        (strict, bytes(4), GrantedTerms(max_value=0, max_uses=0, valid_until=0)),
        (generous, None, GrantedTerms(max_value=None, max_uses=None, valid_until=FOREVER)),
    ):
        (told,) = there.news_of_call(call_of(prototype, *values), ACCOUNT)
        assert isinstance(told, DeclaredGrant)
        assert told.calls[0] == GrantedCall(target=TOKEN, selector=selector, terms=terms)  # type: ignore[arg-type]  # of the table


def test_value_that_nobody_speaks_of_is_not_granted() -> None:
    prototype = "f(address sessionKey, address target)"
    (told,) = module(address=PLAIN, grants=[prototype]).news_of_call(call_of(prototype, KEY, TOKEN), ACCOUNT)
    assert isinstance(told, DeclaredGrant)
    assert told.calls[0].terms.max_value == 0


def test_grants_inside_wrappers_of_the_account_are_found() -> None:
    nested = Call(ACCOUNT, 0, single(CREATING))
    multicall = Call(ACCOUNT, 0, bytes.fromhex("ac9650d8") + eth_abi.encode(["bytes[]"], [[batch(CREATING, CREATING)]]))
    for call, number in ((CREATING, 1), (nested, 1), (multicall, 2)):
        assert acts_of([call], ACCOUNT, MODULES) == (OF_GUIDE,) * number


def test_what_another_contract_calls_is_no_grant_of_the_account() -> None:
    through = Call(STRANGER, 0, CREATING.data)
    assert acts_of([through], ACCOUNT, MODULES) == ()


def test_the_same_call_at_a_published_module_is_not_read_as_declared() -> None:
    elsewhere = SessionModules.of((PLAIN,), (), CHAIN_ID)
    (act,) = acts_of([CREATING], ACCOUNT, elsewhere)
    assert isinstance(act, Unreadable)


@given(st.binary(max_size=400))
def test_whatever_is_sent_to_the_module_is_read_or_not(data: bytes) -> None:
    for function in (*GUIDE.functions, b""):
        GUIDE.news_of_call(Call(PLAIN, 0, function + data), ACCOUNT)
    for function in LEDGER_OF_IDS.functions:
        LEDGER_OF_IDS.news_of_call(Call(NAMED, 0, function + data), ACCOUNT)


@given(st.lists(st.binary(min_size=32, max_size=32).map(Hash32), max_size=3), st.binary(max_size=400))
def test_whatever_the_module_logs_is_read_or_refused(topics: list[Hash32], data: bytes) -> None:
    for there in (GUIDE, LEDGER_OF_IDS):
        for topic in there.events:
            try:
                told = there.news_of_log((topic, *topics), data)
            except Undecodable:
                continue
            assert all(len(each.account) == 20 for each in told)


ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
SECONDS = st.integers(0, FOREVER)


@given(st.tuples(ADDRESSES, ADDRESSES, st.binary(min_size=4, max_size=4), st.integers(0, HUGE), SECONDS, SECONDS))
def test_call_and_event_of_any_grant_say_the_same(values: tuple[Any, ...]) -> None:
    (by_call,) = GUIDE.news_of_call(call_of(CREATE, *values), ACCOUNT)
    ((account, by_event),) = GUIDE.news_of_log(*log_of(CREATED, ACCOUNT, *values))
    assert (account, by_event) == (ACCOUNT, by_call)
