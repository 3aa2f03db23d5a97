"""A grant that comes along proves nothing before its owner's signature is known: until then it costs the node little.

However many come, with policies by the thousand, another session's first use waits for little longer than alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from proxy.admission import Admission, Judgement, Sources, Terms
from proxy.admission.enquiry import Enquiry
from proxy.errors import Code
from proxy.judge.reading import Arrival
from proxy.judge.verdict import Allow, Reject
from proxy.ledger.memory import MemoryLedger
from proxy.session.enable_digest import session_digest
from proxy.userop.primitives import Address, print_bytes, print_checksummed
from proxy.userop.session_data import ActionData, ChainDigest, EnableSession
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE
from tests.bypass_list.desk import (
    CHAIN_ID,
    MODULE,
    MODULES,
    V07,
    a_session,
    an_operation,
    nothing_settles,
    session_signature,
    single,
    use,
)
from tests.chain.test_first_readings import Scene
from tests.session.builders import NOW, TOKEN, TRANSFER, action, sudo, transfer, usage, word

ONCE = single(transfer(1))
_NOTHING = "0x" + "00" * 32


class Door(Scene):
    """Operations come to be judged before that node, where every account has code and refuses what it is shown."""

    def __init__(self, *, batches: bool = True) -> None:
        super().__init__(batches=batches)
        table = self.asking.table
        table.chain_id = CHAIN_ID
        self.questions: list[str] = []
        answer = table._answer

        def told(method: str, params: list[Any]) -> dict[str, object]:
            self.questions.append(method)
            if method == "eth_getCode":
                return {"result": "0x60"}
            known = answer(method, params)
            return {"result": _NOTHING} if method == "eth_call" and known.get("result") == "0x" else known

        table._answer = told  # type: ignore[method-assign]  # a chain on which nothing else is
        sources = Sources(
            terms=Terms(chain_id=CHAIN_ID, session_modules=MODULES),
            registry=self.registry,
            ledger=MemoryLedger(sessions=self.registry),
            settlement=nothing_settles,
            reader=self.reader,
            clock=lambda: float(NOW),
            reads=self.reads,
            first=self.first,
        )
        self._admission = Admission(sources)
        self._enquiry = Enquiry(sources)

    def bring(self, op: UserOperation, peer: str) -> asyncio.Task[Judgement]:
        """It is judged from now on."""
        asked = Arrival(chain="soneium", client="dapp", method="eth_sendUserOperation", peer=peer)
        task = asyncio.create_task(self._admission.judge(op, V07, request=asked))
        self.tasks.append(task)  # type: ignore[arg-type]  # to be ended with the others
        return task

    def ask_for_sessions(self, first: int, count: int) -> None:
        """So many names that nobody has heard of are asked for with `sessiongate_getSession`."""
        for number in range(first, first + count):
            names = [print_checksummed(Address(word(number)[12:])), print_bytes(word(number))]
            self.tasks.append(asyncio.create_task(self._enquiry.answer(names, client="dapp", peer="10.0.0.1")))


def strange(number: int, actions: int) -> UserOperation:
    """The first use of a session that its own key signed, and nobody else: an account of its own, so many actions."""
    account = Address(word(0x999_0000 + number)[12:])
    more = (ActionData(TRANSFER, Address(word(each + 1)[12:]), (usage(5),)) for each in range(actions))
    grant = a_session(action(TOKEN, TRANSFER, sudo), *more, salt=number)
    digest = session_digest(grant, account=account, smart_session=MODULE, mode=SessionMode.ENABLE, nonce=0)
    enable = EnableSession(
        chain_digest_index=0,
        digests=(ChainDigest(CHAIN_ID, digest),),
        session=grant,
        permission_enable_signature=b"\x05" * 65,
    )
    op = an_operation(ONCE, sender=account)
    envelope = SessionEnvelope(
        mode=SessionMode.ENABLE, permission_id=grant.permission_id, signature=session_signature(op), enable=enable
    )
    return replace(op, signature=encode_session_envelope(envelope))


async def steps_beside(strangers: Sequence[UserOperation], *, batches: bool) -> int:
    """How many steps of the node the first use of TWICE takes, of another address, when these have come before it."""
    door = Door(batches=batches)
    for op in strangers:
        door.bring(op, "10.0.0.1")
    for _ in range(4 if strangers else 0):
        await door.asking.step()
    good = door.bring(use(TWICE, ONCE), "10.0.0.2")
    steps = await door.steps_until(good)  # type: ignore[arg-type]  # whatever it comes to
    assert isinstance(good.result().verdict, Allow)
    await door.end()
    return steps


@pytest.mark.parametrize("batches", [True, False])
async def test_four_hundred_grants_that_nobody_signed_do_not_double_another_first_use(batches: bool) -> None:
    strangers = [strange(number, 3) for number in range(400)]
    assert await steps_beside(strangers, batches=batches) <= 2 * await steps_beside((), batches=batches)


async def test_80_connections_that_ask_for_random_sessions_do_not_double_another_first_use() -> None:
    """Each asks for its next as soon as it is answered."""
    door = Door()
    door.ask_for_sessions(1_000, 80)
    await door.asking.step()
    good = door.bring(use(TWICE, ONCE), "10.0.0.2")
    steps = 0
    while not good.done():
        steps += 1
        busy = sum(not each.done() for each in door.tasks) - 1
        door.ask_for_sessions(10_000 * steps, 80 - busy)
        await door.asking.step()
    assert isinstance(good.result().verdict, Allow)
    assert steps <= 2 * await steps_beside((), batches=True)
    await door.end()


async def questions_of(op: UserOperation) -> tuple[Code, int]:
    """Why it is refused, and what the node was asked for that."""
    door = Door()
    task = door.bring(op, "10.0.0.1")
    await door.steps_until(task)  # type: ignore[arg-type]  # as above
    verdict = task.result().verdict
    assert isinstance(verdict, Reject)
    await door.end()
    return verdict.first.code, len(door.questions)


async def test_before_its_owners_signature_is_known_a_large_grant_asks_no_more_than_a_small_one() -> None:
    code, small = await questions_of(strange(1, 0))
    assert code is Code.SESSION_SCOPE
    assert small <= 12
    assert await questions_of(strange(2, 60)) == (Code.SESSION_SCOPE, small)


async def test_of_a_grant_of_two_thousand_policies_nothing_is_asked() -> None:
    assert await questions_of(strange(3, 2_000)) == (Code.UNDECODABLE, 0)
