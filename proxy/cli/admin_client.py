"""Talking to the admin listener of a running gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, VERIFY_X509_PARTIAL_CHAIN, SSLContext, create_default_context
from typing import Final
from urllib.parse import urlencode, urlsplit

from proxy.config import Config, Listen
from proxy.errors import SessiongateError

_SECONDS: Final = 15.0
SOON: Final = 0.9
"""Seconds within which somebody who freezes hears what happened."""
_LARGEST_ANSWER: Final = 16 * 1024 * 1024
_ANY_INTERFACE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, not bound to


class NoGateError(SessiongateError):
    """Nobody answers where the admin listener should be. `asked`: it may have taken what it was asked all the same."""

    def __init__(self, problem: str, *, asked: bool = False) -> None:
        super().__init__(problem)
        self.asked = asked


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
    """Requests to an admin listener. The token goes into a header and nowhere else."""

    def __init__(
        self, listen: Listen, token: str | None, *, tls: SSLContext | None = None, seconds: float = _SECONDS
    ) -> None:
        self._host, self._port = _ANY_INTERFACE.get(listen.host, listen.host), listen.port
        self._tls = tls
        self._seconds = seconds
        self._headers = {"content-type": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    @classmethod
    def of(cls, config: Config, *, seconds: float = _SECONDS) -> AdminClient:
        """To the listener that the settings describe, with the token that may most."""
        token = config.admin_token or config.admin_read_token
        tls = None if config.admin_tls is None else _trusting(Path(config.admin_tls.certificate))
        text = None if token is None else token.get_secret_value()
        return cls(config.admin_listen, text, tls=tls, seconds=seconds)

    @classmethod
    def at(cls, url: str, token: str | None, *, seconds: float = _SECONDS) -> AdminClient:
        """To the listener at `http://host:port` or `https://host:port`. Raises `ValueError`, which quotes nothing."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("write it as http://host:9090")
        port = parts.port or (443 if parts.scheme == "https" else 9090)
        tls = create_default_context() if parts.scheme == "https" else None
        return cls(Listen(parts.hostname, port), token, tls=tls, seconds=seconds)

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
        asked = False
        if self._tls is None:
            connection = HTTPConnection(self._host, self._port, timeout=self._seconds)
        else:
            connection = HTTPSConnection(self._host, self._port, timeout=self._seconds, context=self._tls)
        try:
            connection.connect()
            asked = True
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            return AdminAnswer(response.status, _read_object(response.read(_LARGEST_ANSWER)))
        except TimeoutError:
            problem = f"no gate answers at {self.place} within {self._seconds:g} s"
        except (OSError, HTTPException) as error:
            problem = f"no gate answers at {self.place}: {error}"
        finally:
            connection.close()
        raise NoGateError(problem, asked=asked)


def _trusting(certificate: Path) -> SSLContext:
    """TLS that takes this certificate and no other, whatever host it is for."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(certificate)
    except OSError as error:
        raise NoGateError(f"the certificate of the admin listener cannot be read: {error.strerror}") from None
    return context


def _read_object(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NoGateError("what answers there is no sessiongate admin listener")
    return value
