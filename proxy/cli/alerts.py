"""`sessiongate alerts`."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from typing import Annotated

import typer

from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load
from proxy.config import Config
from proxy.document import did_you_mean
from proxy.edge.alerts.board import ActiveAlert, key_of
from proxy.edge.alerts.build import deliveries, instance_of
from proxy.edge.alerts.delivery import Courier
from proxy.edge.alerts.sink import Due, SinkReply
from proxy.happening import Happening, HappeningKind
from proxy.session.lint.findings import Severity

_TEST_SECONDS = 300.0
_IN_WORDS = {
    SinkReply.TAKEN: "taken",
    SinkReply.LATER: "no answer, or one that says to try again; the log line above has more",
    SinkReply.NEVER: "refused; look at its URL, its key and its own log",
}


def send_test(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    sink: Annotated[str | None, typer.Option("--sink", metavar="NAME", help="This sink only.")] = None,
    severity: Annotated[Severity, typer.Option("--severity", help="How grave the test alert is.")] = Severity.INFO,
    as_json: JsonOption = False,
) -> None:
    """Send a test alert to every sink of `alerts:`, whatever its route, and say what each made of it.

    No gate need be running. Each alert is a new one, named SessiongateTest; Alertmanager resolves it after five
    minutes. Exit code 1 when a sink did not take it.

    \b
    Examples:
      sessiongate alerts test
      sessiongate alerts test --sink oncall --severity critical
    """
    settings = load(config)
    names = settings.alerts.sinks
    if not names:
        fail("no sink is configured; name one under alerts: in the settings", ExitCode.REFUSED)
    if sink is not None and sink not in names:
        cure = did_you_mean(sink, names) or f"there are {', '.join(names)}"
        fail(f"there is no sink {sink!r}; {cure}")
    replies = asyncio.run(_send(settings, names if sink is None else (sink,), severity))
    for name, reply in replies.items():
        if as_json:
            typer.echo(json.dumps({"sink": name, "taken": reply is SinkReply.TAKEN, "reply": reply.value}))
        else:
            typer.echo(f"{name}: {_IN_WORDS[reply]}")
    if any(reply is not SinkReply.TAKEN for reply in replies.values()):
        raise typer.Exit(ExitCode.REFUSED)


async def _send(settings: Config, names: tuple[str, ...], severity: Severity) -> Mapping[str, SinkReply]:
    now = time.time()
    test = Happening(
        kind=HappeningKind.TEST,
        severity=severity,
        unix_time=now,
        what="this is a test: nothing happened, and whoever reads it is reached",
        decision_id=secrets.token_hex(12),
    )
    # a rule of its own name makes each test a new alert: a sink that joins alike ones would show none
    key = key_of(test)._replace(rule=f"test-{test.decision_id}")
    alert = ActiveAlert(key=key, first=now, last=now, count=1, latest=test)
    courier = Courier(
        instance=instance_of(settings.alerts, settings.admin_listen),
        ends_at=lambda _: now + _TEST_SECONDS,
        clock=time.time,
        still_active_seconds=_TEST_SECONDS,
    )
    async with courier:
        ways = deliveries(settings.alerts, courier)
        due = Due(alert=alert, resolved=False, first_time=True)
        return dict(zip(names, await asyncio.gather(*(ways[name]([due]) for name in names)), strict=True))
