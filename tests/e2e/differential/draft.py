"""An operation in the making: calls off a menu, packed, signed and put into its envelope, each step open to a twist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coincurve import PrivateKey

from proxy.userop.execution import Call
from proxy.userop.primitives import Hash32
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_operation import UserOperation
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.grants import Grant, Order
from tests.e2e.differential.wallet import (
    OWNABLE_BETA,
    Wallet,
    batch,
    hash_of,
    personal_sign,
    sign,
    single,
)


@dataclass(frozen=True)
class Attempt:
    """One operation to be sent, what it is an example of, and what it uses if the chain takes it."""

    label: str
    grant: Grant
    op: UserOperation
    orders: Sequence[Order] = ()
    taken: Callable[[], None] = lambda: None  # what else is true once it is mined
    enables: bool = False  # whether it brings its session's grant along


@dataclass
class Draft:
    """An operation in the making; twists change it on the way."""

    rng: Dice
    grant: Grant
    stranger: PrivateKey
    orders: list[Order] = field(default_factory=list)
    call_data: bytes = b""
    fields: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    envelope: SessionEnvelope | None = None  # of an ENABLE mode, still without the session key's signature
    twist_signature: Callable[[Draft, Hash32], bytes] | None = None
    twist_envelope: Callable[[Draft, bytes], bytes] | None = None
    claims: Grant | None = None  # the session it names, where that is another one

    @property
    def wallet(self) -> Wallet:
        return self.grant.wallet

    @property
    def calls(self) -> list[Call]:
        return [order.call for order in self.orders]

    def insert(self, call: Call) -> None:
        self.orders.insert(self.rng.randint(0, len(self.orders)), Order(call))

    def pack(self) -> None:
        alone = len(self.orders) == 1 and self.rng.random() < 0.8
        mode = (b"\0" if alone else b"\x01") + bytes(1) + self.rng.choice([bytes(30), self.rng.randbytes(30)])
        self.call_data = single(self.orders[0].call, mode) if alone else batch(*self.calls, mode=mode)

    def signature(self, digest: Hash32) -> bytes:
        if self.twist_signature is not None:
            return self.twist_signature(self, digest)
        return b"".join(self.signed_by(key, digest) for key in self.grant.keys)

    def signed_by(self, key: PrivateKey, digest: Hash32) -> bytes:
        """By one key, in the form that the release of the session's validator takes."""
        by = personal_sign if self.grant.session.session_validator == OWNABLE_BETA else sign
        return by(key, digest)

    def finish(self, taken: Callable[[], None] = lambda: None) -> Attempt:
        op = self.wallet.operation(self.call_data, **self.fields)
        inner = self.signature(hash_of(op))
        used = SessionEnvelope(mode=SessionMode.USE, permission_id=self.grant.session.permission_id, signature=inner)
        envelope = used if self.envelope is None else self.envelope._replace(signature=inner)
        encoded = encode_session_envelope(envelope)
        if self.twist_envelope is not None:
            encoded = self.twist_envelope(self, encoded)
        label = f"{self.grant.name}: {' + '.join(self.labels) or 'as granted'}"
        signed = replace(op, signature=encoded)
        if self.claims is not None:
            return Attempt(label, self.claims, signed)
        return Attempt(label, self.grant, signed, tuple(self.orders), taken, enables=self.envelope is not None)


Twist = Callable[[Draft], None]


def apply(draft: Draft, twists: Mapping[str, Twist]) -> None:
    label = draft.rng.deal(twists)
    draft.labels.append(label)
    twists[label](draft)
