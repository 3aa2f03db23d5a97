"""Which rules an operation concerns: each rule's match made into tests, and an index so that most are never asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from proxy.judge.facts import ALLOWED, Facts
from proxy.judge.rule import ANY_CHAIN, ANY_COIN, REJECTED, Match
from proxy.judge.tokens import Asset
from proxy.userop.movement import AssetKind, MovementKind

Test = Callable[[Facts], bool]

UNKNOWN_ASSET: Final = Asset(-1, None)
"""In a match made ready: something moves, and nobody can tell what."""

_UNTOLD: Final = (MovementKind.OPAQUE, MovementKind.UNATTRIBUTED)

LEAVING: Final = (MovementKind.SPEND, MovementKind.EXPOSURE)
"""Value that leaves the account, or that others may take later."""


def matcher(match: Match) -> Test:
    """One test out of all that a match asks, the cheapest first."""
    return _all_of(*_kind_tests(match), *_value_tests(match))


def _all_of(*tests: Test) -> Test:
    if not tests:
        return lambda _facts: True
    if len(tests) == 1:
        return tests[0]

    def fits(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110  # a loop is twice as fast as all() over a generator
            if not test(facts):
                return False
        return True

    return fits


def _kind_tests(match: Match) -> Iterator[Test]:
    """What is asked of nothing but the operation's kind; see `_kind_of`."""
    if (preview := match.preview) is not None:
        yield lambda facts: facts.preview is preview
    if (verdicts := match.verdicts) is not None:
        yield _verdict_test(verdicts)
    if (session := match.session) is not None:
        yield lambda facts: facts.session is session
    if (session_modes := match.session_modes) is not None:
        yield lambda facts: facts.mode in session_modes
    if (grant := match.grant) is not None:
        yield lambda facts: bool(facts.grants) is grant
    if (any_paymaster := match.any_paymaster) is not None:
        yield lambda facts: (facts.paymaster is not None) is any_paymaster
    if (any_act := match.any_act) is not None:
        yield lambda facts: bool(facts.acts) is any_act
    if (any_move := match.any_move) is not None:
        yield lambda facts: _moves_any(facts) is any_move


def _value_tests(match: Match) -> Iterator[Test]:
    yield from _member_tests(match)
    if match.targets is not None or match.selectors is not None:
        yield _call_test(match)
    if (acts := match.acts) is not None:
        yield lambda facts: not acts.isdisjoint(facts.acts)
    if (moves := match.moves) is not None:
        yield lambda facts: any(asset in moves for asset in assets_of(facts))


def _verdict_test(verdicts: frozenset[str]) -> Test:
    if REJECTED in verdicts:
        return lambda facts: facts.verdict != ALLOWED or ALLOWED in verdicts
    return lambda facts: facts.verdict in verdicts


_MEMBERS: Final[tuple[tuple[str, Callable[[Facts], object]], ...]] = (
    ("accounts", lambda facts: facts.account),
    ("permission_ids", lambda facts: facts.permission_id),
    ("clients", lambda facts: facts.client),
    ("chains", lambda facts: facts.chain),
    ("modules", lambda facts: facts.module),
    ("paymasters", lambda facts: facts.paymaster),
    ("methods", lambda facts: facts.method),
)


def _member_tests(match: Match) -> Iterator[Test]:
    for name, read in _MEMBERS:
        wanted = getattr(match, name)
        if wanted is not None:
            yield _member_test(wanted, read)


def _member_test(wanted: frozenset[object], read: Callable[[Facts], object]) -> Test:
    return lambda facts: read(facts) in wanted


def _call_test(match: Match) -> Test:
    targets, selectors = match.targets, match.selectors

    def some_call(facts: Facts) -> bool:
        return any(
            (targets is None or call.target in targets) and (selectors is None or call.selector in selectors)
            for call in facts.calls
        )

    return some_call


def _moves_any(facts: Facts) -> bool:
    for move in facts.moves:  # noqa: SIM110  # as above
        if move.kind in LEAVING:
            return True
    return False


