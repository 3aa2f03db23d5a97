"""Talking to the admin listener of a running gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlencode

from proxy.config import Config, Listen
from proxy.errors import SessiongateError

_SECONDS: Final = 15.0
_LARGEST_ANSWER: Final = 16 * 1024 * 1024
_ANY_INTERFACE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, not bound to


class NoGateError(SessiongateError):
    """Nobody answers where the admin listener should be."""


@dataclass(frozen=True, slots=True)
class AdminAnswer:
    """An HTTP status and the JSON object that came with it."""

    status: int
    body: Mapping[str, object]

    @property
    def error(self) -> str | None:
        """Why the gate did not do it; `None` when it did."""
        return None if self.status < 400 else str(self.body.get("error") or f"HTTP {self.status}")


class AdminClient:
    """Requests to the admin listener that `config` describes. The token goes into a header and nowhere else."""

    def __init__(self, config: Config) -> None:
        listen = config.admin_listen
        self._host, self._port = _ANY_INTERFACE.get(listen.host, listen.host), listen.port
        self._headers = {"content-type": "application/json"}
        if config.admin_token is not None:
            self._headers["authorization"] = f"Bearer {config.admin_token.get_secret_value()}"

    @property
    def place(self) -> str:
        """Where the listener should be, for messages."""
        return str(Listen(self._host, self._port))

    def get(self, path: str) -> AdminAnswer:
        """Read what `path` names. Raises `NoGateError`."""
        return self._send("GET", path, None)

    def post(self, path: str, body: Mapping[str, object]) -> AdminAnswer:
        """Send a JSON object. Raises `NoGateError`."""
        return self._send("POST", path, json.dumps(body).encode())

    def delete(self, path: str, query: Mapping[str, str]) -> AdminAnswer:
        """Delete what `path` names. Raises `NoGateError`."""
        return self._send("DELETE", f"{path}?{urlencode(query)}" if query else path, None)

    def _send(self, method: str, path: str, body: bytes | None) -> AdminAnswer:
        # http.client and not urllib: no proxy of the environment may see the token, no redirect carry it on
        connection = HTTPConnection(self._host, self._port, timeout=_SECONDS)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            return AdminAnswer(response.status, _read_object(response.read(_LARGEST_ANSWER)))
        except (OSError, HTTPException) as error:
            raise NoGateError(f"no gate answers at {self.place}: {error}") from None
        finally:
            connection.close()


def _read_object(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NoGateError("what answers there is no sessiongate admin listener")
    return value
