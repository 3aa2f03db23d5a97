"""The routes of the admin listener for the rules in force.

GET    /rules/difference          what a reload would change
GET    /rules/budget              ?rule= &limit=: what is left of each window, the fullest first
POST   /rules/reset               {"rule", "key"?}: forget what it has counted and learnt
POST   /rules/accept             {"note"}: take what rules have counted as it is, though some may be missing
GET    /rules/allowances
POST   /rules/allowances          {"rule", "thing", "chain"?, "until"?, "reason"}: take a thing for known
DELETE /rules/allowances          ?rule= &thing= &chain=
"""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from aiohttp import web

from proxy.edge.admin.query import Query, read_allowance, read_note, read_reason, read_reset
from proxy.edge.admin.rule_desk import RuleDesk
from proxy.edge.admin.server import DEED, AdminChange, as_json, error_as_json


class RuleRoutes:
    """Made for one desk."""

    def __init__(self, desk: RuleDesk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """To be added to the admin application, behind its guard."""
        return [
            web.get("/rules/difference", self._difference),
            web.get("/rules/budget", self._budget),
            web.post("/rules/reset", self._reset),
            web.post("/rules/accept", self._accept),
            web.get("/rules/allowances", self._allowances),
            web.post("/rules/allowances", self._allow),
            web.delete("/rules/allowances", self._disallow),
        ]

    async def _difference(self, request: web.Request) -> web.Response:
        Query(request.query).end()
        return as_json(await self._desk.difference())

    async def _budget(self, request: web.Request) -> web.Response:
        query = Query(request.query)
        rule, limit = query.text("rule"), query.limit()
        query.end()
        return as_json(await self._desk.budget(rule, limit))

    async def _reset(self, request: web.Request) -> web.Response:
        rule, key, reason = read_reset(await request.read())
        request[DEED] = AdminChange("rules_reset", _told(f"{rule} {key or 'all keys'}", reason))
        answer = await self._desk.reset(rule, key)
        whom = answer["for"]
        told = f"{rule} {key or 'all keys'}"
        if isinstance(whom, dict) and whom:
            told = f"{rule} of {', '.join(f'{what} {name}' for what, name in whom.items())}"
        # by which `audit replay` knows what was forgotten; in pieces, as the trail keeps no long hex
        pieces = wrap(str(answer["key"] or "all").removeprefix("0x"), _PIECE)
        details = {"rule": rule, "key": "-".join(pieces)}
        request[DEED] = AdminChange("rules_reset", _told(told, reason), details=details)
        return as_json(answer)

    async def _accept(self, request: web.Request) -> web.Response:
        request[DEED] = AdminChange("counts_accepted", read_note(await request.read()))
        return as_json(await self._desk.accept())

    async def _allowances(self, request: web.Request) -> web.Response:
        Query(request.query).end()
        return as_json(await self._desk.allowances())

    async def _allow(self, request: web.Request) -> web.Response:
        wanted = read_allowance(await request.read())
        why = f"{wanted.rule} {wanted.thing}: {wanted.reason}"
        request[DEED] = AdminChange("rules_allow", why, chain=wanted.chain)
        mark = self._desk.mark(wanted.rule, wanted.thing, wanted.chain)
        details = {"rule": wanted.rule, "mark": mark.hex(), "until": wanted.until}
        request[DEED] = AdminChange("rules_allow", why, chain=wanted.chain, details=details)
        return as_json(await self._desk.allow(wanted), 201)

    async def _disallow(self, request: web.Request) -> web.Response:
        query = Query(request.query)
        rule, thing, chain = query.text("rule"), query.text("thing"), query.text("chain")
        reason = read_reason(query.text("reason"))
        query.end()
        request[DEED] = AdminChange("rules_disallow", _told(f"{rule} {thing}", reason), chain=chain)
        details = {"rule": rule, "mark": self._desk.mark(rule or "", thing or "", chain).hex()}
        request[DEED] = AdminChange("rules_disallow", _told(f"{rule} {thing}", reason), chain=chain, details=details)
        dropped = await self._desk.disallow(rule or "", thing or "", chain)
        return as_json({"dropped": dropped}) if dropped else error_as_json(404, "no such allowance")


_PIECE: Final = 64


def _told(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what
