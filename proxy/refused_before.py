"""What a bundler refused a moment ago: the same bytes handed in again hear that again, and reach it once. No I/O.

viem on a `custom` transport takes every code it does not list for an unknown error, a bundler's refusals too, and hands
the same in three times more within some 1.1 s (its defaults: after 150, 300 and 600 ms). The caller hears the same
answer again, for as long as that takes and no longer: what the bundler refused may be cured by then. It is forgotten
before that when the bundler takes another operation of that account, or the end of one is known, for that is what most
refusals of a nonce wait for. What a gateway turned away (401, 403, 429) no bundler has refused, and is not remembered.

Kept for each household and client apart, so that nobody hears what another's request came to; bounded in number and
bytes, of one household and in all. What finds no room is forgotten early: then the bundler is asked once more.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from proxy.bundler_answers import TOOK_NOTHING, Meaning, meaning_of_error
from proxy.ports import Forwarded, RequestContext
from proxy.userop.primitives import Address

REMEMBERED_SECONDS: Final = 2.0
MOST: Final = 4_096
MOST_BYTES: Final = 8 * 1024 * 1024
MOST_OF_ONE: Final = 512
"""Of one household; its bytes are bounded in the same part of all."""
_MOST_BYTES_OF_ONE: Final = MOST_BYTES * MOST_OF_ONE // MOST
_LET_GO_AT_ONCE: Final = 8  # of those that are over: more than come in


class _Name(NamedTuple):
    household: str
    client: str
    digest: bytes


@dataclass(slots=True)
class RefusedOperation:
    """One operation and what the bundler answered; `decision_id` is that of the verdict on it, if it was judged."""

    forwarded: Forwarded
    decision_id: str | None
    sender: Address
    until: float  # the stopwatch's seconds
    times: int = 0
    """How often it was handed in again."""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.forwarded.reply.body)


class RefusedBefore:
    """Of one chain. `stopwatch` gives monotonic seconds."""

    def __init__(self, stopwatch: Callable[[], float]) -> None:
        self._stopwatch = stopwatch
        self.known: OrderedDict[_Name, RefusedOperation] = (
            OrderedDict()
        )  # the oldest first, which is the first to be over
        """Nearly always empty: whoever has an operation in hand looks here first whether there is anything to ask."""
        self._bytes = 0
        self._of_household: dict[str, OrderedDict[_Name, None]] = {}
        self._household_bytes: dict[str, int] = {}
        self._of_sender: dict[Address, set[_Name]] = {}

    def find(self, context: RequestContext, method: str, params: bytes) -> RefusedOperation | None:
        """What was answered to these very bytes, handed in by this method and caller."""
        now = self._stopwatch()
        self._let_go(now)
        found = self.known.get(_name_of(context, method, params))
        if found is None or now >= found.until:
            return None
        found.times += 1
        return found

    def note(
        self,
        context: RequestContext,
        method: str,
        params: bytes,
        *,
        sender: Address,
        forwarded: Forwarded,
        decision_id: str | None,
    ) -> None:
        """A bundler has answered with an error; remembered if that is a refusal of its own."""
        reply, status = forwarded.reply, forwarded.status
        if status in TOOK_NOTHING:
            return
        if meaning_of_error(reply.error_code, reply.error_message, status) is not Meaning.REFUSED:
            return
        now = self._stopwatch()
        self._let_go(now)
        name = _name_of(context, method, params)
        if name in self.known:
            self._forget(name)
        refused = RefusedOperation(forwarded, decision_id, sender, now + REMEMBERED_SECONDS)
        self.known[name] = refused
        self._bytes += refused.size
        own = self._of_household.setdefault(name.household, OrderedDict())
        own[name] = None
        self._household_bytes[name.household] = self._household_bytes.get(name.household, 0) + refused.size
        self._of_sender.setdefault(sender, set()).add(name)
        while own and (len(own) > MOST_OF_ONE or self._household_bytes[name.household] > _MOST_BYTES_OF_ONE):
            self._forget(next(iter(own)))
        while len(self.known) > MOST or self._bytes > MOST_BYTES:
            self._forget(next(iter(self.known)))

    def forget(self, sender: Address) -> None:
        """Something of this account has changed: what was refused may be taken now."""
        for name in tuple(self._of_sender.get(sender, ())):
            self._forget(name)

    def _let_go(self, now: float) -> None:
        for _ in range(_LET_GO_AT_ONCE):
            if not self.known or now < self.known[name := next(iter(self.known))].until:
                return
            self._forget(name)

    def _forget(self, name: _Name) -> None:
        refused = self.known.pop(name)
        self._bytes -= refused.size
        self._household_bytes[name.household] -= refused.size
        own = self._of_household[name.household]
        del own[name]
        if not own:
            del self._of_household[name.household], self._household_bytes[name.household]
        of_sender = self._of_sender[refused.sender]
        of_sender.discard(name)
        if not of_sender:
            del self._of_sender[refused.sender]


def _name_of(context: RequestContext, method: str, params: bytes) -> _Name:
    digest = hashlib.blake2b(method.encode() + b" " + params, digest_size=16).digest()
    return _Name(context.remote or "", context.client, digest)
