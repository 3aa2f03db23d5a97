"""`sessiongate decode`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from proxy.cli.describe import Described, describe_act, describe_call, describe_operation, describe_signature, plain
from proxy.cli.modules import session_modules
from proxy.cli.options import DEFAULT_CONFIG, ChainOption, ConfigOption, ExitCode, JsonOption, read_address
from proxy.cli.pasted import pasted_items
from proxy.cli.reading import (
    Pasted,
    PastedCallData,
    PastedHash,
    PastedOperation,
    PastedSignature,
    read_envelope,
    read_input,
)
from proxy.cli.render import print_tree
from proxy.errors import RpcError, Undecodable
from proxy.userop.administration import acts_of
from proxy.userop.declared_module import SessionModules, declared_in
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.inspection import calls_for_inspection
from proxy.userop.primitives import ZERO_ADDRESS, Address, print_bytes
from proxy.userop.transfers import movements_of

EntryPointOption = Annotated[
    EntryPointVersion | None,
    typer.Option("--entry-point", help="Which shape and hash; taken from the request, else guessed from the shape."),
]


def decode(
    pasted: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="JSON, 0x-hex, what a program printed, the name of a file that holds it, or - for standard input.",
        ),
    ],
    *,
    chain_id: Annotated[
        int | None, typer.Option("--chain-id", min=1, help="The chain; without it no userOpHash is told.")
    ] = None,
    entry_point: EntryPointOption = None,
    module: Annotated[
        list[Address] | None,
        typer.Option("--module", parser=read_address, metavar="ADDRESS", help="One more session module; repeatable."),
    ] = None,
    account: Annotated[
        Address | None,
        typer.Option("--account", parser=read_address, metavar="ADDRESS", help="Whose call data it is, if bare."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    chain: ChainOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an operation, a signature or call data means.

    Exit code 1 when it cannot be read exactly as the chain would read it.

    \b
    Examples:
      sessiongate decode request.json --chain-id 1868
      sessiongate decode '["{…}", "0x0000000071727De22E5E9d8BAf0edAc6f37da032"]' --json
      sessiongate decode 0x00b0e670e6…       a session signature: mode and permission id
      sessiongate decode 0x5a51…             an operation's hash, asked at the bundler of the settings
      pbpaste | sessiongate decode -         whatever was copied: answers, packed forms, what SDKs print, HAR, curl
    """
    modules = session_modules(config, chain, module or ())
    try:
        found = pasted_items(read_input(pasted), entry_point, config, chain)
        described = [_describe(item, chain_id, modules, account or Address(ZERO_ADDRESS)) for item in found]
    except (RpcError, Undecodable) as error:
        typer.echo(f"not readable: {error}", err=True)
        raise typer.Exit(ExitCode.REFUSED) from None
    if as_json:
        typer.echo(json.dumps(described[0] if len(described) == 1 else described, indent=2))
        return
    for item in described:
        print_tree(str(item.pop("kind")), item)


def _describe(item: Pasted, chain_id: int | None, modules: SessionModules, account: Address) -> Described:
    match item:
        case PastedOperation(_, _, method, _, converted):
            decoded = _decoded(item, chain_id, modules)
            described = describe_operation(decoded, hash_is_known=chain_id is not None)
            told = {"converted": list(converted)} if converted else {}
            return {"kind": described.pop("kind"), "method": method, **described, **told}
        case PastedSignature(data):
            return {"kind": "session signature", **describe_signature(*read_envelope(data))}
        case PastedCallData(data):
            return _describe_call_data(data, modules, account)
        case PastedHash(data):
            raise TypeError(f"{print_bytes(data)} was to be looked up")


def _decoded(item: PastedOperation, chain_id: int | None, modules: SessionModules) -> DecodedOperation:
    """As a stub's operation, for nobody knows whether it is one; what names a declared session may be its signature."""
    chain = chain_id or modules.chain_id
    decoded = decode_operation(item.op, item.entry_point, chain, modules, preview=True)
    if chain and decoded.claim is not None and declared_in(modules, decoded.claim.module) is not None:
        try:
            return decode_operation(item.op, item.entry_point, chain, modules)
        except Undecodable:
            return decoded
    return decoded


def _describe_call_data(data: bytes, modules: SessionModules, account: Address) -> Described:
    calls = calls_for_inspection(data, account)
    return {
        "kind": "call data",
        "calls": [describe_call(call) for call in calls],
        "movements": [plain(movement) for movement in movements_of(calls, account)],
        "acts": [describe_act(act) for act in acts_of(calls, account, modules)],
    }
