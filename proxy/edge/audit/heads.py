"""The newest record, told to others at intervals: a file or a webhook out of reach of who can write the trail.

What is told is one JSON object: `{"time", "id", "hash", "key"}`. `sessiongate audit verify --heads FILE` holds a trail
against such lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from proxy.edge.audit.appending import Head

_LOG: Final = logging.getLogger(__name__)
_WEBHOOK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSinks:
    """Where heads go, and how often."""

    file: Path | None
    webhook: str | None
    every_seconds: float


async def tell_heads(
    head: Callable[[], Head | None], sinks: HeadSinks, *, key: str, clock: Callable[[], float]
) -> None:
    """Tell each new head until cancelled, and the last one then. A sink that refuses is tried again with the next."""
    told: Head | None = None
    timeout = aiohttp.ClientTimeout(total=_WEBHOOK_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        while True:
            try:
                await asyncio.sleep(sinks.every_seconds)
            finally:
                if (newest := head()) is not None and newest != told:
                    line = json.dumps({"time": clock(), "id": newest.id, "hash": newest.hash.hex(), "key": key})
                    if await _tell(line, sinks, http):
                        told = newest


async def _tell(line: str, sinks: HeadSinks, http: aiohttp.ClientSession) -> bool:
    told = True
    if sinks.file is not None:
        try:
            await asyncio.to_thread(_append, sinks.file, line)
        except OSError as error:
            told = False
            _LOG.error("the head of the audit is not told to its file: %s", error.strerror)
    if sinks.webhook is not None:
        try:
            headers = {"content-type": "application/json"}
            async with http.post(sinks.webhook, data=line, headers=headers, allow_redirects=False) as response:
                refused = response.status >= 300
        except (aiohttp.ClientError, TimeoutError):
            refused = True
        if refused:
            told = False
            _LOG.error("the head of the audit is not told to its webhook")
    return told


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
