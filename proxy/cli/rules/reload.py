"""`sessiongate rules reload`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load
from proxy.judge.difference import INHERITS


def reload_rules(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes on record.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Have the running gate read its rule files again.

    It does so by itself when a file changes; this waits until it is done and says what changed. Exit code 1
    when the files are faulty: every fault is told, and the rules before stay in force.

    \b
    Examples:
      sessiongate rules reload --reason "a limit for the new token"
      sessiongate rules reload --config /etc/sessiongate/sessiongate.yaml --json
    """
    try:
        answer = AdminClient.of(load(config)).post("/rules/reload", {"note": reason} if reason else {})
    except NoGateError as error:
        fail(str(error))
    body: Mapping[str, Any] = answer.body
    if "ok" not in body:
        fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
    else:
        for warning in body["warnings"]:
            typer.echo(f"{fault_told(warning)} (warning)", err=True)
        for fault in body["faults"]:
            typer.echo(fault_told(fault))
        for line in changes_told(body) if body["ok"] else (f"{answer.error}: {body['digest']}",):
            typer.echo(line, err=not body["ok"])
    if not body["ok"]:
        raise typer.Exit(ExitCode.REFUSED)


def fault_told(fault: Mapping[str, Any]) -> str:
    cure = f"; {fault['suggestion']}" if fault["suggestion"] else ""
    return f"{fault['file']}:{fault['line']}:{fault['column']}: {fault['problem']}{cure}"


def changes_told(body: Mapping[str, Any]) -> Iterator[str]:
    difference = body["difference"]
    yield from (f"added {rule}" for rule in difference["added"])
    yield from (f"removed {rule}" for rule in difference["removed"])
    for change in difference["changed"]:
        fields = ", ".join(f"{each['field']} {each['before']} → {each['after']}" for each in change["fields"])
        anew = "; it counts anew" if change["countsAnew"] else ""
        inherits = f"; {INHERITS}" if change.get("inherits") else ""
        yield f"changed {change['rule']}: {fields or 'what it counts'}{anew}{inherits}"
    if difference["tokens"]:
        yield f"changed tokens {', '.join(difference['tokens'])}"
    if difference["reordered"]:
        yield "rules stand in another order"
    yield f"in force: {body['digest']}"
