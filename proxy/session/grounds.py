"""What a session's verdict rested on, so that it can be given again: its state, what was in flight, the base fee.

Not among it is what the node was asked for one operation alone, nor a signature: a verdict that hangs on these cannot
be given again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from proxy.record import record
from proxy.session.codec import state_from_json, state_to_json
from proxy.session.counters import Counter
from proxy.session.enforce import Doubt, Verdict, enforce
from proxy.session.state import SessionState
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address, Hash32

_DOUBTS = ("ask", "alert", "reject")


@record(kw_only=True)
class Grounds:
    """`in_flight` has what operations in flight would add to each counter that was asked for; `now` is in unix
    seconds, the doubts are the settings'."""

    state: SessionState
    base_fee: int | None
    now: int
    unknown_policy: Doubt
    unknown_validator: Doubt
    in_flight: dict[Counter, int] = field(default_factory=dict)

    def noting(self, ask: Callable[[Counter], int]) -> Callable[[Counter], int]:
        """`ask`, with its answers noted in here."""

        def asked(counter: Counter) -> int:
            amount = self.in_flight[counter] = ask(counter)
            return amount

        return asked


def judge_again(operation: DecodedOperation, grounds: Grounds) -> Verdict:
    """The session's verdict on the same grounds, but for the signature. Raises `ValueError` for another session's."""
    return enforce(
        operation,
        grounds.state,
        base_fee=grounds.base_fee,
        in_flight=lambda counter: grounds.in_flight.get(counter, 0),
        now=grounds.now,
        check_signature=None,
        unknown_policy=grounds.unknown_policy,
        unknown_validator=grounds.unknown_validator,
        enable_signature="alert",
    )


def grounds_to_json(grounds: Grounds) -> dict[str, Any]:
    """Strings, numbers and lists."""
    return {
        "state": state_to_json(grounds.state),
        "baseFee": None if grounds.base_fee is None else hex(grounds.base_fee),
        "now": grounds.now,
        "unknownPolicy": grounds.unknown_policy,
        "unknownValidator": grounds.unknown_validator,
        "inFlight": [[*(part.hex() for part in counter), hex(amount)] for counter, amount in grounds.in_flight.items()],
    }


def grounds_from_json(value: Mapping[str, Any]) -> Grounds:
    """The grounds from such an object. Raises `ValueError` when it is none."""
    try:
        if value["unknownPolicy"] not in _DOUBTS or value["unknownValidator"] not in _DOUBTS:
            raise ValueError("no grounds")
        return Grounds(
            state=state_from_json(value["state"]),
            base_fee=None if value["baseFee"] is None else int(value["baseFee"], 16),
            now=int(value["now"]),
            unknown_policy=value["unknownPolicy"],
            unknown_validator=value["unknownValidator"],
            in_flight={_counter(*parts): int(amount, 16) for *parts, amount in value["inFlight"]},
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("no grounds") from error


def _counter(module: str, account: str, policy: str, config_id: str, slot: str) -> Counter:
    return Counter(
        Address(bytes.fromhex(module)),
        Address(bytes.fromhex(account)),
        Address(bytes.fromhex(policy)),
        Hash32(bytes.fromhex(config_id)),
        bytes.fromhex(slot),
    )
