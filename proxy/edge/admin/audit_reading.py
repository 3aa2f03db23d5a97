"""Pages of the audit trail, one at a time. Long ones are read by a process of their own: a thread would keep the
interpreter from the loop, and so from every verdict, for as long as somebody asks for pages. Short ones a thread reads,
which rests for nine times what each took.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from typing import Final

from proxy.edge.admin.audit_page import Page, read_page, wanted_page
from proxy.edge.admin.query import AuditFormat, AuditShow
from proxy.edge.audit.reading import AuditFilter, Trail
from proxy.edge.http.bundler_health import QuestionKind
from proxy.edge.http.places import BundlerPlaces
from proxy.errors import StateUnavailable, UpstreamFull

_WAIT_SECONDS: Final = 20.0
_READ_SECONDS: Final = 60.0
_SHORT: Final = 100
"""So many records a thread reads; the process takes longer to start."""
_RESTS: Final = 9
_COMMAND: Final = ("-m", "proxy.edge.admin.audit_page")


class PageReading:
    """One page at a time; of all who wait for one each household has its turn, as at a bundler."""

    def __init__(self) -> None:
        self._places = BundlerPlaces(1, _WAIT_SECONDS)
        self._rests_until = 0.0  # by the loop's clock

    async def read(self, trail: Trail, parameters: Mapping[str, str], now: float) -> Page:
        """What `GET /audit` answers to these parameters, which are good ones, at this time. Raises `StateUnavailable`
        where others read for too long, or it takes too long itself, or there is no trail to read."""
        wanted = wanted_page(parameters, now)
        try:
            async with self._places.place(QuestionKind.READ, "the audit trail"):
                if (limit := wanted[0].limit) is not None and limit <= _SHORT:
                    return await self._read_here(trail, wanted)
                told = await _told_apart(_printed(trail, parameters, now))
        except UpstreamFull:
            raise StateUnavailable("the audit trail, which others are reading; ask later", fact="audit") from None
        except (OSError, sqlite3.Error):
            raise _unread() from None
        head, _, body = told.partition(b"\n")
        if not head:
            raise _unread()
        content_type, headers = json.loads(head)
        return Page(body, content_type, headers)

    async def _read_here(self, trail: Trail, wanted: tuple[AuditFilter, AuditShow, AuditFormat]) -> Page:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._rests_until - loop.time())
        page, took = await asyncio.to_thread(_timed, trail, wanted)
        self._rests_until = loop.time() + _RESTS * took
        return page


def _timed(trail: Trail, wanted: tuple[AuditFilter, AuditShow, AuditFormat]) -> tuple[Page, float]:
    began = time.thread_time()
    page = read_page(trail, *wanted)
    return page, time.thread_time() - began


def _unread() -> StateUnavailable:
    return StateUnavailable("the audit trail, which could not be read", fact="audit")


def _printed(trail: Trail, parameters: Mapping[str, str], now: float) -> bytes:
    earlier = None if trail.earlier is None else str(trail.earlier)
    asked = {"path": str(trail.path), "earlier": earlier, "parameters": dict(parameters), "now": now}
    return json.dumps(asked).encode()


async def _told_apart(asked: bytes) -> bytes:
    """All that the process says; nothing where it failed, which is then in the log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # it hears of nothing that is said to the gate's group
    )
    try:
        async with asyncio.timeout(_READ_SECONDS):
            told, _ = await process.communicate(asked)
    except TimeoutError:
        return b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return told if process.returncode == 0 else b""
