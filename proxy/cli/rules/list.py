"""`sessiongate rules list`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer
from rich.table import Table

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load
from proxy.cli.render import console

_A_PAGE: Final = 1_000


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
        digest, rules = _read(AdminClient.of(load(config)))
    except NoGateError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"digest": digest, "rules": rules}, indent=2))
        return
    _print_table(rules)
    typer.echo(f"set {digest}", err=True)


def _read(gate: AdminClient) -> tuple[str, list[dict[str, Any]]]:
    """All pages of one set; of a set that takes its place meanwhile, from its first one on. Raises `NoGateError`."""
    digest, rules, after = "", list[dict[str, Any]](), "0"
    while True:
        answer = gate.get(f"/rules?limit={_A_PAGE}&after={after}")
        if answer.error is not None:
            fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
        body: Mapping[str, Any] = answer.body
        if rules and body["digest"] != digest:
            rules, after = [], "0"
            continue
        digest = body["digest"]
        rules += body["rules"]
        if body["next"] is None:
            return digest, rules
        after = body["next"]


def _print_table(rules: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("rule", "mode", "severity", "hits", "written at"):
        table.add_column(heading, justify="right" if heading == "hits" else "left")
    for rule in rules:
        lowered = rule["mode"] != rule["effectiveMode"]
        mode = f"{rule['mode']} (as {rule['effectiveMode']})" if lowered else rule["mode"]
        table.add_row(rule["id"], mode, rule["severity"], str(rule["hits"]), rule["place"])
    console().print(table)
