"""What ops see and change, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.edge.admin import server as admin
from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.query import SessionFilter
from proxy.edge.admin.server import AdminServer, Check
from proxy.edge.audit.holding import hold_trail
from proxy.edge.audit.reading import Trail
from proxy.edge.audit.writer import AuditWriter
from proxy.errors import StateUnavailable
from tests.edge.audit.trails import record
from tests.edge.builders import (
    ACCOUNT,
    FAULTY,
    OUT_OF_SCOPE,
    PERMISSION,
    RELOADED,
    RULES,
    FakeBackend,
    decision,
    gate_metrics,
)

PERMISSION_TEXT = "0x" + PERMISSION.hex()
TOKEN = "correct horse battery staple"


@dataclass
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


class Caller:
    """An HTTP client of one admin listener."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self._http = http
        self._port = port
        self.backend = FakeBackend()

    async def __call__(self, method: str, path: str, **kwargs: Any) -> Answer:
        async with self._http.request(method, f"http://127.0.0.1:{self._port}{path}", **kwargs) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(response.status, await response.json() if is_json else text, response.headers)


@asynccontextmanager
async def listening(
    backend: FakeBackend | None = None, *, audit: Trail | None = None, access: AdminAccess | None = None
) -> AsyncIterator[Caller]:
    backend = backend or FakeBackend()
    server = AdminServer(backend, metrics=gate_metrics(), audit=audit, access=access or AdminAccess())
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            caller = Caller(http, port)
            caller.backend = backend
            yield caller
    finally:
        await server.stop()


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


