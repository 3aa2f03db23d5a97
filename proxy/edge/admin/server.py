"""The admin listener: metrics and health for machines, sessions, freezes and the audit trail for ops.

    GET  /metrics                     Prometheus text format
    GET  /healthz                     200 as long as the process answers
    GET  /readyz                      every check by name; 503 when one fails
    GET  /readyz/{chain}              likewise, those of one chain
    GET  /sessions                    ?chain= &account= &state= &limit=
    GET  /sessions/{permission_id}    on every chain and account that holds it
    GET  /freezes
    POST /operations/{hash}/release   {"note"}
    POST /freezes                     {"permissionId", "account"?, "chain"?, "note"?}
    DELETE /freezes/{permission_id}   ?account= &chain= &note=
    POST /explain                     {"operation", "entryPoint", "chain"?}: the verdict, nothing is sent
    GET  /rules                       every rule in force: mode, mode under the gate's, severity, hits since start
    POST /settings/reload             {"note"?}: read the settings again; 422 with every fault when those before stay
    POST /rules/reload                {"note"?}: read the rule files again; 422 with every fault when the old set stays
    GET  /audit                       ?since= &until= &chain= &client= &account= &permissionId= &userOpHash=
                                      &decisionId= &verdict= &code= &rule= &asked= &after= &before= &limit=
                                      &show= &format=
    GET  /openapi.json                this list for programs (OpenAPI 3.1)

Answers are JSON, errors `{"error": text}`. It listens apart from the RPC: dapps never reach it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ssl import SSLContext
from typing import Final, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.edge.admin.audit_page import wanted_page
from proxy.edge.admin.audit_reading import PageReading
from proxy.edge.admin.guard import CHANGE_NOTHING, READING, AdminAccess, refuse
from proxy.edge.admin.metrics_page import MetricsPage
from proxy.edge.admin.openapi import OPENAPI
from proxy.edge.admin.query import (
    FreezeRequest,
    PageRequest,
    Query,
    SessionFilter,
    read_explain,
    read_freeze,
    read_note,
)
from proxy.edge.audit.reading import Trail
from proxy.edge.http.forwarded import household_of
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.quiet_aiohttp import SERVER_NAME, QuietAppRunner
from proxy.edge.telemetry.metrics import Metrics
from proxy.errors import RpcError, StateUnavailable
from proxy.ports import Deed
from proxy.userop.primitives import Address, Hash32, parse_hash

READINESS_SECONDS: Final = 5.0
"""A check that takes longer counts as failed."""

_LARGEST_BODY: Final = 1_048_576
_CONNECTIONS: Final = 64
_HANDSHAKE_SECONDS: Final = 10.0
_TAKEN_IN_SECONDS: Final = 0.0003  # about what a request takes before it gets here, and its answer on the way out

_RECORDED: Final = frozenset({"/settings/reload"})
"""What is put on record by whoever does it."""

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AdminChange:
    """What a handler knows of the change it makes, for the record of it."""

    what: str
    why: str = ""
    permission_id: Hash32 | None = None
    account: Address | None = None
    chain: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


DEED: Final = web.RequestKey("deed", AdminChange)
"""Where a handler puts it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold before traffic is welcome; `why` says what was found, good or bad."""

    name: str
    ok: bool
    why: str


class AdminBackend(Protocol):
    """What this listener shows and changes. `Json` values are ready to print: bytes as 0x-hex, amounts as text."""

    async def readiness(self, name: str | None = None) -> Sequence[Check]:
        """Every check, of one chain or of all: the ledger; upstreams and nodes as they were found last, which costs
        them nothing. Raises `InvalidParams` for a chain that is not configured."""

    async def list_sessions(self, wanted: SessionFilter) -> Json:
        """The known sessions that match, the one that changed last first, at most `wanted.limit`: `sessions` and
        `next`, the `after` of the next page. Of an account, the one heard of last first. Raises `InvalidParams`."""

    async def show_session(self, permission_id: Hash32, after: str | None = None) -> Json:
        """The same of a permission id, one item per chain and account, with all that is known of it."""

    async def release(self, user_op_hash: Hash32, note: str) -> bool:
        """Let go of all that an operation in flight holds. Whether it held anything."""

    async def list_freezes(self, page: PageRequest) -> Json:
        """A page of the freezes in force: `freezes` and `next`, the `after` of the next page."""

    async def freeze(self, wanted: FreezeRequest) -> Json:
        """Freeze, durable when this returns; the freeze as it stands. The session need not be known."""

    async def unfreeze(self, permission_id: Hash32, account: Address | None, chain: str | None) -> int:
        """Lift the freezes that match; how many there were."""

    async def explain(self, chain: str | None, operation: object, entry_point: object) -> Json:
        """The verdict on an operation, and why; nothing is sent, reserved or recorded.

        Raises `RpcError` for what cannot be read.
        """

    async def list_rules(self, page: PageRequest) -> Json:
        """The digest of the rules in force, and a page of them: `rules` and `next`, the `after` of the next page."""

    async def reload_settings(self, who: str, why: str) -> Json:
        """Read the settings again: `ok`, `faults`, and the paths `inForce` and `needsRestart`. Goes on record."""

    async def reload_rules(self) -> Json:
        """Read the rule files again: `ok`, the digest in force, `faults`, `warnings`, `difference`."""


class AdminServer:
    """The second listener. `host` is loopback unless ops say otherwise, port 0 picks a free one."""

    def __init__(
        self,
        backend: AdminBackend,
        *,
        metrics: Metrics,
        audit: Trail | None,
        access: AdminAccess,
        noted: Callable[[Deed], None] = lambda _deed: None,
        more: Sequence[web.RouteDef] = (),
        turns: HouseholdTurns | None = None,
    ) -> None:
        """`turns` are those that the callers of the other listener have, too."""
        self._turns = turns or HouseholdTurns(_CONNECTIONS)
        self._noted = noted
        self._more = more
        self._backend = backend
        self._metrics = MetricsPage(metrics)
        self._pages = PageReading()
        self._audit = audit
        self._access = access
        self._runner: QuietAppRunner | None = None

    async def start(self, host: str, port: int, ssl: SSLContext | None = None) -> int:
        """Listen; the port listened on. Raises `OSError` when it is taken."""
        self._runner = QuietAppRunner(self.application(), connections=_CONNECTIONS, turns=self._turns)
        return await self._runner.listen(host, port, ssl, handshake_seconds=_HANDSHAKE_SECONDS)

    def take(self, access: AdminAccess) -> None:
        """From now on these may change things."""
        self._access = access

    async def stop(self) -> None:
        """Stop listening, after the answers under way."""
        if self._runner is not None:
            await self._runner.cleanup()

    def application(self) -> web.Application:
        """The routes behind the guard."""
        application = web.Application(
            middlewares=[self._in_turn, self._guarded, self._written_down, _errors_as_json],
            client_max_size=_LARGEST_BODY,
        )
        application.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/healthz", self._show_health),
                web.get("/readyz", self._show_readiness),
                web.get("/readyz/{chain}", self._show_readiness),
                web.get("/sessions", self._list_sessions),
                web.get("/sessions/{permission_id}", self._show_session),
                web.post("/operations/{user_op_hash}/release", self._release),
                web.get("/freezes", self._list_freezes),
                web.post("/freezes", self._freeze),
                web.delete("/freezes/{permission_id}", self._unfreeze),
                web.post("/explain", self._explain),
                web.get("/rules", self._list_rules),
                web.post("/rules/reload", self._reload_rules),
                web.post("/settings/reload", self._reload_settings),
                web.get("/audit", self._list_audit),
                web.get("/openapi.json", self._show_openapi),
                *self._more,
            ]
        )
        return application

    @web.middleware
    async def _in_turn(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who asks here takes the time of those who call: it is counted and shared like theirs."""
        household = None if request.remote is None else household_of(request.remote)
        self._turns.charge(household, _TAKEN_IN_SECONDS)
        return await self._turns.work(household, _answered(handler(request)))

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = refuse(request, self._access)
        response = error_as_json(refusal.status, refusal.why) if refusal else await handler(request)
        response.headers["cache-control"] = "no-store"
        response.headers["server"] = SERVER_NAME
        response.headers["x-content-type-options"] = "nosniff"
        return response

    @web.middleware
    async def _written_down(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every change goes on record, with who asked for it and what came of it; so does one that failed."""
        if request.method in READING or request.path in CHANGE_NOTHING | _RECORDED:
            return await handler(request)
        response = await handler(request)
        told = request.get(DEED) or AdminChange("admin_write")
        self._noted(
            Deed(
                what=told.what,
                who=self._who(request),
                why=told.why,
                chain=told.chain,
                account=told.account,
                permission_id=told.permission_id,
                details={**told.details, "request": f"{request.method} {request.path}", "status": response.status},
            )
        )
        return response

    def _who(self, request: web.Request) -> str:
        return f"{'token' if self._access.token else 'this machine'} from {request.remote or 'nowhere'}"

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._metrics.print(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _show_openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=OPENAPI, content_type="application/json")

    async def _show_health(self, _request: web.Request) -> web.Response:
        return as_json({"alive": True})

    async def _show_readiness(self, request: web.Request) -> web.Response:
        try:
            readiness = self._backend.readiness(request.match_info.get("chain"))
            checks = await asyncio.wait_for(readiness, READINESS_SECONDS)
        except TimeoutError:
            checks = [Check("readiness", ok=False, why=f"no result within {READINESS_SECONDS:g} s")]
        ready = all(check.ok for check in checks)
        return as_json({"ready": ready, "checks": [asdict(check) for check in checks]}, 200 if ready else 503)

    async def _list_sessions(self, request: web.Request) -> web.Response:
        wanted = SessionFilter.read(Query(request.query))
        return as_json(await self._backend.list_sessions(wanted))

    async def _show_session(self, request: web.Request) -> web.Response:
        query = Query(request.query)
        after = query.text("after")
        query.end()
        found = await self._backend.show_session(_permission_id(request), after)
        if not found["sessions"] and after is None:
            return error_as_json(404, "no session of that permission id is known")
        return as_json(found)

    async def _release(self, request: web.Request) -> web.Response:
        note = read_note(await request.read())
        user_op_hash = parse_hash(request.match_info["user_op_hash"], "user_op_hash")
        request[DEED] = AdminChange("hold_released", note)
        is_released = await self._backend.release(user_op_hash, f"by the admin listener: {note}")
        return as_json({"released": True}) if is_released else error_as_json(404, "no such operation holds anything")

    async def _list_freezes(self, request: web.Request) -> web.Response:
        return as_json(await self._backend.list_freezes(PageRequest.read(Query(request.query))))

    async def _freeze(self, request: web.Request) -> web.Response:
        wanted = read_freeze(await request.read())
        request[DEED] = AdminChange(
            "freeze", wanted.note, permission_id=wanted.permission_id, account=wanted.account, chain=wanted.chain
        )
        return as_json(await self._backend.freeze(wanted), 201)

    async def _unfreeze(self, request: web.Request) -> web.Response:
        query = Query(request.query)
        account, chain, note = query.address("account"), query.text("chain"), query.text("note")
        query.end()
        permission_id = _permission_id(request)
        request[DEED] = AdminChange("unfreeze", note or "", permission_id=permission_id, account=account, chain=chain)
        lifted = await self._backend.unfreeze(permission_id, account, chain)
        return as_json({"lifted": lifted}) if lifted else error_as_json(404, "no such freeze")

    async def _explain(self, request: web.Request) -> web.Response:
        chain, operation, entry_point = read_explain(await request.read())
        return as_json(await self._backend.explain(chain, operation, entry_point))

    async def _list_rules(self, request: web.Request) -> web.Response:
        return as_json(await self._backend.list_rules(PageRequest.read(Query(request.query))))

    async def _reload_rules(self, request: web.Request) -> web.Response:
        body = await request.read()
        note = read_note(body, needed=False) if body else ""
        request[DEED] = AdminChange("rules_reload", note)  # who asked; what came of it is a record of its own
        # whoever leaves before the answer does not leave half of a reload behind
        answer = await asyncio.shield(asyncio.ensure_future(self._backend.reload_rules()))
        if answer["ok"]:
            return as_json(answer)
        return as_json({"error": "the rule files are faulty; the set before stays in force", **answer}, 422)

    async def _reload_settings(self, request: web.Request) -> web.Response:
        reload = self._backend.reload_settings(self._who(request), read_note(await request.read(), needed=False))
        answer = await asyncio.shield(asyncio.ensure_future(reload))
        if answer["ok"]:
            return as_json(answer)
        return as_json({"error": "the settings are faulty; those before stay in force", **answer}, 422)

    async def _list_audit(self, request: web.Request) -> web.Response:
        now = time.time()
        wanted_page(request.query, now)  # or else it is told what is wrong with it
        if self._audit is None:
            return error_as_json(404, "this gate keeps no audit trail")
        page = await self._pages.read(self._audit, request.query, now)
        return web.Response(body=page.body, content_type=page.content_type, headers=page.headers)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _answered(answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    return await answer


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RpcError as error:
        return error_as_json(400, error.message, error.data)
    except StateUnavailable as error:
        return error_as_json(503, f"not available: {error.what}")
    except web.HTTPException as error:
        return error_as_json(error.status, error.reason)
    except Exception:  # a fault of ours: nothing of it is told
        HTTP_LOG.exception("a request to the admin listener failed")
        return error_as_json(500, "a fault of the gate's own; it is in its log")


def _permission_id(request: web.Request) -> Hash32:
    return parse_hash(request.match_info["permission_id"], "permission_id")


def as_json(value: Json, status: int = 200) -> web.Response:
    """An answer."""
    # the standard library's printer: integers have no 64-bit bound here
    return web.Response(text=json.dumps(value) + "\n", status=status, content_type="application/json")


def error_as_json(status: int, why: str, data: Json | None = None) -> web.Response:
    """Why there is none."""
    return as_json({"error": why} if data is None else {"error": why, "data": data}, status)
