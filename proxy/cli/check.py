"""`sessiongate check`."""

from __future__ import annotations

import json
import os

import typer

from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, FileArgument, JsonOption
from proxy.cli.render import print_tree
from proxy.config import Chain, Config
from proxy.edge.rule_files.reading import load_with_rules
from proxy.errors import ConfigErrors
from proxy.userop.primitives import print_bytes, print_checksummed


def check(
    file: FileArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Report every fault of a settings file, and of the rule files it names, at once.

    Each with its line and a cure. Nothing is contacted and no secret is printed. Exit code 1 when there are
    faults.

    \b
    Examples:
      sessiongate check
      sessiongate check deploy/sessiongate.yaml --json
    """
    try:
        settings = load_with_rules(file or config, os.environ)
    except ConfigErrors as errors:
        _print_faults(errors, as_json=as_json)
        raise typer.Exit(ExitCode.REFUSED) from None
    summary = summarise(settings)
    if as_json:
        typer.echo(json.dumps({"ok": True, "faults": [], "settings": summary}, indent=2))
    else:
        print_tree(f"{file or config}: no faults", summary)


def _print_faults(errors: ConfigErrors, *, as_json: bool) -> None:
    if as_json:
        faults = [
            {
                "file": fault.path,
                "line": fault.line,
                **({} if fault.column is None else {"column": fault.column}),
                "problem": fault.problem,
                "suggestion": fault.suggestion,
            }
            for fault in errors.faults
        ]
        typer.echo(json.dumps({"ok": False, "faults": faults}, indent=2))
        return
    for fault in errors.faults:
        typer.echo(str(fault))
    count = len(errors.faults)
    typer.echo(f"{count} fault{'' if count == 1 else 's'}", err=True)


def summarise(config: Config) -> dict[str, object]:
    """What the settings come to, without secrets: keys are left out, URLs cut."""
    return {
        "listen": str(config.listen),
        "adminListen": str(config.admin_listen),
        "adminToken": "set" if config.admin_token else "not set",
        "mode": config.mode.value,
        "ledger": str(config.ledger),
        "previews": config.previews.value,
        "chains": {name: _summarise_chain(chain) for name, chain in config.chains.items()},
        "clients": {client.name: ", ".join(client.chains) or "all chains" for client in config.clients}
        or "anybody who reaches the listener",
        "sessions": [
            f"{print_bytes(session.name)} of {print_checksummed(session.account)} on {session.chain}, "
            f"{len(session.actions)} action{'' if len(session.actions) == 1 else 's'}"
            for session in config.sessions
        ],
        "rules": list(config.rules),
    }


def _summarise_chain(chain: Chain) -> dict[str, object]:
    return {
        "chainId": chain.chain_id,
        "bundlers": [str(bundler) for bundler in chain.bundlers],
        "paymaster": None if chain.paymaster is None else str(chain.paymaster),
        "node": None if chain.node is None else str(chain.node),
        "entryPoints": [entry_point.version.value for entry_point in chain.entry_points],
        "sessionModules": [print_checksummed(module) for module in chain.module_addresses],
        "unknownSession": chain.unknown_session.value,
        "unknownPolicy": chain.unknown_policy.value,
        "unknownValidator": chain.unknown_validator.value,
    }
