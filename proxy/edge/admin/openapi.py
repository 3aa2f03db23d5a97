"""The admin listener described for programs: OpenAPI 3.1, one entry a route. Built once, served as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy import __version__
from proxy.edge.admin.query import AuditFormat, AuditShow
from proxy.edge.audit.reading import Asked

OPENAPI_PATH: Final = "/openapi.json"

Schema = dict[str, Any]  # Any: JSON

_TEXT: Final[Schema] = {"type": "string"}
_NOTE: Final[Schema] = {"type": "string", "maxLength": 500}
_ADDRESS: Final[Schema] = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
_HASH: Final[Schema] = {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"}
_MOMENT: Final[Schema] = {"type": "string", "description": "2h (ago), 2026-11-27, 2026-11-27T10:00Z, unix seconds"}
_LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 100}
_INTEGER: Final[Schema] = {"type": "integer"}
_OBJECT: Final[Schema] = {"type": "object"}
_LIST: Final[Schema] = {"type": "array", "items": _OBJECT}
_BOOL: Final[Schema] = {"type": "boolean"}

_STATUSES: Final = {
    200: "done, or shown",
    201: "made",
    400: "a parameter or a field cannot be read; it is named",
    401: "a token is needed, and this is none",
    403: "not with this token, not from a page of another site, or not without a token",
    404: "there is no such thing",
    413: "the body is longer than 1 MiB",
    415: "a POST is JSON",
    421: "this listener does not answer to that host name",
    422: "faults were found, and nothing was changed",
    500: "a fault of the gate's own; it is in its log",
    503: "a fact is missing, or a check fails",
}
_OF_ALL: Final = (400, 401, 403, 421, 500)


def _closed(fields: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    return {"type": "object", "properties": dict(fields), "required": list(required), "additionalProperties": False}


def _answer(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(fields)}


def _route(
    summary: str,
    *,
    role: str = "read",
    query: Mapping[str, Schema] | None = None,
    body: Schema | None = None,
    answer: Schema | None = None,
    media: Sequence[str] = ("application/json",),
    also: Sequence[int] = (),
) -> Schema:
    """One operation. Path parameters are added by `_document`."""
    statuses = {200, *_OF_ALL, *also} - ({200} if 201 in also else set())
    if body is not None:
        statuses |= {413, 415}
    done: Schema = {"content": {each: {"schema": answer if each == media[0] and answer else {}} for each in media}}
    error: Schema = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    route: Schema = {
        "summary": summary,
        "security": [] if role == "open" else [{"writeToken": []}, *([{"readToken": []}] if role == "read" else [])],
        "parameters": [{"name": name, "in": "query", "schema": each} for name, each in (query or {}).items()],
        "responses": {
            str(each): {"description": _STATUSES[each], **(done if each < 400 or each == 503 else error)}
            for each in sorted(statuses)
        },
    }
    if body is not None:
        route["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return route


_CHECKS: Final = _answer(ready=_BOOL, checks={"type": "array", "items": _answer(name=_TEXT, ok=_BOOL, why=_TEXT)})
_SCOPE: Final = {"account": _ADDRESS, "chain": _TEXT}
_AUDIT: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(("since", "until"), _MOMENT),
    "chain": _TEXT,
    "client": _TEXT,
    "account": _ADDRESS,
    "permissionId": _HASH,
    "userOpHash": _HASH,
    "decisionId": _TEXT,
    "verdict": {"enum": ["allow", "reject"]},
    "code": {"type": "string", "description": "by number or name: -32055, limit_exceeded"},
    "rule": _TEXT,
    "asked": {"enum": list(Asked)},
    "after": _INTEGER,
    "before": _INTEGER,
    "limit": _LIMIT,
    "show": {"enum": list(AuditShow)},
    "format": {"enum": list(AuditFormat)},
}
_ALLOWANCE: Final = {"rule": _TEXT, "thing": _TEXT, "chain": _TEXT}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}
_RULES_RELOADED: Final = _answer(ok=_BOOL, digest={}, faults={}, warnings={}, difference={})
_SETTINGS_RELOADED: Final = _answer(ok=_BOOL, faults=_TEXTS, inForce=_TEXTS, needsRestart=_TEXTS)
_NEXT: Final[Schema] = {"anyOf": [_TEXT, {"type": "null"}]}

ROUTES: Final[Mapping[str, Mapping[str, Schema]]] = {
    "/metrics": {"get": _route("For Prometheus.", role="open", media=("text/plain",))},
    "/healthz": {"get": _route("200 as long as the process answers.", role="open", answer=_answer(alive=_BOOL))},
    "/readyz": {"get": _route("Every check by name.", role="open", answer=_CHECKS, also=(503,))},
    "/readyz/{chain}": {"get": _route("Those of one chain.", role="open", answer=_CHECKS, also=(503,))},
    "/sessions": {
        "get": _route(
            "The known sessions that match, the newest first; `next` is `after` of the page that follows.",
            query={**_SCOPE, "state": _TEXT, "limit": _LIMIT, "after": _TEXT},
            answer=_answer(sessions=_LIST, next=_NEXT),
            also=(503,),
        )
    },
    "/sessions/{permission_id}": {
        "get": _route(
            "One, on every chain and account.",
            query={"after": _TEXT},
            answer=_answer(sessions=_LIST, next=_NEXT),
            also=(404, 503),
        )
    },
    "/operations/{user_op_hash}/release": {
        "post": _route(
            "Let go of what an operation in flight holds.",
            role="write",
            body=_closed({"note": _NOTE}, ["note"]),
            answer=_answer(released=_BOOL),
            also=(404, 503),
        )
    },
    "/freezes": {
        "get": _route(
            "The freezes in force; `next` is `after` of the page that follows.",
            query={"limit": _LIMIT, "after": _INTEGER},
            answer=_answer(freezes=_LIST, next=_NEXT),
            also=(503,),
        ),
        "post": _route(
            "Refuse every operation of a session from now on.",
            role="write",
            body=_closed({"permissionId": _HASH, **_SCOPE, "note": _NOTE}, ["permissionId"]),
            answer=_OBJECT,
            also=(201, 503),
        ),
    },
    "/freezes/{permission_id}": {
        "delete": _route(
            "Lift freezes.",
            role="write",
            query={**_SCOPE, "note": _NOTE},
            answer=_answer(lifted=_INTEGER),
            also=(404, 503),
        )
    },
    "/explain": {
        "post": _route(
            "The verdict on an operation, and why; nothing is sent.",
            body=_closed({"operation": _OBJECT, "entryPoint": _ADDRESS, "chain": _TEXT}, ["operation", "entryPoint"]),
            answer=_OBJECT,
            also=(503,),
        )
    },
    "/rules": {
        "get": _route(
            "The rules in force; `next` is `after` of the page that follows.",
            query={"limit": _LIMIT, "after": _INTEGER},
            answer=_answer(digest=_TEXT, rules=_LIST, next=_NEXT),
        )
    },
    "/rules/reload": {
        "post": _route(
            "Read the rule files again.",
            role="write",
            body=_closed({"note": _NOTE}),
            answer=_RULES_RELOADED,
            also=(422,),
        )
    },
    "/rules/difference": {"get": _route("What a reload would change.", answer=_OBJECT, also=(422, 503))},
    "/rules/budget": {
        "get": _route(
            "What is left of each window, the fullest first.",
            query={"rule": _TEXT, "limit": _LIMIT},
            answer=_answer(keys=_INTEGER, budgets=_LIST),
            also=(404, 503),
        )
    },
    "/rules/reset": {
        "post": _route(
            "Forget what a rule has counted and learnt.",
            role="write",
            body=_closed({"rule": _TEXT, "key": _TEXT, "reason": _NOTE}, ["rule"]),
            answer=_OBJECT,
            also=(404, 503),
        )
    },
    "/rules/accept": {
        "post": _route(
            "Take what rules have counted as it is, though a ledger that was put back may lack some of it.",
            role="write",
            body=_closed({"note": _NOTE}, ["note"]),
            answer=_OBJECT,
            also=(503,),
        )
    },
    "/rules/allowances": {
        "get": _route("Things taken for known.", answer=_answer(allowances=_LIST), also=(503,)),
        "post": _route(
            "Take a thing for known.",
            role="write",
            body=_closed({**_ALLOWANCE, "until": {"type": "number"}, "reason": _NOTE}, ["rule", "thing", "reason"]),
            answer=_OBJECT,
            also=(201, 503),
        ),
        "delete": _route(
            "And no more.",
            role="write",
            query={**_ALLOWANCE, "reason": _NOTE},
            answer=_answer(dropped=_INTEGER),
            also=(404, 503),
        ),
    },
    "/settings/reload": {
        "post": _route(
            "Read the settings again.",
            role="write",
            body=_closed({"note": _NOTE}),
            answer=_SETTINGS_RELOADED,
            also=(422,),
        )
    },
    "/audit": {
        "get": _route(
            "Records that match, oldest first, the newest page; `before` leads to the one before it.",
            query=_AUDIT,
            answer=_answer(audit=_LIST),
            media=("application/json", "application/x-ndjson", "text/csv"),
            also=(404, 503),
        )
    },
    OPENAPI_PATH: {"get": _route("This document.", answer=_OBJECT)},
}
"""By path and method."""

_IN_PATHS: Final[Mapping[str, Schema]] = {"chain": _TEXT, "permission_id": _HASH, "user_op_hash": _HASH}


def _document() -> Schema:
    paths: dict[str, Schema] = {}
    for path, routes in ROUTES.items():
        named = [each for each in _IN_PATHS if f"{{{each}}}" in path]
        paths[path] = dict(routes)
        if named:
            paths[path]["parameters"] = [
                {"name": each, "in": "path", "required": True, "schema": _IN_PATHS[each]} for each in named
            ]
    error = _closed({"error": _TEXT, "data": {}}, ["error"]) | {"additionalProperties": True}
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "sessiongate, the admin listener", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": error},
            "securitySchemes": {"readToken": bearer, "writeToken": bearer},
        },
    }


OPENAPI: Final = json.dumps(_document()).encode()
"""The document."""