async def test_metrics_are_in_the_text_format_prometheus_reads(call: Caller) -> None:
    answer = await call("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(answer.body)}
    assert "sessiongate_build_info" in names


async def test_alive_is_all_that_healthz_says(call: Caller) -> None:
    call.backend.checks = (Check("ledger", ok=False, why="disk full"),)
    answer = await call("GET", "/healthz")
    assert (answer.status, answer.body) == (200, {"alive": True})


async def test_ready_when_every_check_holds(call: Caller) -> None:
    answer = await call("GET", "/readyz")
    assert answer.status == 200
    assert answer.body["ready"] is True
    assert answer.body["checks"][0] == {"name": "ledger", "ok": True, "why": "writable"}


async def test_not_ready_when_one_check_fails_and_says_which(call: Caller) -> None:
    call.backend.checks = (*call.backend.checks, Check("upstream soneium-2", ok=False, why="chain id 1, wanted 1868"))
    answer = await call("GET", "/readyz")
    assert answer.status == 503
    assert [check["name"] for check in answer.body["checks"] if not check["ok"]] == ["upstream soneium-2"]


async def test_one_chain_may_be_asked_for_alone(call: Caller) -> None:
    assert (await call("GET", "/readyz/soneium")).status == 200
    assert (await call("GET", "/readyz/minato")).status == 400


async def test_a_check_that_hangs_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(FakeBackend):
        async def readiness(self, name: str | None = None) -> Sequence[Check]:
            await asyncio.Event().wait()
            return ()

    monkeypatch.setattr(admin, "READINESS_SECONDS", 0.01)
    async with listening(Hanging()) as call:
        answer = await call("GET", "/readyz")
    assert (answer.status, answer.body["ready"]) == (503, False)


async def test_sessions_are_listed_by_what_was_asked(call: Caller) -> None:
    answer = await call("GET", f"/sessions?chain=soneium&account=0x{ACCOUNT.hex()}&state=in_force&limit=7")
    assert answer.body["sessions"][0]["permissionId"] == PERMISSION_TEXT
    assert call.backend.asked == [SessionFilter(chain="soneium", account=ACCOUNT, state="in_force", limit=7)]


async def test_amounts_beyond_64_bits_are_printed_exactly(call: Caller) -> None:
    answer = await call("GET", f"/sessions/{PERMISSION_TEXT}")
    assert answer.body["sessions"][0]["limit"] == 2**255


async def test_a_session_nobody_knows_is_not_found(call: Caller) -> None:
    assert (await call("GET", f"/sessions/0x{'00' * 32}")).status == 404


async def test_a_permission_id_of_31_bytes_is_refused_by_name(call: Caller) -> None:
    answer = await call("GET", f"/sessions/0x{'00' * 31}")
    assert answer.status == 400
    assert answer.body["data"]["field"] == "permission_id"


async def test_a_freeze_is_made_listed_and_lifted(call: Caller) -> None:
    made = await call("POST", "/freezes", json={"permissionId": PERMISSION_TEXT, "note": "key leaked"})
    assert (made.status, made.body) == (201, {"permissionId": PERMISSION_TEXT, "note": "key leaked"})
    assert (await call("GET", "/freezes")).body == {"freezes": [made.body], "next": None}
    lifted = await call("DELETE", f"/freezes/{PERMISSION_TEXT}")
    assert (lifted.status, lifted.body) == (200, {"lifted": 1})
    assert (await call("DELETE", f"/freezes/{PERMISSION_TEXT}")).status == 404


async def test_explain_answers_the_verdict(call: Caller) -> None:
    answer = await call("POST", "/explain", json={"operation": {}, "entryPoint": "0x1", "chain": "soneium"})
    assert (answer.status, answer.body["verdict"]) == (200, "allow")


async def test_explain_names_the_field_it_cannot_read(call: Caller) -> None:
    answer = await call("POST", "/explain", json={"operation": 1, "entryPoint": "0x1"})
    assert answer.status == 400
    assert "operation" in answer.body["error"]


async def test_a_fact_that_is_missing_is_503() -> None:
    class Blind(FakeBackend):
        async def explain(self, chain: str | None, operation: object, entry_point: object) -> Mapping[str, object]:
            raise StateUnavailable("node")

    async with listening(Blind()) as call:
        answer = await call("POST", "/explain", json={"operation": {}, "entryPoint": "0x1"})
    assert (answer.status, answer.body) == (503, {"error": "not available: node"})


async def test_the_audit_is_read_with_filters(tmp_path: Path) -> None:
    path = tmp_path / "gate.db"
    writer = AuditWriter(path)
    writer.start(await hold_trail(path))
    record(writer, decision("a"))
    record(writer, decision("b", verdict=OUT_OF_SCOPE))
    writer.stop()
    async with listening(audit=Trail(path)) as call:
        everything = await call("GET", "/audit")
        rejected = await call("GET", f"/audit?verdict=reject&permissionId={PERMISSION_TEXT}")
        newest = await call("GET", "/audit?limit=1")
    assert [row["decisionId"] for row in everything.body["audit"]] == ["a", "b"]
    assert [row["decisionId"] for row in rejected.body["audit"]] == ["b"]
    assert rejected.body["audit"][0]["reasons"][0]["sentence"] == OUT_OF_SCOPE.first.sentence
    assert [row["decisionId"] for row in newest.body["audit"]] == ["b"]


async def test_without_a_trail_on_disk_the_audit_is_not_found(call: Caller) -> None:
    assert (await call("GET", "/audit")).status == 404


@pytest.mark.parametrize("path", ["/audit?permissionid=0x00", "/sessions?stat=in_force", "/sessions?limit=5&limit=6"])
async def test_a_misspelt_or_doubled_filter_is_refused_not_ignored(call: Caller, path: str) -> None:
    assert (await call("GET", path)).status == 400


async def test_a_path_that_is_not_served_is_404_in_json(call: Caller) -> None:
    answer = await call("GET", "/console")
    assert (answer.status, answer.body) == (404, {"error": "Not Found"})


async def test_a_method_that_is_not_served_is_405(call: Caller) -> None:
    assert (await call("PUT", "/freezes", json={})).status == 405


async def test_a_body_beyond_the_limit_is_refused(call: Caller) -> None:
    body = BytesIO(json.dumps({"operation": "0" * 1_100_000}).encode())
    assert (await call("POST", "/explain", data=body, headers={"content-type": "application/json"})).status == 413


async def test_a_name_rebound_by_a_browser_page_is_answered_nothing(call: Caller) -> None:
    answer = await call("GET", "/audit", headers={"host": "attacker.example:9090"})
    assert answer.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
    ],
)
async def test_what_a_form_of_another_site_can_send_freezes_nothing(call: Caller, headers: dict[str, str]) -> None:
    body = f'{{"permissionId": "{PERMISSION_TEXT}"}}'
    assert (await call("POST", "/freezes", data=body, headers=headers)).status == 415
    assert call.backend.freezes == []


