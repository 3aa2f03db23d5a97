"""viem over `webSocket`, live: the same verdicts as over HTTP, and the heads that its node tells the gate."""

from __future__ import annotations

import asyncio
import json

from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import TWICE
from tests.app.builders import GOOD, OUTSIDE
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import CHAIN_ID
from tests.e2e.rig import HERE, install, node_binary
from tests.running_gate import ENTRY_POINT, hash_of, running_gate


async def test_viem_reads_sends_and_watches_blocks_over_one_websocket() -> None:
    install()
    node = LiveNode()
    node.grant(TWICE)
    runner = await node.serve()
    try:
        async with running_gate(chain={"node": node.socket_url, "node_reads": "true"}) as gate:
            told = {"url": gate.url.replace("http", "ws"), "entryPoint": ENTRY_POINT}
            told |= {"good": print_user_operation(GOOD), "bad": print_user_operation(OUTSIDE)}
            pipe = asyncio.subprocess.PIPE
            viem = await asyncio.create_subprocess_exec(
                *(node_binary(), "clients/socket.mjs"), cwd=HERE, stdin=pipe, stdout=pipe, stderr=pipe
            )
            heard = asyncio.ensure_future(viem.communicate(json.dumps(told).encode()))
            for _ in range(200):
                if heard.done():
                    break
                node.mine()
                await asyncio.wait([heard], timeout=0.2)
            else:
                viem.kill()
            out, err = await heard
            assert viem.returncode == 0, err.decode()
            said = json.loads(out)
            assert (said["chainId"], said["served"], said["hash"]) == (CHAIN_ID, True, hash_of(GOOD))
            assert said["refused"] == {"code": -32054, "reason": "session_scope"}
            assert said["block"] > 0
            assert len(gate.bundler.sent) == 1
    finally:
        await runner.cleanup()
