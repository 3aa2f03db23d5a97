"""The admin listener's OpenAPI document names every route, and whatever is asked is answered as it says."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast

import pytest

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.openapi import OPENAPI, ROUTES
from proxy.edge.admin.rule_desk import RuleDesk
from proxy.edge.admin.rule_routes import RuleRoutes
from proxy.edge.admin.server import AdminServer
from tests.edge.admin.test_server import PERMISSION_TEXT, listening
from tests.edge.builders import FakeBackend, gate_metrics
from tests.edge.http.json_schema import misfits

DOCUMENT = json.loads(OPENAPI)
_ODD = ("", "0x", "-1", "null", "'", "%00", "0x" + "zz" * 32, "9" * 40, "ä", "true", "0x" + "11" * 20, PERMISSION_TEXT)
_ODD_JSON = (None, True, -1, 2**70, 1.5, "", "0x", [], {}, "0x" + "11" * 20, PERMISSION_TEXT, "n" * 600)


def test_the_document_names_every_route_and_no_other() -> None:
    routes = RuleRoutes(cast(RuleDesk, None)).routes()  # none of them is called
    server = AdminServer(FakeBackend(), metrics=gate_metrics(), audit=None, access=AdminAccess(), more=routes)
    resources = server.application().router.resources()
    served = {(each.canonical, route.method.lower()) for each in resources for route in each} - {
        (each.canonical, "head") for each in resources
    }
    assert served == {(path, method) for path, methods in ROUTES.items() for method in methods}


def test_what_changes_something_needs_the_token_that_may() -> None:
    for path, methods in ROUTES.items():
        for method, route in methods.items():
            changes = method != "get" and path != "/explain"
            named = [name for each in route["security"] for name in each]
            assert ("readToken" in named) is (not changes and bool(named)), (method, path)


async def test_the_document_is_served_to_who_may_read() -> None:
    async with listening() as call:
        assert (await call("GET", "/openapi.json")).body == DOCUMENT


_ASKED = [
    (path, method)
    for path, methods in ROUTES.items()
    for method in methods
    if not path.startswith("/rules/") or path == "/rules/reload"
]


@pytest.mark.parametrize(("path", "method"), _ASKED)
async def test_whatever_is_asked_is_answered_as_the_document_says(path: str, method: str) -> None:
    route, random = ROUTES[path][method], Random(f"{method} {path}")  # repeatable, not secret
    async with listening() as call:
        for _ in range(25):
            answer = await call(method.upper(), _filled(path, random), **_made_up(route, random))
            assert str(answer.status) in route["responses"], (answer.status, answer.body)
            told = route["responses"][str(answer.status)]["content"]
            media = answer.headers["content-type"].partition(";")[0]
            assert media in told
            if media == "application/json":
                assert not list(misfits(answer.body, told[media]["schema"], DOCUMENT))


def _filled(path: str, random: Random) -> str:
    for name in ("chain", "permission_id", "user_op_hash"):
        value = PERMISSION_TEXT if random.random() < 0.5 else random.choice([each for each in _ODD if each])
        path = path.replace(f"{{{name}}}", value)
    return path


def _made_up(route: dict[str, Any], random: Random) -> dict[str, Any]:
    """A query and a body that fit, or nearly."""
    query = {each["name"]: random.choice(_ODD) for each in route["parameters"] if random.random() < 0.3}
    if random.random() < 0.1:
        query["unheard-of"] = "1"
    asked: dict[str, Any] = {"params": query}
    if (body := route.get("requestBody")) is not None:
        fields = body["content"]["application/json"]["schema"].get("properties", {})
        made = {name: random.choice((PERMISSION_TEXT, *_ODD_JSON)) for name in fields if random.random() < 0.8}
        asked["json"] = random.choice((made, made, made, [], None, {**made, "unheard-of": 1}))
    return asked
