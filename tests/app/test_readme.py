"""The README leads with the smallest file that starts."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from proxy.app.running import start
from proxy.config import load_config

README = Path(__file__).parents[2] / "README.md"
FREE_PORTS = {"SESSIONGATE_LISTEN": "127.0.0.1:0", "SESSIONGATE_ADMIN_LISTEN": "127.0.0.1:0"}


async def test_the_first_settings_in_the_readme_start_a_gate_as_they_are(tmp_path: Path) -> None:
    first = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert first is not None
    path = tmp_path / "sessiongate.yaml"
    path.write_text(first[1], encoding="utf-8")
    async with AsyncExitStack() as stack:
        running = await start(load_config(path, FREE_PORTS), stack)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        async with http.get(f"http://127.0.0.1:{running.admin_port}/healthz") as response:
            assert response.status == 200
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 5
