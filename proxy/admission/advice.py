"""What whoever asks beforehand is advised of an operation that may pass: remarks, never part of a verdict.

Gas that validating took on the rig, whose accounts and engine are released ones (Nexus 1.0.1, Safe7579): 136,000 at
least in USE mode (240 seeded operations, eth_estimateGas); 1,140,000 for enabling a session of two actions on the way
(the bundler's estimate). Other releases and smaller sessions do with less: only what is far below is remarked on.
"""

from __future__ import annotations

from typing import Final

from proxy.userop.signature import SessionMode
from proxy.userop.user_operation import UserOperation

LEAST_VERIFICATION_GAS: Final = {
    SessionMode.USE: 68_000,
    SessionMode.ENABLE: 250_000,
    SessionMode.UNSAFE_ENABLE: 250_000,
}


def advice_of(op: UserOperation, mode: SessionMode) -> tuple[str, ...]:
    """On the gas it leaves for validation, which estimates leave open or at zero."""
    limit, least = op.verification_gas_limit, LEAST_VERIFICATION_GAS[mode]
    if not limit or limit >= least:
        return ()
    return (
        f"verificationGasLimit is {limit}: no validation in mode {mode.label} is known that took less than {least}",
    )
