"""The four entry points this gate can read (ERC-4337), and which shape of operation each takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from proxy.record import record
from proxy.userop.primitives import Address


class EntryPointVersion(StrEnum):
    """A release of the EntryPoint contract. v0.6 takes the old shape of operation, the others the split one."""

    V06 = "v0.6"
    V07 = "v0.7"
    V08 = "v0.8"
    V09 = "v0.9"


@record()
class EntryPoint:
    """One deployed entry point."""

    version: EntryPointVersion
    address: Address


ENTRY_POINTS: Final = tuple(
    EntryPoint(version, Address(bytes.fromhex(address)))
    for version, address in (
        (EntryPointVersion.V06, "5FF137D4b0FDCD49DcA30c7CF57E578a026d2789"),
        (EntryPointVersion.V07, "0000000071727De22E5E9d8BAf0edAc6f37da032"),
        (EntryPointVersion.V08, "4337084D9E255Ff0702461CF8895CE9E3b5Ff108"),
        (EntryPointVersion.V09, "433709009B8330FDa32311DF1C2AFA402eD8D009"),
    )
)
"""The canonical deployments, the same address on every chain."""

ENTRY_POINT_BY_ADDRESS: Final = {entry_point.address: entry_point for entry_point in ENTRY_POINTS}
ENTRY_POINT_BY_VERSION: Final = {entry_point.version: entry_point for entry_point in ENTRY_POINTS}