def assets_of(facts: Facts) -> Iterator[Asset]:
    """What leaves the account or is exposed; a native coin also under the name it has on every chain."""
    for move in facts.moves:
        if move.kind in LEAVING:
            if move.token is not None:
                yield Asset(facts.chain_id, move.token)
                yield Asset(ANY_CHAIN, move.token)
                if move.asset is AssetKind.VAULT_ASSET:
                    yield UNKNOWN_ASSET  # what the vault holds leaves, and its call data does not name that
            elif move.asset is AssetKind.NATIVE:
                yield Asset(facts.chain_id, None)
                yield ANY_COIN
            else:
                yield UNKNOWN_ASSET
        elif move.kind in _UNTOLD:
            yield UNKNOWN_ASSET


# the index: a rule is filed under the values of one of its keys. One that names no value at all is filed by the kinds
# of operation it fits, of which there are few

_FILED: Final[tuple[tuple[str, Callable[[Facts], Iterable[object]]], ...]] = (
    ("permission_ids", lambda facts: (facts.permission_id,)),
    ("accounts", lambda facts: (facts.account,)),
    ("targets", lambda facts: [call.target for call in facts.calls]),
    ("moves", assets_of),
    ("selectors", lambda facts: [call.selector for call in facts.calls]),
    ("acts", lambda facts: facts.acts),
    ("paymasters", lambda facts: (facts.paymaster,)),
    ("modules", lambda facts: (facts.module,)),
    ("clients", lambda facts: (facts.client,)),
    ("methods", lambda facts: (facts.method,)),
    ("chains", lambda facts: (facts.chain,)),
)

_Kind = tuple[object, ...]


def _kind_of(facts: Facts) -> _Kind:
    """What `_kind_tests` look at, each from a closed set."""
    return (
        facts.preview,
        facts.verdict,
        facts.session,
        facts.mode,
        bool(facts.grants),
        facts.paymaster is not None,
        bool(facts.acts),
        _moves_any(facts),
    )


class Candidates(NamedTuple):
    """Positions of rules, and which of them were filed under what the operation has `parts` of."""

    positions: list[int]
    filed: Collection[int] = ()
    parts: int = 1


class Index:
    """The rules that may concern an operation, by their matches and in the order of the set."""

    def __init__(self, matches: Sequence[Match]) -> None:
        crowds = Counter(
            (name, value) for match in matches for name, _ in _FILED for value in getattr(match, name) or ()
        )
        by_name: dict[str, dict[object, list[int]]] = {}
        self._by_kind: list[tuple[int, Test]] = []
        for position, match in enumerate(matches):
            name = _least_crowded(match, crowds)
            if name is None:
                self._by_kind.append((position, _all_of(*_kind_tests(match))))
                continue
            filed = by_name.setdefault(name, {})
            for value in getattr(match, name):
                filed.setdefault(value, []).append(position)
        self._files = [(read, by_name[name]) for name, read in _FILED if name in by_name]
        self._of_kind: dict[_Kind, Candidates] = {}

    def candidates(self, facts: Facts) -> Candidates:
        """The rules whose filed key fits; the rest of their match is still to be tested."""
        kind = _kind_of(facts)
        of_kind = self._of_kind.get(kind)
        if of_kind is None:
            fitting = [position for position, fits in self._by_kind if fits(facts)]
            of_kind = self._of_kind[kind] = Candidates(fitting)
        found: set[int] = set()
        for read, filed in self._files:
            for value in read(facts):
                if (positions := filed.get(value)) is not None:
                    found.update(positions)
        if not found:
            return of_kind
        parts = max(len(facts.calls), len(facts.moves), 1)
        return Candidates(sorted(found.union(of_kind.positions)), found, parts)


def _least_crowded(match: Match, crowds: Counter[tuple[str, object]]) -> str | None:
    """Of the keys with values, the one under whose values the fewest rules stand: many rules may name one token, and
    each of them another session."""
    named = [name for name, _ in _FILED if getattr(match, name) is not None]
    return min(named, key=lambda name: sum(crowds[name, value] for value in getattr(match, name)), default=None)
