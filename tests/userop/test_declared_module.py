"""What a declared module is told is read by what its arguments mean, whatever their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import eth_abi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.acts import SessionsCleared, Unreadable
from proxy.userop.administration import acts_of
from proxy.userop.declared_acts import FOREVER, DeclaredGrant, DeclaredRevocation, GrantedCall, GrantedTerms
from proxy.userop.declared_module import DeclaredModule, DeclaredNews, SessionModules, ToldOf, key_id
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


def address_of(text: str) -> Address:
    return Address(bytes.fromhex(text[2:]))


def granted_by_guide(*values: Any) -> DeclaredGrant:
    key, target, selector, most, until, after = values
    session_key = address_of(key)
    terms = GrantedTerms(max_value=most, valid_after=after, valid_until=until or FOREVER)
    calls = (GrantedCall(target=address_of(target), selector=Selector(selector), terms=terms),)
    return replace(OF_GUIDE, permission_id=key_id(session_key), session_key=session_key, calls=calls)


def granted_in_list(*values: Any) -> DeclaredGrant:
    until, name, calls, uses, total, key = values
    return DeclaredGrant(
        module=NAMED,
        account=ACCOUNT,
        permission_id=Hash32(name),
        session_key=address_of(key),
        signer=PLAIN_KEY,
        calls=tuple(
            GrantedCall(target=address_of(target), selector=Selector(selector), terms=GrantedTerms(max_value=value))
            for selector, target, value in calls
        ),
        terms=GrantedTerms(max_total=total, max_uses=uses, valid_until=min(until or FOREVER, FOREVER)),
    )


def ended_by_guide(key: str) -> DeclaredRevocation:
    return DeclaredRevocation(module=PLAIN, account=ACCOUNT, permission_id=key_id(address_of(key)))


def ended_by_name(name: bytes) -> DeclaredRevocation:
    return DeclaredRevocation(module=NAMED, account=ACCOUNT, permission_id=Hash32(name))


GUIDES_TYPES = ["address", "address", "bytes4", "uint256", "uint48", "uint48"]
LISTS_TYPES = ["uint64", "bytes32", "(bytes4,address,uint128)[]", "uint32", "uint256", "address"]
LISTED = [(TRANSFER, TOKEN, 0), (Selector(bytes(4)), STRANGER, 3)]
CALLED: list[tuple[DeclaredModule, str, tuple[Any, ...], list[str], Callable[..., DeclaredNews]]] = [
    (GUIDE, CREATE, (KEY, TOKEN, TRANSFER, 7, 900, 5), GUIDES_TYPES, granted_by_guide),
    (GUIDE, CREATE, (KEY, TOKEN, bytes(4), 0, 0, 0), GUIDES_TYPES, granted_by_guide),
    (GUIDE, REVOKE, (KEY,), ["address"], ended_by_guide),
    (LEDGER_OF_IDS, GRANT_LIST, (0, ID, LISTED, 20, 100, KEY), LISTS_TYPES, granted_in_list),
    (LEDGER_OF_IDS, GRANT_LIST, (7, ID, [], 0, 0, KEY), LISTS_TYPES, granted_in_list),
    (LEDGER_OF_IDS, CLOSE, (ID,), ["bytes32"], ended_by_name),
]


@st.composite
def spoilt(draw: st.DrawFn, data: bytes) -> bytes:
    """Some of it with a few bytes changed, cut off, or with more behind it; now and then anything else."""
    raw = bytearray(data)
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=3)):
        raw[at] = byte
    whole = bytes(raw)
    return draw(
        st.sampled_from([whole, whole, whole + draw(st.binary(max_size=40)), whole[: -draw(st.integers(1, 70))]])
    )


def read_by_another(types: list[str], data: bytes) -> tuple[Any, ...] | None:
    """What an ABI decoder that is not ours reads; `None` for nothing, as a contract would."""
    try:
        return eth_abi.decode(types, data, strict=True)
    except (eth_abi.exceptions.DecodingError, OverflowError):
        return None


@given(st.data(), st.sampled_from(CALLED))
def test_whatever_is_sent_to_the_module_is_read_as_declared_or_told_to_be_unreadable(
    data: st.DataObject, called: tuple[DeclaredModule, str, tuple[Any, ...], list[str], Callable[..., DeclaredNews]]
) -> None:
    """Never passed over: a grant that nobody saw would be a session that nobody judges."""
    there, prototype, values, types, meant = called
    good = call_of(prototype, *values, module=there.address)
    arguments = data.draw(spoilt(good.data[4:]) | st.binary(max_size=400))
    (told,) = there.news_of_call(Call(there.address, 0, good.data[:4] + arguments), ACCOUNT)
    if isinstance(told, Unreadable):
        assert arguments != good.data[4:]
    else:
        read = read_by_another(types, arguments)
        assert read is not None
        assert told == meant(*read)


LOGGED: list[tuple[DeclaredModule, str, tuple[Any, ...], list[str], list[str], Callable[..., DeclaredNews]]] = [
    (
        *(GUIDE, CREATED, (ACCOUNT, KEY, TOKEN, TRANSFER, 7, 900, 5), ["address", "address"], GUIDES_TYPES[1:]),
        lambda account, *values: replace(granted_by_guide(*values), account=address_of(account)),
    ),
    (
        *(GUIDE, REVOKED, (ACCOUNT, KEY), ["address", "address"], []),
        lambda account, key: replace(ended_by_guide(key), account=address_of(account)),
    ),
    (
        *(LEDGER_OF_IDS, GRANTED_LIST, (ID, 0, LISTED, 20, 100, KEY, ACCOUNT), ["bytes32"]),
        [LISTS_TYPES[0], *LISTS_TYPES[2:], "address"],
        lambda name, until, *values: replace(
            granted_in_list(until, name, *values[:-1]), account=address_of(values[-1])
        ),
    ),
    (
        *(LEDGER_OF_IDS, CLOSED, (ACCOUNT, ID), ["address", "bytes32"], []),
        lambda account, name: replace(ended_by_name(name), account=address_of(account)),
    ),
]


@given(st.data(), st.sampled_from(LOGGED))
def test_whatever_the_module_logs_is_read_as_declared_of_the_account_it_names_or_refused(
    data: st.DataObject,
    logged: tuple[DeclaredModule, str, tuple[Any, ...], list[str], list[str], Callable[..., DeclaredNews]],
) -> None:
    there, prototype, values, in_topics, in_data, meant = logged
    (topic, *good), body = log_of(prototype, *values)
    topics = [Hash32(data.draw(st.just(each) | spoilt(each).filter(_is_word))) for each in good]
    topics = topics[: data.draw(st.sampled_from([len(topics)] * 8 + list(range(len(topics)))))]
    told_in_data = data.draw(spoilt(body) | st.binary(max_size=400)) if body else data.draw(st.binary(max_size=2))
    try:
        (told,) = there.news_of_log((topic, *topics), told_in_data)
    except Undecodable:
        assert (topics, told_in_data) != (good, body)
        return
    named, read = read_by_another(in_topics, b"".join(topics)), read_by_another(in_data, told_in_data)
    assert named is not None
    assert read is not None
    account = named[0] if in_topics[0] == "address" else read[-1]
    assert told == ToldOf(address_of(account), meant(*named, *read))


def _is_word(data: bytes) -> bool:
    return len(data) == 32


ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
SECONDS = st.integers(0, FOREVER)


@given(st.tuples(ADDRESSES, ADDRESSES, st.binary(min_size=4, max_size=4), st.integers(0, HUGE), SECONDS, SECONDS))
def test_call_and_event_of_any_grant_say_the_same(values: tuple[Any, ...]) -> None:
    (by_call,) = GUIDE.news_of_call(call_of(CREATE, *values), ACCOUNT)
    ((account, by_event),) = GUIDE.news_of_log(*log_of(CREATED, ACCOUNT, *values))
    assert (account, by_event) == (ACCOUNT, by_call)
