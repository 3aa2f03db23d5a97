"""A collector that takes traces by OTLP over HTTP, as protobuf, and keeps them."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stopping import AppRunner


class OtlpReceiver:
    """`spans` are those that arrived, by name in the order of their end; `raw` every byte of bodies and heads."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.hangs = False
        self._runner: AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1/traces"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(60)
        body = await request.read()
        self.raw += body + str(request.headers).encode() + str(request.url).encode()
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        told = ExportTraceServiceRequest()
        told.ParseFromString(body)
        if self.status == 200:
            for resource in told.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        return web.Response(status=self.status, content_type="application/x-protobuf")

    def named(self, name: str) -> list[Any]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, object]:
    """What stands in a span."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
