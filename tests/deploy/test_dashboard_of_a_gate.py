"""The dashboards, at a whole gate that a script of traffic goes through: no panel is empty there either."""

from __future__ import annotations

from contextlib import AsyncExitStack
from math import isnan
from pathlib import Path
from typing import Any

from proxy.userop.primitives import print_bytes
from tests.admission.builders import lane
from tests.app.builders import DECLARED
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import a_session, single, use
from tests.deploy.test_dashboard import expressions, without_variables
from tests.deploy.test_scrape import until, watched
from tests.edge.alerts.builders import recording_sink
from tests.running_gate import ESTIMATE, HonestBundler, RunningGate, request, running_gate, submission
from tests.session.builders import OTHER_TOKEN, TOKEN, TRANSFER, action, transfer, usage

SESSION = a_session(action(TOKEN, TRANSFER, usage(1_000_000)), salt=9)
RULES = """\
rules:
  - id: few
    description: Many operations of one session.
    mode: alert
    owner: treasury
    match: {session: true}
    limit: {count: ops, max: 10, per: session, window: 24h}
"""


class Traffic:
    """Rounds of it, each with an operation that is mined, one that reverts, one that is refused, and some reading."""

    def __init__(self, gate: RunningGate, node: LiveNode) -> None:
        self._gate = gate
        self._node = node
        self._rounds = 0

    async def one_more(self) -> None:
        self._rounds += 1
        good, failing, refused, elsewhere = (
            use(SESSION, single(transfer(1, token=token)), nonce=lane(4 * self._rounds + number))
            for number, token in enumerate((TOKEN, TOKEN, OTHER_TOKEN, TOKEN))
        )
        for op in (good, failing, refused):
            await self._gate.send(op)
        await self._gate.ask(submission(good, ESTIMATE))
        await self._gate.ask(request("eth_chainId"))
        self._node.mine(good)
        self._node.mine(failing, success=False)
        self._node.mine(elsewhere)


async def test_every_query_of_every_panel_answers_with_numbers_at_a_gate_that_traffic_goes_through(
    dashboards: dict[str, dict[str, Any]], prometheus: str, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    node = LiveNode()
    node.grant(SESSION)
    async with AsyncExitStack() as stack:
        served = await node.serve()
        stack.push_async_callback(served.cleanup)
        bundlers = [await stack.enter_async_context(HonestBundler()) for _ in range(2)]
        sink = await stack.enter_async_context(recording_sink())
        gate = await stack.enter_async_context(
            running_gate(
                bundler=bundlers[0],
                ledger=tmp_path / "gate.db",
                node_url=node.url,
                rules=[str(rules)],
                alerts={"webhooks": [{"name": "soc", "url": sink.url, "secret": "sixteen-characters"}]},
                sessions=[DECLARED],
                metrics={"sessions": [{"name": "market-maker", "permission_id": print_bytes(SESSION.permission_id)}]},
            )
        )
        traffic = Traffic(gate, node)
        address = f"127.0.0.1:{gate.running.admin_port}"
        watching = await stack.enter_async_context(watched(address, prometheus, tmp_path, "1s"))
        queries = (without_variables(text, "10s") for each in dashboards.values() for text in expressions(each))
        # what shows trouble alone is looked at where there is none as well
        left = {text.removesuffix(" > 0"): list[float]() for text in queries}

        async def all_have_answered() -> bool:
            await traffic.one_more()
            for text in tuple(left):
                found = (await watching.api("query", query=text))["result"]
                left[text] = [float(each["value"][1]) for each in found]
                if left[text] and not any(isnan(value) for value in left[text]):
                    del left[text]
            return not left

        try:
            await until(all_have_answered)
        except AssertionError:
            raise AssertionError(left) from None
        assert await gate.metric("sessions", chain="soneium", state="declared") == 1
