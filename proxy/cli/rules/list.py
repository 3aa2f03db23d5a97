"""`sessiongate rules list`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer
from rich.table import Table

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load
from proxy.cli.render import console


def list_rules(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """List the rules that the running gate has in force.

    Each with its mode, the mode it has under the gate's own, and on how many operations it fired since the
    gate started.

    \b
    Examples:
      sessiongate rules list
      sessiongate rules list --json
    """
    try:
        answer = AdminClient.of(load(config)).get("/rules")
    except NoGateError as error:
        fail(str(error))
    if answer.error is not None:
        fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    if as_json:
        typer.echo(json.dumps(answer.body, indent=2))
        return
    rules = answer.body["rules"]
    _print_table(rules if isinstance(rules, list) else [])
    typer.echo(f"set {answer.body['digest']}", err=True)


def _print_table(rules: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("rule", "mode", "severity", "hits", "written at"):
        table.add_column(heading, justify="right" if heading == "hits" else "left")
    for rule in rules:
        lowered = rule["mode"] != rule["effectiveMode"]
        mode = f"{rule['mode']} (as {rule['effectiveMode']})" if lowered else rule["mode"]
        table.add_row(rule["id"], mode, rule["severity"], str(rule["hits"]), rule["place"])
    console().print(table)
