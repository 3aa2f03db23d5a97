"""`sessiongate rules diff`, `budget`, `reset`, `allow` and `disallow`: asked of, and done to, a running gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from proxy.cli.admin_client import AdminAnswer, AdminClient, NoGateError
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, load, read_until
from proxy.cli.render import console
from proxy.cli.rules.reload import changes_told, fault_told

RuleArgument = Annotated[str, typer.Argument(metavar="RULE", show_default=False, help="The id of a rule in force.")]
ThingArgument = Annotated[
    str, typer.Argument(metavar="THING", show_default=False, help="An address, a client's name, or 0x…:0xa9059cbb.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit.")]
ChainOption = Annotated[str | None, typer.Option("--chain", metavar="NAME", help="Of this configured chain.")]


def diff_rules(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Say what a reload would change: the files as they are now, against the set in force.

    Nothing is put in force. A rule that goes from alert to enforce inherits what it has counted; that is said.
    Exit code 1 when the files are faulty.

    \b
    Examples:
      sessiongate rules diff
    """
    body: dict[str, Any] = dict(_asked(config, lambda client: client.get("/rules/difference")).body)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
    else:
        for warning in body["warnings"]:
            typer.echo(f"{fault_told(warning)} (warning)", err=True)
        for fault in body["faults"]:
            typer.echo(fault_told(fault))
        changes = [line for line in changes_told(body) if not line.startswith("in force")] if body["ok"] else []
        for line in changes or (["nothing would change"] if body["ok"] else []):
            typer.echo(line)
    if not body["ok"]:
        raise typer.Exit(ExitCode.REFUSED)


def show_budget(
    rule: Annotated[str | None, typer.Argument(metavar="[RULE]", show_default=False, help="Only of this rule.")] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the fullest first.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what is left of each window of the rules' limits and rates, the fullest first.

    \b
    Examples:
      sessiongate rules budget
      sessiongate rules budget usdc-per-session-per-day --json
    """
    query = f"/rules/budget?limit={limit}" + (f"&rule={rule}" if rule else "")
    body: dict[str, Any] = dict(_asked(config, lambda client: client.get(query)).body)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
        return
    if body["budgets"]:
        _print_budgets(body["budgets"])
        typer.echo(f"{len(body['budgets'])} of {body['keys']}", err=True)
    else:
        typer.echo("no window has counted anything")
    if body.get("doubtedBefore") is not None:
        since = datetime.fromtimestamp(body["doubtedBefore"], UTC)
        typer.echo(
            f"counts from before {since:%Y-%m-%d %H:%M} UTC may be missing: `sessiongate ledger accept`", err=True
        )


def _print_budgets(budgets: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("rule", "for", "used", "in flight", "left", "of", "window", "key"):
        table.add_column(heading, overflow="fold")
    for row in budgets:
        whom = " ".join(f"{name}={value}" for name, value in row["for"].items()) or "all"
        table.add_row(
            *(row["rule"], whom, row["used"], row["inFlight"], row["left"], row["limit"], row["window"], row["key"])
        )
    console().print(table)


def reset_rule(
    rule: RuleArgument,
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", show_default=False, help="As rules budget prints it.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every key of the rule.")] = False,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Have a rule forget what it has counted and learnt, for one key or for all.

    What is in flight stays held. The reset is on record in the audit.

    \b
    Examples:
      sessiongate rules reset usdc-per-session-per-day 0000…
      sessiongate rules reset new-recipient --all --reason "a new payroll run"
    """
    if (key is None) is not every:
        fail("name a key, as rules budget prints it, or write --all")
    body = {"rule": rule, **_given(key=key, reason=reason)}
    answer = _asked(config, lambda client: client.post("/rules/reset", body))
    typer.echo(json.dumps(answer.body) if as_json else f"forgotten: {answer.body['forgotten']}")


def allow_thing(
    rule: RuleArgument,
    thing: ThingArgument,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with it and in the audit.")],
    until: Annotated[
        float | None,
        typer.Option(
            "--until", parser=read_until, metavar="TIME", help="Its end: 7d, or 2026-12-31 (when it is over in UTC)."
        ),
    ] = None,
    chain: ChainOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Have a rule of first_seen take a thing for known: a recipient who is no stranger though nothing was paid yet.

    \b
    Examples:
      sessiongate rules allow new-recipient 0x1111… --reason "the new payroll" --until 2026-12-31
      sessiongate rules allow new-target 0x2222… --chain soneium --reason "release 5"
    """
    body: dict[str, object] = {"rule": rule, "thing": thing, "reason": reason}
    if until is not None:
        body["until"] = until
    if chain is not None:
        body["chain"] = chain
    answer = _asked(config, lambda client: client.post("/rules/allowances", body))
    end = "" if until is None else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    typer.echo(json.dumps(answer.body) if as_json else f"{rule} takes {thing} for known{end}")


def disallow_thing(
    rule: RuleArgument,
    thing: ThingArgument,
    *,
    reason: ReasonOption = None,
    chain: ChainOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back what `rules allow` allowed. Exit code 1 when there is nothing to take back.

    \b
    Examples:
      sessiongate rules disallow new-recipient 0x1111…
    """
    query = {"rule": rule, "thing": thing, **_given(chain=chain, reason=reason)}
    answer = _asked(config, lambda client: client.delete("/rules/allowances", query))
    typer.echo(json.dumps(answer.body) if as_json else f"{rule} has to learn {thing} by itself")


def list_allowances(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """List what is allowed by hand.

    \b
    Examples:
      sessiongate rules allowances
    """
    body: dict[str, Any] = dict(_asked(config, lambda client: client.get("/rules/allowances")).body)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
        return
    if not body["allowances"]:
        typer.echo("nothing is taken for known by hand")
    for each in body["allowances"]:
        end = "" if each["until"] is None else f" until {datetime.fromtimestamp(each['until'], UTC):%Y-%m-%d %H:%M} UTC"
        typer.echo(f"{each['rule']}  {each['thing']}{end}{' (ended)' if each['ended'] else ''}  {each['reason']}")


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _asked(config: ConfigOption, ask: Callable[[AdminClient], AdminAnswer]) -> AdminAnswer:
    try:
        answer = ask(AdminClient.of(load(config)))
    except NoGateError as error:
        fail(str(error))
    if answer.error is not None:
        fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    return answer
