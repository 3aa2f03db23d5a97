"""How the process runs and what it says of itself: `log:` and what belongs to stopping."""

from __future__ import annotations

from enum import StrEnum

from proxy.config.base import Settings


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
