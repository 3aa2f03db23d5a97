"""No key and no signature is told to anyone."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from proxy.edge.audit.reading import Trail, read_audit
from tests.admission.builders import (
    TWICE,
    known,
)
from tests.app.builders import (
    GOOD,
    ONCE,
    OUTSIDE,
    SESSION_ID,
    use_number,
)
from tests.bypass_list.desk import a_session, use
from tests.edge.recording_bundler import Answer
from tests.running_gate import (
    BUNDLER_KEY,
    ESTIMATE,
    NODE_KEY,
    SEND,
    HonestBundler,
    request,
    running_gate,
    settings,
    submission,
)
from tests.session.builders import TOKEN, TRANSFER, action, usage


async def test_no_key_and_no_signature_is_told_to_anyone(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clients = [{"name": "dapp", "api_key": "hush-client-key"}]
    ledger = tmp_path / "gate.db"
    heard: list[str] = []
    async with running_gate(
        bundler=bundler,
        ledger=ledger,
        node_url="http://127.0.0.1:9/",
        clients=clients,
        headers={"x-api-key": "hush-client-key"},
    ) as gate:
        gate.running.registry.put(known(TWICE))
        unsigned = replace(GOOD, signature=b"\0" + TWICE.permission_id + b"\x5e" * 65)
        unknown = use(a_session(action(TOKEN, TRANSFER, usage(2)), salt=5), ONCE)

        async def hear(body: object, **headers: str) -> None:
            heard.append((await gate.post(body, **headers))[1].decode())

        for op in (GOOD, OUTSIDE, unsigned, unknown, replace(GOOD, signature=b"\x07" + b"\x5e" * 64)):
            await hear(submission(op, SEND))
            await hear(submission(op, ESTIMATE))
        await hear(submission(GOOD), **{"x-api-key": "hush-wrong-key"})
        bundler.hang_up = True
        await hear(submission(use_number(1)))
        await bundler.stop()
        await hear(submission(use_number(2)))
        await hear(request("eth_chainId"))
        shown = ("/metrics", "/sessions", f"/sessions/{SESSION_ID}", "/freezes", "/audit")
        heard += [str(await gate.look(path)) for path in shown]
        async with gate.http.get(f"{gate.admin}/readyz") as response:
            heard.append(await response.text())
        await bundler.start()
    rows = [row.as_json() for row in read_audit(Trail(ledger.with_name(f"{ledger.stem}.audit.db")))]
    assert len(rows) >= 10
    heard += [json.dumps(rows), caplog.text, repr(settings(bundler.url, node_url="http://127.0.0.1:9/"))]
    everything = "".join(heard)
    for secret in (BUNDLER_KEY, NODE_KEY, "hush", "5e" * 64, GOOD.signature[33:].hex(), OUTSIDE.signature[33:].hex()):
        assert secret not in everything, secret


def _files_of(folder: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in folder.iterdir()]


KEYS_IN_A_URL = {
    "query": "/rpc?apikey=hush-bundler-key",
    "query alone": "/rpc?hush-bundler-key",
    "path": "/v2/hush-bundler-key-of-24-x",
    "escaped": "/v2/hush%2Dbundler%2Dkey%2Dof%2Dsome",
}


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
@pytest.mark.parametrize("url", KEYS_IN_A_URL.values(), ids=KEYS_IN_A_URL)
async def test_no_key_of_ours_that_a_bundler_quotes_is_told_to_anyone(
    transport: str, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Hosted ones do so where they refuse it; what else they say is told as they said it."""
    caplog.set_level(logging.DEBUG)
    key = url.rpartition("=" if "=" in url else "?" if "?" in url else "/")[2]
    error = {"code": -32000, "message": f"invalid key {key}", "data": {"url": f"https://x/{unquote(key)}", "n": 1}}
    heard: list[str] = []
    async with HonestBundler() as bundler:
        chain = {"bundlers": [f"{bundler.url.rstrip('/')}{url}"]}
        async with running_gate(bundler=bundler, ledger=tmp_path / "g.db", chain=chain, transport=transport) as gate:
            gate.running.registry.put(known(TWICE))
            for status in (200, 401, 403, 500):
                for method in (SEND, ESTIMATE, "eth_getUserOperationByHash"):
                    bundler.answers[method] = Answer(error=error, status=status)
                asked = [
                    submission(use_number(0)),
                    submission(use_number(0), ESTIMATE),
                    request("eth_getUserOperationByHash", "0x" + "11" * 32),
                ]
                heard += [(await gate.post(body))[1].decode() for body in (*asked, asked)]
                async with gate.http.ws_connect(gate.url) as socket:
                    await socket.send_json(asked[1])
                    heard.append(await socket.receive_str())
            heard += [str(await gate.look(path)) for path in ("/metrics", "/audit", "/readyz")]
    heard += [caplog.text, *_files_of(tmp_path)]
    assert "hush" not in "".join(heard)
    assert '"message":"invalid key ***"' in heard[0]
    assert '"n":1' in heard[0]


async def test_the_settings_show_no_key() -> None:
    clients = [{"name": "dapp", "api_key": "hush-client-key"}]
    config = settings("https://bundler.example/rpc", node_url="https://node.example/v2", clients=clients)
    assert "hush" not in repr(config)
    assert "hush" not in str(config)
