"""The least a Python proxy can do with aiohttp: bytes in, bytes on, nothing parsed.

python -m tests.bench.bare_aiohttp PORT UPSTREAM_URL
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

HEADERS = {"Content-Type": "application/json"}
UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def pass_on(request: web.Request) -> web.Response:
    body = await request.read()
    async with request.app[SESSION].post(request.app[UPSTREAM], data=body, headers=HEADERS) as answer:
        return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


async def with_session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1000)) as session:
        app[SESSION] = session
        yield


def application(upstream: str) -> web.Application:
    app = web.Application()
    app[UPSTREAM] = upstream
    app.router.add_post("/{path:.*}", pass_on)
    app.cleanup_ctx.append(with_session)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
