"""Talking to the admin listener of a running gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, VERIFY_X509_PARTIAL_CHAIN, SSLContext, create_default_context
from threading import Lock, Thread
from typing import Final
from urllib.parse import urlencode, urlsplit

from proxy.config import Config, Listen
from proxy.errors import SessiongateError

_SECONDS: Final = 15.0
SOON: Final = 0.9
"""Seconds within which somebody who freezes hears what happened."""
_LARGEST_ANSWER: Final = 16 * 1024 * 1024
_Request = tuple[str, str, bytes | None, Mapping[str, str]]
"""Method, path, body, headers."""
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
        question = _Question(self._connection(), self.place)
        return question.answer((method, path, body, self._headers), self._seconds)

    def _connection(self) -> HTTPConnection:
        # http.client and not urllib: no proxy of the environment may see the token, no redirect carry it on
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=self._seconds)
        return HTTPSConnection(self._host, self._port, timeout=self._seconds, context=self._tls)


class _Question:
    """One request, asked by a thread of its own: a name that has several addresses, or an answer that comes byte by
    byte, outlasts whatever one step of a socket may take."""

    def __init__(self, connection: HTTPConnection, place: str) -> None:
        self._connection = connection
        self._place = place
        self._one_of_both = Lock()
        self._asked = False
        self._is_over = False  # then nothing is asked any more
        self._outcome: AdminAnswer | Exception | None = None

    def answer(self, request: _Request, seconds: float) -> AdminAnswer:
        """The answer. Raises `NoGateError`, after so many seconds at the latest."""
        thread = Thread(target=self._ask, args=(request,), daemon=True)
        thread.start()
        thread.join(seconds)
        with self._one_of_both:
            self._is_over = True
        outcome = self._outcome or self._too_late(seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _ask(self, request: _Request) -> None:
        connection = self._connection
        try:
            connection.connect()
            with self._one_of_both:
                if self._is_over:
                    return
                self._asked = True
            connection.request(*request)
            with connection.getresponse() as response:  # a last one has the socket, and its connection no more
                self._outcome = AdminAnswer(response.status, _read_object(response.read(_LARGEST_ANSWER)))
        except TimeoutError:
            self._outcome = self._too_late(connection.timeout or 0.0)
        except (OSError, HTTPException) as error:
            self._outcome = NoGateError(f"no gate answers at {self._place}: {error}", asked=self._asked)
        except Exception as error:  # raised where the answer is waited for
            self._outcome = error
        finally:
            connection.close()

    def _too_late(self, seconds: float) -> NoGateError:
        return NoGateError(f"no gate answers at {self._place} within {seconds:g} s", asked=self._asked)


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
