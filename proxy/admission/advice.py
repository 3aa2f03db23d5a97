"""What whoever asks beforehand is advised of an operation that may pass: remarks, never part of a verdict.

Gas that validating took on the rig, whose accounts and engine are released ones (Nexus 1.0.1, Safe7579): 136,000 at
least in USE mode (240 seeded operations, eth_estimateGas); 1,140,000 for enabling a session of two actions on the way
(the bundler's estimate). Other releases and smaller sessions do with less: only what is far below is remarked on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proxy.session.transitions import excess_of_validator_data
from proxy.userop.acts import Act, SessionsEnabled
from proxy.userop.primitives import print_bytes
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


def remarks_on_grants(acts: Iterable[Act]) -> tuple[str, ...]:
    """On sessions that an owner grants and the module cannot store: that is mined, and brings nothing into force."""
    return tuple(
        f"session {print_bytes(session.permission_id)} can never be enabled, the grant will revert: its session"
        f" validator's init data have {excess[0]} bytes, and the session module stores at most {excess[1]}"
        for act in acts
        if isinstance(act, SessionsEnabled)
        for session in act.sessions
        if (excess := excess_of_validator_data(act.module, session)) is not None
    )
