"""Which rules an operation concerns: each rule's match made into tests, and an index so that most are never asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from itertools import chain
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
    yield from _member_tests(match, _OF_KIND)


def _value_tests(match: Match) -> Iterator[Test]:
    yield from _member_tests(match, _MEMBERS)
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


_Members = tuple[tuple[str, Callable[[Facts], object]], ...]

_OF_KIND: Final[_Members] = (
    ("chains", lambda facts: facts.chain),
    ("methods", lambda facts: facts.method),
    ("modules", lambda facts: facts.module),
)
_MEMBERS: Final[_Members] = (
    ("accounts", lambda facts: facts.account),
    ("permission_ids", lambda facts: facts.permission_id),
    ("clients", lambda facts: facts.client),
    ("paymasters", lambda facts: facts.paymaster),
)


def _member_tests(match: Match, members: _Members) -> Iterator[Test]:
    for name, read in members:
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

_FILED: Final[tuple[tuple[str, Callable[[Facts], Collection[object]]], ...]] = (
    ("permission_ids", lambda facts: (facts.permission_id,)),
    ("accounts", lambda facts: (facts.account,)),
    ("targets", lambda facts: [call.target for call in facts.calls]),
    ("moves", lambda facts: list(assets_of(facts))),
    ("selectors", lambda facts: [call.selector for call in facts.calls]),
    ("acts", lambda facts: facts.acts),
    ("paymasters", lambda facts: (facts.paymaster,)),
    ("clients", lambda facts: (facts.client,)),
)

_FEW: Final = 8
"""So many rules in one place are asked one after another, without asking by kind first."""
_MOST_KINDS: Final = 4_096
"""Kinds of operation that are remembered in one place: far more than there are, but nothing grows without end."""

_ENTRIES_AT_ONCE: Final = 10_000
"""So many rules are taken out of places where they are filed before others are let on."""

_Kind = tuple[object, ...]

_KIND_FIELDS: Final = (
    *("preview", "verdicts", "session", "session_modes", "grant", "any_paymaster", "any_act", "any_move"),
    *("chains", "methods", "modules"),
)
"""What `_kind_tests` look at: rules that say the same there share one test."""


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
        facts.chain,
        facts.method,
        facts.module,
    )


class Candidates(NamedTuple):
    """Positions of rules, and which of them were filed under what the operation has `parts` of."""

    positions: list[int]
    filed: Collection[int] = ()
    parts: int = 1


class _Pile:
    """Rules in one place of the index, by what they ask of an operation's kind, and which of them fit each kind."""

    __slots__ = ("_asking", "_by_kind", "_fitting", "size")

    def __init__(self) -> None:
        self._asking: dict[Test, list[int]] = {}  # positions, in order, by the test of their kind
        self._by_kind: dict[_Kind, list[int]] = {}
        self._fitting: dict[tuple[Test, ...], list[int]] = {}  # nearly all kinds have the same few
        self.size = 0

    def add(self, position: int, of_kind: Test) -> None:
        """One more, in the order of the set."""
        self._asking.setdefault(of_kind, []).append(position)
        self.size += 1

    def of_kind(self, kind: _Kind, facts: Facts) -> list[int]:
        """Positions of the rules that fit operations of this kind, such as this one. Not to be changed."""
        found = self._by_kind.get(kind)
        if found is None:
            if len(self._by_kind) >= _MOST_KINDS:
                self._by_kind.clear()
                self._fitting.clear()
            fitting = tuple(fits for fits in self._asking if fits(facts))
            found = self._fitting.get(fitting)
            if found is None:
                found = self._asking[fitting[0]] if len(fitting) == 1 else self._together(fitting)
                self._fitting[fitting] = found
            self._by_kind[kind] = found
        return found

    def some(self, kind: _Kind, facts: Facts) -> Iterable[int]:
        """The same, but few rules are not asked for their kind: that costs less than to remember the answer."""
        return self.of_kind(kind, facts) if self.size > _FEW else chain.from_iterable(self._asking.values())

    def _together(self, fitting: Iterable[Test]) -> list[int]:
        return sorted(chain.from_iterable(self._asking[fits] for fits in fitting))


