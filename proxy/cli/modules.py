"""The session modules that a command reads by: the published ones, and what a settings file declares of its own."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import typer

from proxy.cli.options import fail
from proxy.config import load_config
from proxy.errors import ConfigErrors
from proxy.session.addresses import SESSION_MODULES
from proxy.userop.declared_module import SessionModules, declared_modules
from proxy.userop.primitives import Address


def session_modules(config: Path, chain: str | None, more: Collection[Address] = ()) -> SessionModules:
    """The published modules, `more`, and those of the settings, where there are any: of `chain`, or of all chains.

    Settings that are not there declare nothing. Of faulty ones the first fault is said: what they declare is not known.
    """
    published = SESSION_MODULES | frozenset(more)
    if not config.exists():
        return SessionModules.of(published, (), 0)
    try:
        settings = load_config(config, os.environ, secrets=False)
    except ConfigErrors as errors:
        typer.echo(f"{errors.faults[0]}; session modules of your own are not known here", err=True)
        return SessionModules.of(published, (), 0)
    if chain is not None and chain not in settings.chains:
        fail(f"there is no chain {chain!r}; configured are {', '.join(settings.chains)}")
    chains = list(settings.chains.values()) if chain is None else [settings.chains[chain]]
    declared = {each.address: each for there in reversed(chains) for each in declared_modules(there.modules).values()}
    named = {address for there in chains for address in there.modules}
    return SessionModules.of(published | named, list(declared.values()), chains[0].chain_id if len(chains) == 1 else 0)
