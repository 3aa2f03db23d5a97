"""How the process runs and what it says of itself: `log:` and what belongs to stopping."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field, SecretStr

from proxy.config.base import Settings
from proxy.config.endpoints import EndpointText
from proxy.config.fields import AddressText, HashText


class LogFormat(StrEnum):
    """How a line of the log is written."""

    CONSOLE = "console"
    JSON = "json"  # one object a line


class LogLevel(StrEnum):
    """What is grave enough for the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LoggedOperations(StrEnum):
    """Which operations have a line of their own."""

    ALL = "all"
    NOTABLE = "notable"  # rejected, let pass unjudged, or a rule fired on it
    NONE = "none"


class LogSettings(Settings):
    """What the log says, and how."""

    format: LogFormat = LogFormat.CONSOLE
    level: LogLevel = LogLevel.INFO
    operations: LoggedOperations = LoggedOperations.NOTABLE


class NamedSession(Settings):
    """A session that has series of its own, under a name of ops'."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", examples=["market-maker"])
    permission_id: HashText = Field(examples=["0x…"])
    account: AddressText | None = None  # None: of any account


class MetricSettings(Settings):
    """What is counted beyond what every gate counts."""

    sessions: tuple[NamedSession, ...] = Field((), max_length=100)


class TracingSettings(Settings):
    """Traces of requests, sent by OTLP over HTTP; needs the extra `tracing`. Without `otlp` nothing is traced."""

    otlp: EndpointText | None = None  # of spans: http://collector:4318/v1/traces
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)  # sent with them: {authorization: Bearer …}
    sample: float = Field(1, ge=0, le=1)  # of the requests that are not left out by their callers, this share is traced
    to_bundlers: bool = False  # tell bundlers the trace, in a traceparent of the gate's own
