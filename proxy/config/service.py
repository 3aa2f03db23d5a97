"""How the process runs and what it says of itself: `log:` and what belongs to stopping."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from proxy.config.base import Settings
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
