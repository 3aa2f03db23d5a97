"""The ledger of a gate, opened beside it or in its stead."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import typer

from proxy.cli.options import fail
from proxy.edge.storage.holding import hold
from proxy.edge.storage.store import Store
from proxy.errors import SessiongateError, StateUnavailable
from proxy.ledger.daybook import wait_until_entered
from proxy.session.freezes import Freeze, Freezes
from proxy.userop.primitives import Address, Hash32

_ENTER_SECONDS: Final = 20.0
"""What is noted down waits some seconds for more, and where the gate is busy its turn."""


def wait_for_gate(path: Path) -> None:
    """Returns when what a running gate has noted down so far can be read in `path`; says so where it cannot. Raises
    `sqlite3.Error`, `OSError`."""
    if path.exists() and not wait_until_entered(path, seconds=_ENTER_SECONDS):
        typer.echo(
            f"the gate has not written to {path} for {_ENTER_SECONDS:g} s: its last moments are not shown", err=True
        )


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """The store in `path`, with all that a running gate has noted down so far; one that cannot be read ends the
    command."""
    try:
        wait_for_gate(path)
        with closing(Store(path)) as store:
            yield store
    except (sqlite3.Error, OSError) as error:
        fail(f"the ledger at {path} cannot be read: {error}")
    except StateUnavailable as error:
        fail(f"the ledger at {path} cannot be used: {error.what}")


class GateHoldsError(SessiongateError):
    """A gate is running on the ledger: what is written behind its back would not be in force."""


@contextmanager
def _in_its_stead(path: Path) -> Iterator[Store]:
    """The store, held as a gate holds it, so that none starts meanwhile. Raises `GateHoldsError`."""
    try:
        held = hold(path)
    except StateUnavailable as error:
        raise GateHoldsError(error.what) from None
    try:
        with opened(path) as store:
            yield store
    finally:
        held.close()


def put_freeze(path: Path, freeze: Freeze) -> None:
    """Keep a freeze for the next start of the gate. Raises `GateHoldsError`."""
    with _in_its_stead(path) as store:
        asyncio.run(store.save_freeze(freeze))


def drop_freezes(path: Path, permission_id: Hash32, *, account: Address | None, chain_id: int | None) -> int:
    """Drop the freezes that the running gate would lift; how many there were. Raises `GateHoldsError`."""
    with _in_its_stead(path) as store:
        standing = Freezes()
        for freeze in store.freezes():
            standing.put(freeze)
        lifted = standing.lift(permission_id, account=account, chain_id=chain_id)
        asyncio.run(store.drop_freezes(lifted))
    return len(lifted)
