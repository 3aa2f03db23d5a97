"""`alerts:` in the settings: who is told of single happenings, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, SecretStr

from proxy.config.base import Settings
from proxy.config.endpoints import EndpointText, read_endpoint
from proxy.session.lint.findings import Severity

ALERTMANAGER: Final = "alertmanager"
"""The name of the first Alertmanager as a sink."""

_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_PAGERDUTY: Final = "https://events.pagerduty.com/v2/enqueue"


class _Sink(Settings):
    """What all sinks but Alertmanager have in common. A sink hears what is grave enough and bears one of its tags."""

    name: str = Field(pattern=_NAME, examples=["oncall"])
    min_severity: Severity = Severity.INFO  # this and graver
    tags: tuple[str, ...] = ()  # empty: whatever its tags
    repeat_seconds: float = Field(14_400, ge=1, le=2_592_000)  # between two messages of one alert that goes on
    per_minute: int = Field(60, ge=1, le=60_000)  # messages; the rest waits its turn


class Webhook(_Sink):
    """An HTTP endpoint that is sent JSON, signed with `secret`."""

    url: EndpointText = Field(examples=["https://hooks.example/sessiongate"])
    secret: SecretStr = Field(min_length=16, examples=["${HOOK_SECRET}"])


class PagerDuty(_Sink):
    """A service of PagerDuty (Events API v2), or whatever speaks the same."""

    routing_key: SecretStr = Field(min_length=8, examples=["${PAGERDUTY_KEY}"])
    url: EndpointText = read_endpoint(_PAGERDUTY)


def _read_urls(value: object) -> object:
    return [value] if isinstance(value, str) else value


class AlertSettings(Settings):
    """Who is told of single happenings. Nobody, unless a sink is named."""

    # each is told all that no rule gives to others by `notify`
    alertmanager: Annotated[tuple[EndpointText, ...], BeforeValidator(_read_urls)] = ()
    webhooks: tuple[Webhook, ...] = ()
    pagerduty: tuple[PagerDuty, ...] = ()
    instance: str = ""  # what this gate is called in alerts; empty: the machine's name and the admin port
    resolve_after_seconds: float = Field(900, ge=1, le=604_800)  # without a further one, it is over
    resend_seconds: float = Field(60, ge=0.05, le=3_600)  # to Alertmanager, while an alert is active
    max_active: int = Field(1_000, ge=10, le=100_000)  # told apart by session; past it only by rule
    queue_limit: int = Field(1_000, ge=1, le=100_000)  # messages that wait for one sink

    @property
    def sinks(self) -> tuple[str, ...]:
        """The names of all sinks, in the order of the settings."""
        return (*self.alertmanager_names, *(each.name for each in self.named()))

    @property
    def alertmanager_names(self) -> tuple[str, ...]:
        """`alertmanager`, and from the second on `alertmanager_2`."""
        return tuple(
            ALERTMANAGER if number == 1 else f"{ALERTMANAGER}_{number}" for number, _ in enumerate(self.alertmanager, 1)
        )

    def named(self) -> Iterator[Webhook | PagerDuty]:
        """The sinks that have names of their own."""
        yield from self.webhooks
        yield from self.pagerduty
