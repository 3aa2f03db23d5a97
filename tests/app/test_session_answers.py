"""What a dapp or ops hear of a session that never came to be, that its account dropped, or whose limits have names:
asked of a whole gate, in all the ways in which it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.abi import ADDRESS, BYTES, UINT256, encode, tuple_of
from proxy.userop.arguments import selector
from proxy.userop.execution import Call
from proxy.userop.primitives import print_checksummed
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, granting, known, lane, removing
from tests.app.builders import GOOD, ONCE, SESSION_ID, refusal
from tests.app.followed import settled
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import OWNER_NONCE, a_session, an_operation, single, use
from tests.patience import patiently
from tests.running_gate import RunningGate, request, running_gate
from tests.session.builders import (
    ACCOUNT,
    SMART_SESSION,
    TOKEN,
    TRANSFER,
    action,
    gas,
    spending,
    time_frame,
    uni_action,
    usage,
    value_limit,
)

NAME = print_checksummed(ACCOUNT)
KEY = "hush-hush-hush-key"
ASKED: dict[str, Any] = {
    "session_queries": "true",
    "clients": [{"name": "dapp", "api_key": KEY, "list_sessions": "true"}],
    "headers": {"x-api-key": KEY},
}


async def heard(gate: RunningGate, permission_id: str = SESSION_ID) -> list[dict[str, Any]]:
    """The session as `getSession`, `listSessions` and the admin listener tell it."""
    (named,) = (await gate.ask(request("sessiongate_getSession", NAME, permission_id)))["result"]
    (listed,) = (await gate.ask(request("sessiongate_listSessions", NAME)))["result"]["sessions"]
    (shown,) = (await gate.look("/sessions"))["sessions"]
    return [named, listed, shown]


async def said(gate: RunningGate, ready: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    for _ in patiently():
        told = await heard(gate)
        if all(map(ready, told)):
            return told
        await asyncio.sleep(0.01)
    raise AssertionError(told)


def by_owner(data: bytes) -> UserOperation:
    return an_operation(single(Call(ACCOUNT, 0, data)), nonce=OWNER_NONCE + 1, signature=b"\x0e" * 65)


async def test_a_session_whose_grant_failed_is_not_said_to_have_been_removed() -> None:
    async with running_gate(**ASKED) as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        gate.bundler.mine(grant, success=False)
        await said(gate, lambda session: session["status"] == "not_granted")
        error = (await gate.send(GOOD))["error"]
        assert error["code"] == Code.SESSION_UNKNOWN
        assert "removed" not in error["message"]


async def test_a_session_granted_again_elsewhere_right_after_its_removal_here_is_never_called_gone_for_good(
    live: LiveNode,
) -> None:
    """Each time it is used at once when a block is settled that has its removal, or its next grant."""
    grant = a_session(action(TOKEN, TRANSFER, usage(100)), salt=31)
    uses = (use(grant, ONCE, nonce=lane(number)) for number in count(1))
    live.grant(grant)
    async with running_gate(node_url=live.url) as gate:
        for number in range(3):
            assert "result" in await gate.send(next(uses))
            removal = removing(grant, nonce=OWNER_NONCE + number)
            assert "result" in await gate.send(removal)
            live.revoke(grant, by=removal)
            await settled(gate, live)
            assert refusal(await gate.send(next(uses)))[0] == Code.SESSION_REVOKED
            live.grant(grant)
            await settled(gate, live)
            for _ in patiently():
                if "result" in (answer := await gate.send(next(uses))):
                    break
                assert refusal(answer) != (Code.SESSION_REVOKED, False), answer
                await asyncio.sleep(0.05)
            assert "result" in answer


@pytest.mark.parametrize("module_type", [1, 4])
async def test_sessions_of_an_account_that_drops_the_module_are_removed_and_of_no_other_module(
    module_type: int,
) -> None:
    arguments = tuple_of(UINT256, ADDRESS, BYTES)
    drops = selector("uninstallModule(uint256,address,bytes)")
    async with running_gate(**ASKED) as gate:
        gate.running.registry.put(known(TWICE))
        another = by_owner(drops + encode(arguments, [module_type, TOKEN, b""]))
        await gate.send(another)
        gate.bundler.mine(another)
        await gate.send(GOOD)
        gate.bundler.mine(GOOD)
        await said(gate, lambda session: session["status"] == "in_force")
        dropped = by_owner(drops + encode(arguments, [1, SMART_SESSION, b""]))
        await gate.send(dropped)
        gate.bundler.mine(dropped)
        await said(gate, lambda session: session["status"] == "removed")


async def test_every_limit_has_a_name_and_a_token_that_is_not_listed_has_none() -> None:
    limits = (time_frame(4_000_000_000), usage(5), value_limit(9), gas(10**8, 10**16))
    terms = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100)), uni_action((0, 32, 1, 7, 9, 0))), user_op=limits)
    async with running_gate(**ASKED) as gate:
        grant = granting(terms)
        await gate.send(grant)
        gate.bundler.mine(grant)
        (named, listed) = (await heard(gate, "0x" + terms.permission_id.hex()))[:2]
        for session in (named, listed):
            names = [limit["of"] for policy in session["policies"] for limit in policy["limits"]]
            assert names == ["uses", "value", "gas", "gasCost", "token", "argument"]
            (token,) = (limit for each in session["policies"] for limit in each["limits"] if limit["of"] == "token")
            assert token["token"] == print_checksummed(TOKEN)
