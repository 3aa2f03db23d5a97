"""Without a node the bundler says under which of its claims an operation was mined, where it came under several."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.settlement.claimed import ToldClaim, read_claim
from proxy.errors import UpstreamUnavailable
from proxy.ledger.operations import Cause
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import Hash32, print_bytes, print_uint
from tests.admission.builders import TWICE, enabling
from tests.chain.settlement.builders import KEY, USES, Scene, name
from tests.chain.settlement.test_claims import MORE, NONCE, ORDERS, sent
from tests.session.builders import ACCOUNT, SMART_SESSION, word

V07 = ENTRY_POINTS[1]
OF_SESSION = int.from_bytes(bytes(4) + SMART_SESSION + bytes(8), "big")
PERMISSION_ID = Hash32(word(5))
USE = b"\0" + PERMISSION_ID + b"\x11" * 65
HASH = Hash32(word(9))


def an_answer(signature: bytes, nonce: int = OF_SESSION) -> dict[str, object]:
    """Of `eth_getUserOperationByHash`, as far as it matters here."""
    op = {"sender": print_bytes(ACCOUNT), "nonce": print_uint(nonce), "signature": print_bytes(signature)}
    return {"userOperation": op, "entryPoint": print_bytes(V07.address), "blockNumber": "0x1"}


def read(answer: Mapping[str, object]) -> ToldClaim | None:
    return read_claim(answer, HASH, ENTRY_POINTS, [SMART_SESSION])


def test_the_claim_of_an_operation_that_a_bundler_has_is_read() -> None:
    assert read(an_answer(USE)) == ToldClaim((PERMISSION_ID,), enables=False)
    grant = enabling(TWICE, b"", nonce=OF_SESSION).signature
    assert read(an_answer(grant)) == ToldClaim((TWICE.permission_id,), enables=True)
    assert read(an_answer(b"\x0e" * 65, nonce=7)) == ToldClaim((), enables=False), "the owner's"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("0x"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("sender", "nonce", "signature")


@given(st.sampled_from(("userOperation", "entryPoint", *FIELDS)), JSON)
def test_what_is_no_such_answer_tells_nothing(field: str, instead: object) -> None:
    answer = an_answer(USE)
    if field in FIELDS:
        answer["userOperation"] = {**an_answer(USE)["userOperation"], field: instead}  # type: ignore[dict-item]  # one of ours
    else:
        answer[field] = instead
    if field == "nonce":
        assert read(answer) in (None, ToldClaim((), enables=False))
    else:
        assert read(answer) is None


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("enables", [True, False])
async def test_it_counts_as_what_the_bundler_has_it_as(order: str, *, enables: bool) -> None:
    async def ask(_user_op_hash: Hash32) -> ToldClaim:
        return ToldClaim((KEY.permission_id,), enables=enables)

    scene = await sent(order, has_node=False, claim=ask)
    scene.bundler.mine(name(1), block=10)
    await scene.later(1.0)
    used = scene.registry.get(KEY).state.used  # type: ignore[union-attr]  # it is there
    assert (used.get(USES, 0), used.get(MORE, 0)) == ((2, 1) if enables else (1, 0))
    assert {end.ended.name.grant for end in scene.told if end.ended.cause is Cause.MINED} == {
        NONCE if enables else None
    }


@pytest.mark.parametrize("order", ORDERS)
async def test_a_bundler_that_does_not_say_leaves_it_counted_with_the_most_of_all(order: str) -> None:
    async def ask(_user_op_hash: Hash32) -> ToldClaim:
        raise UpstreamUnavailable("no answer", may_have_been_sent=True)

    scene = await sent(order, has_node=False, claim=ask)
    scene.bundler.mine(name(1), block=10)
    await scene.later(1.0)
    used = scene.registry.get(KEY).state.used  # type: ignore[union-attr]  # it is there
    assert (used.get(USES, 0), used.get(MORE, 0)) == (2, 1)


async def test_nothing_is_asked_of_an_operation_that_came_under_one_claim() -> None:
    async def ask(_user_op_hash: Hash32) -> ToldClaim:
        raise AssertionError("there is nothing to ask")

    scene = Scene(claim=ask)
    await scene.accept(1)
    scene.bundler.mine(name(1), block=10)
    await scene.later(1.0)
    assert scene.causes == [Cause.MINED]