@pytest.mark.parametrize(("method", "path"), [("POST", "/freezes"), ("DELETE", f"/freezes/{PERMISSION_TEXT}")])
async def test_a_page_of_another_site_changes_nothing(call: Caller, method: str, path: str) -> None:
    await call("POST", "/freezes", json={"permissionId": PERMISSION_TEXT})
    before = list(call.backend.freezes)
    headers = {"origin": "https://attacker.example"}
    assert (await call(method, path, json={"permissionId": PERMISSION_TEXT}, headers=headers)).status == 403
    assert call.backend.freezes == before


async def test_no_answer_ever_carries_a_cors_header(call: Caller) -> None:
    headers = {"origin": "https://dapp.example", "access-control-request-method": "POST"}
    for method, path in [("OPTIONS", "/freezes"), ("GET", "/sessions"), ("GET", "/metrics"), ("POST", "/explain")]:
        answer = await call(method, path, headers=headers)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["cache-control"] == "no-store"
    assert (await call("OPTIONS", "/freezes", headers=headers)).status in (403, 405)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"Bearer {TOKEN}", 201),
        (f"bearer {TOKEN}", 201),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ", 401),
        ("Bearer pässword", 401),
        (None, 401),
    ],
)
async def test_with_a_token_only_the_token_opens(sent: str | None, status: int) -> None:
    async with listening(access=AdminAccess(token=TOKEN)) as call:
        headers = {} if sent is None else {"authorization": sent}
        answer = await call("POST", "/freezes", json={"permissionId": PERMISSION_TEXT}, headers=headers)
        assert answer.status == status
        assert len(call.backend.freezes) == (status == 201)
        assert (await call("GET", "/metrics")).status == 200


async def test_reachable_from_elsewhere_and_without_a_token_nothing_can_be_changed() -> None:
    async with listening(access=AdminAccess(loopback=False)) as call:
        answer = await call("POST", "/freezes", json={"permissionId": PERMISSION_TEXT})
        assert (answer.status, call.backend.freezes) == (403, [])


async def test_the_rules_in_force_are_listed(call: Caller) -> None:
    answer = await call("GET", "/rules")
    assert (answer.status, answer.body) == (200, {**RULES, "next": None})
    assert (await call("GET", "/rules?mode=enforce")).status == 400


@pytest.mark.parametrize("path", ["/rules", "/freezes"])
@pytest.mark.parametrize("page", ["after=-1", "after=x", "limit=0", "limit=10001", "after=1&after=2"])
async def test_a_page_that_there_cannot_be_is_refused(call: Caller, path: str, page: str) -> None:
    assert (await call("GET", f"{path}?{page}")).status == 400


async def test_a_reload_says_what_changed(call: Caller) -> None:
    answer = await call("POST", "/rules/reload", json={})
    assert (answer.status, answer.body, call.backend.reloads) == (200, RELOADED, 1)


async def test_a_reload_of_faulty_files_is_no_success_and_has_every_fault(call: Caller) -> None:
    call.backend.reload = FAULTY
    answer = await call("POST", "/rules/reload", json={})
    assert answer.status == 422
    assert answer.body == {"error": "the rule files are faulty; the set before stays in force", **FAULTY}


async def test_rules_are_reloaded_by_nobody_without_the_token_and_by_no_form_or_page_of_another_site() -> None:
    async with listening(access=AdminAccess(token=TOKEN)) as call:
        page = {"origin": "https://attacker.example", "authorization": f"Bearer {TOKEN}"}
        form = {"content-type": "text/plain", "authorization": f"Bearer {TOKEN}"}
        assert (await call("POST", "/rules/reload", json={})).status == 401
        assert (await call("POST", "/rules/reload", json={}, headers=page)).status == 403
        assert (await call("POST", "/rules/reload", data="{}", headers=form)).status == 415
        token = {"authorization": f"Bearer {TOKEN}"}
        assert (await call("GET", "/rules/reload", headers=token)).status == 405
        assert call.backend.reloads == 0
        assert (await call("POST", "/rules/reload", json={}, headers=token)).status == 200
