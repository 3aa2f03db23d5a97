"""`sessiongate freeze` and `sessiongate unfreeze`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.admin_client import SOON, AdminClient, NoGateError
from proxy.cli.ledger_file import GateHoldsError, drop_freezes, put_freeze
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

AdminUrlOption = Annotated[
    str | None, typer.Option("--admin-url", help="The admin listener; then no settings are read.", show_default=False)
]
TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", help="Holds the admin token, for --admin-url.", show_default=False)
]
_NO_GATE = "written to the ledger: it takes effect when the gate starts"


def freeze(
    permission_id: PermissionId,
    *,
    account: AccountOption = None,
    chain: ChainOption = None,
    reason: Annotated[str, typer.Option("--reason", help="For the people who meet it; callers are told.")] = "",
    admin_url: AdminUrlOption = None,
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Refuse every operation of a session from now on.

    Whatever the chain says; the session need not be known. A running gate is told and has it in force when
    this returns, within a second. When none runs, the freeze is written to the ledger and takes effect when
    the gate starts; when one holds the ledger and does not answer, nothing is frozen and the exit code is 1.

    \b
    Examples:
      sessiongate freeze 0xb0e670… --reason "key on a lost phone"
      sessiongate freeze 0xb0e670… --account 0x1111… --chain soneium
      sessiongate freeze 0xb0e670… --admin-url http://gate:9090 --token-file /run/secrets/admin
    """
    body = {"permissionId": print_bytes(permission_id), "note": reason, **_scope(account, chain)}
    settings = None if admin_url is not None else load(config)
    chain_id = None if settings is None else chain_id_of(settings, chain)
    try:
        answer = _client(settings, admin_url, token_file).post("/freezes", body)
    except NoGateError as error:
        if settings is None:
            fail(_not_told(error, "frozen"), ExitCode.REFUSED)
        wanted = Freeze(permission_id=permission_id, account=account, chain_id=chain_id, since=time.time(), note=reason)
        path = ledger_path(settings)
        try:
            put_freeze(path, wanted)
        except GateHoldsError as held:
            fail(_not_told(error, "frozen", held), ExitCode.REFUSED)
        deed = _without_a_gate("freeze", reason, permission_id, account, chain)
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
    admin_url: AdminUrlOption = None,
    token_file: TokenFileOption = None,
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
    settings = None if admin_url is not None else load(config)
    live: bool = True
    warnings: Sequence[str | None] = ()
    scope = _scope(account, chain) | ({"note": reason} if reason else {})
    try:
        answer = _client(settings, admin_url, token_file).delete(f"/freezes/{print_bytes(permission_id)}", scope)
    except NoGateError as error:
        if settings is None:
            fail(_not_told(error, "unfrozen"), ExitCode.REFUSED)
        try:
            dropped = _drop_from_ledger(settings, permission_id, account, chain)
        except GateHoldsError as held:
            fail(_not_told(error, "unfrozen", held), ExitCode.REFUSED)
        if not dropped:
            fail(f"{error}; and there is no such freeze in the ledger", ExitCode.REFUSED)
        deed = _without_a_gate("unfreeze", reason, permission_id, account, chain)
        live, warnings = False, (f"{error}; {_NO_GATE}", put_on_record(settings, ledger_path(settings), deed))
    else:
        if answer.error is not None:
            fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    _report("unfrozen", permission_id, as_json=as_json, live=live, warnings=warnings)


def _client(settings: Config | None, admin_url: str | None, token_file: Path | None) -> AdminClient:
    if settings is not None:
        return AdminClient.of(settings, seconds=SOON)
    try:
        token = None if token_file is None else token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the token file cannot be read: {error}")
    try:
        return AdminClient.at(admin_url or "", token, seconds=SOON)
    except ValueError as error:
        fail(f"--admin-url: {error}")


def _without_a_gate(what: str, reason: str, permission_id: Hash32, account: Address | None, chain: str | None) -> Deed:
    """For the record, which no gate writes now."""
    return Deed(
        what=what,
        who=command_line(),
        why=reason,
        chain=chain,
        account=account,
        permission_id=permission_id,
        details={"gate": "not running"},
    )


def _not_told(error: NoGateError, done: str, held: GateHoldsError | None = None) -> str:
    """What happened, where a gate was not heard to take it."""
    holder = "" if held is None else f"; {held}: it is running on this ledger"
    if error.asked:
        return f"{error}{holder}; whether the session is {done} is not known: ask again"
    return f"{error}{holder}; nothing was {done}"


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
