"""`sessiongate freeze` and `sessiongate unfreeze`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.ledger_file import drop_freezes, put_freeze
from proxy.cli.on_record import command_line, put_on_record
from proxy.cli.options import (
    DEFAULT_CONFIG,
    AccountOption,
    ChainOption,
    ConfigOption,
    ExitCode,
    JsonOption,
    PermissionId,
    chain_id_of,
    fail,
    ledger_path,
    load,
)
from proxy.config import Config
from proxy.ports import Deed
from proxy.session.freezes import Freeze
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed

_NO_GATE = "written to the ledger: it takes effect when the gate starts"


def freeze(
    permission_id: PermissionId,
    *,
    account: AccountOption = None,
    chain: ChainOption = None,
    reason: Annotated[str, typer.Option("--reason", help="For the people who meet it; callers are told.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Refuse every operation of a session from now on.

    Whatever the chain says; the session need not be known. A running gate is told and has it in force when
    this returns. When none answers, the freeze is written to the ledger and takes effect when the gate
    starts.

    \b
    Examples:
      sessiongate freeze 0xb0e670… --reason "key on a lost phone"
      sessiongate freeze 0xb0e670… --account 0x1111… --chain soneium
    """
    settings = load(config)
    chain_id = chain_id_of(settings, chain)
    body = {"permissionId": print_bytes(permission_id), "note": reason, **_scope(account, chain)}
    try:
        answer = AdminClient(settings).post("/freezes", body)
    except NoGateError as error:
        wanted = Freeze(permission_id=permission_id, account=account, chain_id=chain_id, since=time.time(), note=reason)
        path = ledger_path(settings)
        put_freeze(path, wanted)
        deed = Deed(
            what="freeze",
            who=command_line(),
            why=reason,
            chain=chain,
            account=account,
            permission_id=permission_id,
            details={"gate": "not running"},
        )
        warnings = (f"{error}; {_NO_GATE}", put_on_record(settings, path, deed))
        _report("frozen", permission_id, as_json=as_json, live=False, warnings=warnings)
        return
    if answer.error is not None:
        fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    _report("frozen", permission_id, as_json=as_json, live=True)


def unfreeze(
    permission_id: PermissionId,
    *,
    account: AccountOption = None,
    chain: ChainOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes on record.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Lift a freeze.

    Every one of the permission id, or the one made for an account or a chain. Exit code 1 when there is none.

    \b
    Examples:
      sessiongate unfreeze 0xb0e670… --reason "phone found"
      sessiongate unfreeze 0xb0e670… --account 0x1111… --chain soneium
    """
    settings = load(config)
    live: bool = True
    warnings: Sequence[str | None] = ()
    scope = _scope(account, chain) | ({"note": reason} if reason else {})
    try:
        answer = AdminClient(settings).delete(f"/freezes/{print_bytes(permission_id)}", scope)
    except NoGateError as error:
        if not _drop_from_ledger(settings, permission_id, account, chain):
            fail(f"{error}; and there is no such freeze in the ledger", ExitCode.REFUSED)
        deed = Deed(
            what="unfreeze",
            who=command_line(),
            why=reason,
            chain=chain,
            account=account,
            permission_id=permission_id,
            details={"gate": "not running"},
        )
        live, warnings = False, (f"{error}; {_NO_GATE}", put_on_record(settings, ledger_path(settings), deed))
    else:
        if answer.error is not None:
            fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    _report("unfrozen", permission_id, as_json=as_json, live=live, warnings=warnings)


def _drop_from_ledger(settings: Config, permission_id: Hash32, account: Address | None, chain: str | None) -> int:
    path = ledger_path(settings)
    return drop_freezes(path, permission_id, account=account, chain_id=chain_id_of(settings, chain))


def _scope(account: Address | None, chain: str | None) -> dict[str, str]:
    scope = {"account": None if account is None else print_checksummed(account), "chain": chain}
    return {key: value for key, value in scope.items() if value is not None}


def _report(
    done: str, permission_id: Hash32, *, as_json: bool, live: bool, warnings: Sequence[str | None] = ()
) -> None:
    for warning in warnings:
        if warning is not None:
            typer.echo(f"sessiongate: {warning}", err=True)
    shown = print_bytes(permission_id)
    if as_json:
        typer.echo(json.dumps({done: shown, "inForce": live}))
    else:
        typer.echo(f"{done} {shown}{'' if live else ' in the ledger'}")
