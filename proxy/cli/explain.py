"""`sessiongate explain`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.decode import EntryPointOption
from proxy.cli.errors_explained import error_in, explain_error
from proxy.cli.ledger_file import wait_for_gate
from proxy.cli.options import DEFAULT_CONFIG, ChainOption, ConfigOption, ExitCode, JsonOption, fail, load, only_chain
from proxy.cli.pasted import pasted_items
from proxy.cli.reading import PastedOperation, read_input
from proxy.cli.render import print_tree
from proxy.config import Config
from proxy.edge.audit.unrecorded import row_of
from proxy.errors import RpcError, SessiongateError, Undecodable
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.primitives import print_checksummed

# what a record of the audit has besides: here nothing was recorded, asked by a client or forwarded
_NOT_ABOUT_A_VERDICT = frozenset(
    {"verdict", "id", "decisionId", "time", "client", "method", "forward", "upstream", "estimate", "end"}
)


def explain(
    pasted: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", show_default=False, help="An operation in any form, its hash, an error; a file, or -."
        ),
    ],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    chain: ChainOption = None,
    entry_point: EntryPointOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask a running gate: judge here, from settings and ledger.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the verdict on an operation would be, and why; or what a bundler's error means.

    Nothing is sent, reserved or recorded. A running gate is asked, for it knows what is in flight; when none
    answers, the verdict is made here and says so. Exit code 1 when the operation would be rejected.

    \b
    Examples:
      sessiongate explain request.json
      sessiongate explain operation.json --chain soneium --entry-point v0.7
      sessiongate explain request.json --offline --json
      sessiongate explain 0x5a51…            an operation's hash, asked at the bundler
      sessiongate explain 'AA23 reverted 0x8ce1…'     a bundler's error, or what a contract reverted with
    """
    text = pasted if error_in(pasted) is not None else read_input(pasted)
    if (error := error_in(text)) is not None:
        explain_error(error, as_json=as_json)
        return
    settings = load(config)
    body = _question(text, entry_point, config, only_chain(settings, chain))
    try:
        verdict = _explain_offline(settings, body) if offline else _ask_gate(settings, body)
    except SessiongateError as error:
        fail(str(error), ExitCode.REFUSED)
    if as_json:
        typer.echo(json.dumps(verdict, indent=2))
    else:
        told = {key: value for key, value in verdict.items() if key not in _NOT_ABOUT_A_VERDICT}
        print_tree(str(verdict.get("verdict", "verdict")), told)
    raise typer.Exit(ExitCode.OK if verdict.get("verdict") == "allow" else ExitCode.REFUSED)


def _question(text: str, entry_point: EntryPointVersion | None, config: Path, chain: str) -> Mapping[str, object]:
    try:
        found = pasted_items(text, entry_point, config, chain)
    except (RpcError, Undecodable) as error:
        fail(f"not readable: {error}", ExitCode.REFUSED)
    if len(found) != 1 or not isinstance(found[0], PastedOperation):
        fail("wanted exactly one operation; bare signatures and call data have no verdict")
    entry_point_address = print_checksummed(found[0].entry_point.address)
    return {"chain": chain, "operation": found[0].written, "entryPoint": entry_point_address}


def _ask_gate(settings: Config, body: Mapping[str, object]) -> Mapping[str, object]:
    client = AdminClient.of(settings)
    try:
        answer = client.post("/explain", body)
    except NoGateError as error:
        typer.echo(f"{error}; judged here instead, not knowing what is in flight", err=True)
        return _explain_offline(settings, body)
    if answer.error is not None:
        fail(f"the gate at {client.place} says: {answer.error}", ExitCode.REFUSED)
    return answer.body


def _explain_offline(settings: Config, body: Mapping[str, object]) -> Mapping[str, object]:
    # imported late: only this way of asking needs the whole gate
    from proxy.app import explain_once  # noqa: PLC0415  # only this way of asking needs the whole gate

    if (path := settings.ledger.path) is not None:
        try:
            wait_for_gate(path)
        except (sqlite3.Error, OSError) as error:
            fail(f"the ledger at {path} cannot be read: {error}")
    decision = explain_once(settings, body)
    return row_of(decision).as_json()