class Index:
    """The rules that may concern an operation, by their matches and in the order of the set."""

    def __init__(self, matches: Sequence[Match]) -> None:
        crowds = crowds_of(matches)
        kinds: dict[Hashable, Test] = {}
        by_name: dict[str, dict[object, _Pile]] = {}
        self._plain = _Pile()  # those whose kind is all that they ask
        self.tests: list[Test | None] = []
        """What is still to be asked of a candidate, by position; `None` where nothing is."""
        for position, match in enumerate(matches):
            asked = tuple(getattr(match, name) for name in _KIND_FIELDS)
            of_kind = kinds.setdefault(asked, _all_of(*_kind_tests(match)))
            name = least_crowded(match, crowds)
            if name is None:
                self._plain.add(position, of_kind)
                self.tests.append(None)
                continue
            filed = by_name.setdefault(name, {})
            for value in getattr(match, name):
                filed.setdefault(value, _Pile()).add(position, of_kind)
            self.tests.append(matcher(match))
        self._files = [(read, by_name[name]) for name, read in _FILED if name in by_name]

    def parts(self) -> list[object]:
        """All of it that is as many as there are matches."""
        piles = [pile for _, filed in self._files for pile in filed.values()]
        return [*self.tests, *piles]

    def candidates(self, facts: Facts) -> Candidates:
        """The rules whose filed key and kind fit; what is left to ask of each is in `tests`."""
        search = self.search(facts)
        while (found := search.go_on()) is None:
            pass
        return found

    def search(self, facts: Facts) -> Search:
        """The same, piece by piece."""
        piles = []
        for read, filed in self._files:
            values = read(facts)
            piles += [
                filed[value] for value in (dict.fromkeys(values) if len(values) > 1 else values) if value in filed
            ]
        return Search(self._plain, piles, facts)


class Search:
    """The rules that may concern an operation, looked for in one place of the index after the other."""

    def __init__(self, plain: _Pile, piles: Sequence[_Pile], facts: Facts) -> None:
        self._kind = _kind_of(facts)
        self._plain = plain
        self._piles = piles
        self._facts = facts
        self._looked = 0
        self._found: set[int] = set()

    def go_on(self) -> Candidates | None:
        """Those that there are, or `None` while there are more places: then others should be let on."""
        kind, facts, piles, found = self._kind, self._facts, self._piles, self._found
        seen, looked, most = 0, self._looked, len(piles)
        while looked < most:
            if seen > _ENTRIES_AT_ONCE:
                self._looked = looked
                return None
            pile = piles[looked]
            found.update(pile.some(kind, facts))
            seen += pile.size + 1
            looked += 1
        self._looked = looked
        plain = self._plain.of_kind(kind, facts)
        if not found:
            return Candidates(plain)
        return Candidates(sorted([*plain, *found]), found, max(len(facts.calls), len(facts.moves), 1))


def crowds_of(matches: Iterable[Match]) -> Counter[tuple[str, object]]:
    """How many matches name each value of each key."""
    return Counter((name, value) for match in matches for name, _ in _FILED for value in getattr(match, name) or ())


def least_crowded(match: Match, crowds: Counter[tuple[str, object]]) -> str | None:
    """Of the keys with values, the one under whose values the fewest rules stand: many rules may name one token, and
    each of them another session."""
    named = [name for name, _ in _FILED if getattr(match, name) is not None]
    return min(named, key=lambda name: sum(crowds[name, value] for value in getattr(match, name)), default=None)


class Widest:
    """Matches that may be wider than another, by what each of them names."""

    def __init__(self, matches: Sequence[Match]) -> None:
        crowds = crowds_of(matches)
        self._all = range(len(matches))
        self._plain: list[int] = []
        self._filed: dict[tuple[str, object], list[int]] = {}
        for position, match in enumerate(matches):
            name = least_crowded(match, crowds)
            if name is None:
                self._plain.append(position)
            for value in getattr(match, name) if name is not None else ():
                self._filed.setdefault((name or "", value), []).append(position)

    def candidates(self, narrow: Match) -> Iterable[int]:
        """Positions of those that may take in all that this one does, in their order."""
        found = list(self._plain)
        for name, _ in _FILED:
            values = getattr(narrow, name)
            if values is not None:
                if not values:
                    return self._all  # of nothing, anything is wider
                # whoever is wider names all of its values
                found += self._filed.get((name, next(iter(values))), ())
        return sorted(found)
