"""The bundlers of one chain as the settings name them, and those they named before that still have something in flight.

No I/O. Seconds are monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from proxy.edge.http.bundler_health import Placements, QuestionKind
from proxy.edge.http.endpoints import BundlerEndpoint, Health, endpoint_at
from proxy.ledger.reservation import NonceSlot


class Roster:
    """Whom to ask, in which order. `placements` say where operations are."""

    def __init__(self, chain: str, urls: Sequence[str], in_flight: Callable[[NonceSlot], bool]) -> None:
        self._chain = chain
        self._numbers = count(1)
        self._left: tuple[BundlerEndpoint, ...] = ()
        self.placements = Placements(in_flight)
        self.endpoints = tuple(self._endpoint(index, url) for index, url in enumerate(urls))
        self.generation = 0  # goes up when names may mean others than before
        if not self.endpoints:
            raise ValueError(f"{chain}: no bundler")

    def _endpoint(self, index: int, url: str) -> BundlerEndpoint:
        return endpoint_at(f"{self._chain}#{index}", url, next(self._numbers))

    def take(self, urls: Sequence[str]) -> None:
        """From now on these. One that was there before is known as it was; one at the same host and port is the same
        with another key. One that is named no more is sent nothing new, but replacements of what is in flight there.
        """
        fresh = [self._endpoint(index, url) for index, url in enumerate(urls)]
        before = [*self.endpoints, *self._left]
        self.endpoints = _recognised(fresh, before)
        gone = [each for each in before if each not in self.endpoints]
        for each in gone:
            each.name = f"{self._chain}#removed"
        self._left = tuple(gone)
        self.generation += 1

    @property
    def alone(self) -> BundlerEndpoint | None:
        """The one that there is, where no other has anything in flight either."""
        endpoints = self.endpoints
        return endpoints[0] if len(endpoints) == 1 and not (self._left and self.removed) else None

    @property
    def removed(self) -> tuple[BundlerEndpoint, ...]:
        """Those that the settings name no more and that have something in flight."""
        if self._left:
            self._left = tuple(each for each in self._left if self.placements.has(each.number))
        return self._left

    def placed(self, slot: NonceSlot, mark: str) -> None:
        """What is held in this slot was sent to the bundler of that mark, which may be none any more."""
        for endpoint in (*self.endpoints, *self._left):
            if endpoint.mark == mark:
                self.placements.answered(slot, self.placements.sent(slot, endpoint.number, 0.0))
                return

    def order(self, kind: QuestionKind, now: float, slot: NonceSlot | None = None) -> Sequence[BundlerEndpoint]:
        """Whom to ask, one after the other.

        Endpoints in configured order, then those resting from such questions, then those that could not be reached
        when last tried. What may be at one with this very nonce goes to that one only; what follows on the same nonce
        key, to that one first, unless the settings name it no more.
        """
        ordered = self._usable(kind, now)
        if slot is None:
            return ordered
        if (there := self.placements.bundler_of(slot, now)) is not None:
            return [endpoint for endpoint in (*ordered, *self._left) if endpoint.number == there]
        if (len(ordered) > 1 or self._left) and (first := self.placements.bundler_of_key(slot, now)) is not None:
            return sorted(ordered, key=lambda endpoint: endpoint.number != first)
        return ordered

    def _usable(self, kind: QuestionKind, now: float) -> Sequence[BundlerEndpoint]:
        for endpoint in self.endpoints:
            if not endpoint.is_well(kind):
                break
        else:  # as nearly always
            return self.endpoints
        usable = [endpoint for endpoint in self.endpoints if endpoint.health is not Health.MISCONFIGURED]
        return sorted(
            usable,
            key=lambda endpoint: (endpoint.health is Health.UNREACHABLE, endpoint.breakers[kind].is_resting(now)),
        )


def _recognised(fresh: Sequence[BundlerEndpoint], before: Sequence[BundlerEndpoint]) -> tuple[BundlerEndpoint, ...]:
    """Of each that is named now the one that it was before: by its URL, and of the others by scheme, host and port."""
    left = list(before)
    found: dict[int, BundlerEndpoint] = {}
    for alike in (_same_url, _same_host):
        for index, each in enumerate(fresh):
            same = None if index in found else next((other for other in left if alike(each, other)), None)
            if same is not None:
                left.remove(same)
                found[index] = same
    for index, same in found.items():
        each = fresh[index]
        if same.url != each.url:
            same.go_on_as(each)
        same.name = each.name
    return tuple(found.get(index, each) for index, each in enumerate(fresh))


def _same_url(one: BundlerEndpoint, other: BundlerEndpoint) -> bool:
    return one.url == other.url


def _same_host(one: BundlerEndpoint, other: BundlerEndpoint) -> bool:
    return one.url.origin() == other.url.origin()
