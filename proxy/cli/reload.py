"""`sessiongate reload`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load

_CURE: Final = "; a token that has just been changed is not in force yet: send SIGHUP to the gate instead"


def reload_settings(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes on record.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Have the running gate read its settings again.

    Says which of what changed is in force at the next request, and which needs a restart. Exit code 1 when
    the file is faulty: every fault is told, and the settings before stay in force, all of them. Rule files
    are read again by themselves when they change; SIGHUP reads both.

    \b
    Examples:
      sessiongate reload --reason "new key for the trading dapp"
      sessiongate reload --config /etc/sessiongate/sessiongate.yaml --json
    """
    client = AdminClient.of(load(config))
    try:
        answer = client.post("/settings/reload", {"note": reason} if reason else {})
    except NoGateError as error:
        fail(str(error))
    body: Mapping[str, Any] = answer.body
    if "ok" not in body:
        fail(f"the gate refuses: {answer.error}{_CURE if answer.status == 401 else ''}", ExitCode.REFUSED)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
    else:
        for fault in body["faults"]:
            typer.echo(fault)
        for line in _told(body) if body["ok"] else (str(answer.error),):
            typer.echo(line, err=not body["ok"])
    if not body["ok"]:
        raise typer.Exit(ExitCode.REFUSED)


def _told(body: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"in force: {path}" for path in body["inForce"])
    yield from (f"needs a restart: {path}" for path in body["needsRestart"])
    if not body["inForce"] and not body["needsRestart"]:
        yield "nothing has changed"
