"""Who may read and who may change through the admin listener, and which pages and names it answers to."""

from __future__ import annotations

import pytest

from proxy.edge.admin.guard import ALWAYS_OPEN, AdminAccess
from tests.edge.admin.test_server import PERMISSION_TEXT, listening

READ, WRITE = "read-me-sixteen-letters", "write-me-sixteen-letters"
BOTH = AdminAccess(token=WRITE, read_token=READ, loopback=False)
SHOWN = ("/sessions", f"/sessions/{PERMISSION_TEXT}", "/freezes", "/rules", "/audit", "/openapi.json")
OPEN = ("/metrics", "/healthz", "/readyz")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", SHOWN)
async def test_nothing_is_shown_without_a_token_where_there_is_one(path: str) -> None:
    for access in (BOTH, AdminAccess(token=WRITE), AdminAccess(read_token=READ)):
        async with listening(access=access) as call:
            assert (await call("GET", path)).status == 401
            assert (await call("GET", path, headers=bearer("a-guess-of-sixteen"))).status == 401


@pytest.mark.parametrize("path", SHOWN)
async def test_either_token_reads(path: str) -> None:
    async with listening(access=BOTH) as call:
        for token in (READ, WRITE):
            assert (await call("GET", path, headers=bearer(token))).status in (200, 404)


async def test_who_may_only_read_changes_nothing_but_may_ask_for_a_verdict() -> None:
    async with listening(access=BOTH) as call:
        freeze = await call("POST", "/freezes", json={"permissionId": PERMISSION_TEXT}, headers=bearer(READ))
        assert (freeze.status, call.backend.freezes) == (403, [])
        body = {"operation": {}, "entryPoint": "0x"}
        assert (await call("POST", "/explain", json=body, headers=bearer(READ))).status not in (401, 403)
        assert (
            await call("POST", "/freezes", json={"permissionId": PERMISSION_TEXT}, headers=bearer(WRITE))
        ).status == 201


@pytest.mark.parametrize("path", OPEN)
async def test_metrics_and_health_are_open_by_choice(path: str) -> None:
    async with listening(access=BOTH) as call:
        assert (await call("GET", path)).status == 200
    async with listening(access=AdminAccess(token=WRITE, read_token=READ, open=frozenset())) as call:
        assert (await call("GET", path)).status == 401
        assert (await call("GET", path, headers=bearer(READ))).status == 200
    assert {"metrics", "health"} == ALWAYS_OPEN


async def test_beyond_this_machine_and_without_a_token_nothing_is_shown() -> None:
    async with listening(access=AdminAccess(loopback=False)) as call:
        assert (await call("GET", "/sessions")).status == 403
        assert (await call("GET", "/healthz")).status == 200


@pytest.mark.parametrize("path", [*SHOWN, *OPEN])
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"origin": "https://attacker.example"},
        {"origin": "null"},
    ],
)
async def test_a_foreign_page_makes_the_gate_read_nothing(path: str, headers: dict[str, str]) -> None:
    async with listening() as call:
        assert (await call("GET", path, headers=headers)).status == 403


async def test_a_page_of_its_own_and_who_types_the_address_are_answered() -> None:
    async with listening() as call:
        for site in ("same-origin", "none"):
            assert (await call("GET", "/sessions", headers={"sec-fetch-site": site})).status == 200


async def test_a_host_that_the_settings_name_is_answered_and_its_neighbours_are_not() -> None:
    async with listening(access=AdminAccess(hosts=frozenset({"gate.internal.example"}))) as call:
        assert (await call("GET", "/metrics", headers={"host": "gate.internal.example:9090"})).status == 200
        assert (await call("GET", "/metrics", headers={"host": "other.internal.example:9090"})).status == 421
