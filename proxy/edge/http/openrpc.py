"""The OpenRPC document of what this gate adds to a bundler: its own methods, and its codes for a refusal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from proxy import __version__
from proxy.errors import Code
from proxy.session.overview import Phase

OPENRPC_PATH: Final = "/openrpc.json"

_ADDRESS: Final = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
_HASH: Final = {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"}
_QUANTITY: Final = {"type": "string", "pattern": "^0x(0|[1-9a-f][0-9a-f]*)$"}
_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_COUNT: Final = {"type": "integer", "minimum": 0}


def _or_null(schema: Mapping[str, object]) -> dict[str, object]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: Mapping[str, object], optional: Mapping[str, object] | None = None) -> dict[str, object]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


_SESSION: Final = _object(
    {
        "account": _ADDRESS,
        "permissionId": _HASH,
        "module": _ADDRESS,
        "status": {"enum": [phase.value for phase in Phase]},
        "validAfter": _COUNT,
        "validUntil": _or_null(_COUNT),
        "secondsLeft": _or_null(_COUNT),
        "secondsUntilValid": _COUNT,
        "frozen": _FLAG,
        "readAtBlock": _or_null(_QUANTITY),
        "inFlight": _COUNT,
        "operationsInFlight": {"type": "array", "items": _HASH},
        "operations": _object(
            {
                "mined": _COUNT,
                "reverted": _COUNT,
                "gasUsed": _QUANTITY,
                "gasCost": _QUANTITY,
                "lastUsed": _or_null(_COUNT),
            }
        ),
        "scope": _or_null({"type": "object", "required": ["actions", "everyOperation", "paymaster"]}),
        "policies": _or_null({"type": "array", "items": {"type": "object"}}),
    }
)

ERROR_DATA: Final = _object(
    {"reason": _TEXT, "retryable": _FLAG, "remedy": _TEXT},
    {
        "decisionId": _TEXT,
        "rule": _TEXT,
        "policy": _TEXT,
        "permissionId": _HASH,
        "account": _ADDRESS,
        "userOpHash": _HASH,
        "call": {"type": "integer", "minimum": 0},
        "wanted": _TEXT,
        "got": _TEXT,
        "budget": _TEXT,
        "retryAfterMs": {"type": "integer", "minimum": 0},
        "mayHaveBeenSent": _FLAG,
    },
)
"""What the `data` of the gate's own refusals holds."""

REFUSALS: Final = {
    Code.RULE_REJECTED: "an enforcing rule said no; rule names it",
    Code.SESSION_UNKNOWN: "the permission id is not known, not on chain, or its grant is not mined yet",
    Code.SESSION_REVOKED: "removed on chain, or frozen by the operators",
    Code.SESSION_NOT_VALID_NOW: "expired, or not yet valid",
    Code.SESSION_SCOPE: "outside the session, a bad session-key signature, or a bad grant",
    Code.LIMIT_EXCEEDED: "spend, value, gas or uses, counting what is in flight",
    Code.RATE_LIMITED: "a rule's rate, or a budget of this client, which is named; retry later",
    Code.UNDECODABLE: "claims a session and cannot be read exactly",
    Code.STATE_UNAVAILABLE: "a fact is needed and cannot be had now",
    Code.UPSTREAM_UNAVAILABLE: "no bundler answered; mayHaveBeenSent says whether the operation may be on its way",
}


def _error(code: Code) -> dict[str, object]:
    return {"$ref": f"#/components/errors/{code.label}"}


def document() -> dict[str, object]:
    """The document, ready to print."""
    params = (
        ("account", "whose session it is", _ADDRESS, True),
        ("permissionId", "its name", _HASH, True),
        ("module", "where it is granted; default: any", _ADDRESS, False),
    )
    operation = [
        {"name": "userOperation", "required": True, "schema": {"type": "object"}},
        {"name": "entryPoint", "required": True, "schema": _ADDRESS},
    ]
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "sessiongate",
            "version": __version__,
            "description": "What this gate adds to the bundler behind it. All other methods are the bundler's.",
            "license": {"name": "Apache-2.0"},
        },
        "methods": [
            {
                "name": "sessiongate_getSession",
                "summary": "Where a session stands and what is left of its limits; served where session_queries is on.",
                "paramStructure": "by-position",
                "params": [
                    {"name": name, "description": told, "schema": schema, "required": required}
                    for name, told, schema, required in params
                ],
                "result": {"name": "sessions", "schema": {"type": "array", "items": _SESSION}},
                "errors": [_error(Code.RATE_LIMITED), _error(Code.STATE_UNAVAILABLE)],
            },
            {
                "name": "sessiongate_listSessions",
                "summary": "The sessions of an account, a page of them; served to clients with list_sessions.",
                "paramStructure": "by-position",
                "params": [
                    {"name": "account", "description": "whose they are", "schema": _ADDRESS, "required": True},
                    {"name": "after", "description": "next of the page before", "schema": _HASH, "required": False},
                ],
                "result": {
                    "name": "page",
                    "schema": _object({"sessions": {"type": "array", "items": _SESSION}, "next": _or_null(_HASH)}),
                },
                "errors": [_error(Code.RATE_LIMITED), _error(Code.STATE_UNAVAILABLE)],
            },
            {
                "name": "eth_sendUserOperation",
                "summary": "The bundler's own method; these are the refusals that it never sees.",
                "paramStructure": "by-position",
                "params": operation,
                "result": {"name": "userOpHash", "schema": _HASH},
                "errors": [_error(code) for code in REFUSALS],
            },
        ],
        "components": {
            "errors": {code.label: {"code": int(code), "message": told} for code, told in REFUSALS.items()},
            "schemas": {"ErrorData": ERROR_DATA},
        },
    }


OPENRPC: Final = json.dumps(document(), indent=1).encode()
"""Printed once."""
