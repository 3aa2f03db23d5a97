"""What was pasted, ready to be spoken of: hashes looked up at the bundler, and what was converted told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from proxy.cli.options import ExitCode, fail, load, only_chain
from proxy.cli.reading import Pasted, PastedHash, PastedOperation, read_answer, read_pasted
from proxy.errors import SessiongateError
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.primitives import Hash32, print_bytes


def pasted_items(text: str, entry_point: EntryPointVersion | None, config: Path, chain: str | None) -> Sequence[Pasted]:
    """What `text` holds. A bare hash is asked at the bundlers of the settings.

    Raises `RpcError` and `Undecodable` for what cannot be read; says on stderr what was converted.
    """
    found = [
        looked_up(item.data, entry_point, config, chain) if isinstance(item, PastedHash) else item
        for item in read_pasted(text, entry_point)
    ]
    for item in found:
        if isinstance(item, PastedOperation):
            for note in item.converted:
                typer.echo(f"read as a request has it: {note}", err=True)
    return found


def looked_up(
    user_op_hash: Hash32, entry_point: EntryPointVersion | None, config: Path, chain: str | None
) -> PastedOperation:
    """The operation of a hash, as its bundler has it; ends the command where it has none."""
    # imported late: only this way of asking needs the whole gate
    from proxy.app.asking import operation_by_hash  # noqa: PLC0415  # only this way of asking needs the whole gate

    shown = print_bytes(user_op_hash)
    if not config.exists():
        fail(f"{shown} looks like the hash of an operation, which a bundler is asked about; there is no {config}")
    settings = load(config)
    name = only_chain(settings, chain)
    try:
        answer = operation_by_hash(settings, name, user_op_hash)
    except SessiongateError as error:
        fail(f"the bundler of {name} cannot be asked about {shown}: {error}", ExitCode.REFUSED)
    if answer is None:
        fail(f"the bundler of {name} knows no operation {shown}", ExitCode.REFUSED)
    return read_answer(answer, entry_point)
