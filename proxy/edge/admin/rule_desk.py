"""What ops ask of the rules in force and do to them: what is left or would change, to count anew, to allow by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from heapq import heappush, heappushpop
from typing import Any, Final, NamedTuple

from proxy.document import did_you_mean
from proxy.edge.admin.query import AllowanceRequest
from proxy.edge.admin.server import Json
from proxy.edge.rule_files.book import RuleBook
from proxy.edge.storage.store import Store
from proxy.errors import InvalidParams, StateUnavailable
from proxy.judge.allowance import Allowance
from proxy.judge.asked import in_words
from proxy.judge.counts import CountKey
from proxy.judge.group import chain_of, group_in_words, mark_of, most_under, thing_of
from proxy.judge.measure import print_measure
from proxy.judge.parse import RuleFault
from proxy.judge.rule import FirstSeen, Limit, Rate, Rule
from proxy.ledger.rule_counts import RuleCounts

_AT_ONCE: Final = 100
"""Keys that are looked at, and half as many rows that are printed, before others get their turn."""


class _Row(NamedTuple):
    """What is counted under one key, the fuller the greater."""

    percent: int
    key: CountKey
    used: int
    in_flight: int


class _Counting(NamedTuple):
    """A rule with a window, in words."""

    rule: Rule
    check: Limit | Rate
    window: str


class RuleDesk:
    """Answers from a running gate. `chains` are the ids of its chains by name, `clock` gives unix seconds."""

    def __init__(
        self,
        book: RuleBook,
        counts: RuleCounts,
        store: Store,
        chains: Mapping[str, int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._counts = counts
        self._store = store
        self._chains = chains
        self._clock = clock
        self._looking = asyncio.Lock()

    async def difference(self) -> Json:
        """What a reload of the files as they are now would change; nothing is put in force."""
        parsed, changes = await self._book.preview()
        return {
            "ok": parsed.ruleset is not None,
            "inForce": self._book.ruleset.digest,
            "digest": None if parsed.ruleset is None else parsed.ruleset.digest,
            "faults": [_fault(each) for each in parsed.faults],
            "warnings": [_fault(each) for each in parsed.warnings],
            "difference": changes.as_json(),
        }

    async def budget(self, rule: str | None, limit: int) -> Json:
        """What is counted, in flight and left of each window, the fullest first, at most `limit` of them."""
        async with self._looking:  # however many ask, one looks
            rules: dict[bytes, _Counting] = {}
            for looked, (identity, counting) in enumerate(self._counting(rule), 1):
                if looked % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                rules[identity] = counting
            fullest: list[_Row] = []
            keys = 0
            for looked, key in enumerate(self._counts.keys_now(), 1):
                if looked % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                row = None if key.rule not in rules else self._row(rules[key.rule].check, key)
                if row is not None:
                    keys += 1
                    (heappush if len(fullest) < limit else heappushpop)(fullest, row)
            told = []
            for printed, row in enumerate(sorted(fullest, reverse=True), 1):
                if printed % (_AT_ONCE // 2) == 0:
                    await asyncio.sleep(0)
                told.append(self._printed(rules[row.key.rule], row))
        return {"keys": keys, "budgets": told, "doubtedBefore": self._counts.whole_since}

    def _counting(self, name: str | None) -> Iterator[tuple[bytes, _Counting]]:
        if name is not None:
            self._rule(name)
        for rule in self._book.ruleset.rules:
            if isinstance(rule.check, Limit | Rate) and rule.check.window is not None and name in (None, rule.id):
                yield rule.identity, _Counting(rule, rule.check, in_words(rule.check.window))

    def _row(self, check: Limit | Rate, key: CountKey) -> _Row | None:
        used, in_flight = self._counts.used(key, self._clock())
        most = most_under(check, key.group)
        if most is None or not (used or in_flight):
            return None
        return _Row((used + in_flight) * 100 // most, key, used, in_flight)

    def _printed(self, counting: _Counting, row: _Row) -> dict[str, object]:
        rule, check, key = counting.rule, counting.check, row.key
        most = most_under(check, key.group) or 0

        def shown(amount: int) -> str:
            if isinstance(check, Limit) and check.amount is not None:
                chain_id = chain_of(key.group, check.per)
                return print_measure(amount, check.amount, chain_id, self._book.ruleset.tokens)
            return str(amount)

        return {
            "rule": rule.id,
            "mode": self._book.effective_mode(rule.mode).value,
            "for": group_in_words(key.group, check.per),
            "key": key.group.hex(),
            "window": counting.window,
            "limit": shown(most),
            "used": shown(row.used),
            "inFlight": shown(row.in_flight),
            "left": shown(max(most - row.used - row.in_flight, 0)),
            "percent": row.percent,
        }

    async def reset(self, rule: str, key: str | None) -> Json:
        """Forget what a rule has counted and learnt, of one key or of all. What is in flight stays held."""
        found = self._rule(rule)
        try:
            group = None if key is None else bytes.fromhex(key.removeprefix("0x"))
        except ValueError:
            raise InvalidParams("key", "no hex; copy it from rules budget") from None
        forgotten = 0
        for gone in self._counts.forget(found.identity, group):
            if gone:  # handed over before anything of these keys is counted anew
                await self._store.forget_counts(found.identity, [key.group for key in gone])
                forgotten += len(gone)
            else:
                await asyncio.sleep(0)
        if group is not None and not forgotten:
            key_there = CountKey(found.identity, group)
            if self._counts.used(key_there, self._clock())[1]:
                raise InvalidParams("key", "all that is counted under it is in flight, and held until its end is known")
            raise InvalidParams("key", "the rule counts nothing under it; copy it from rules budget")
        whom = {} if group is None else group_in_words(group, getattr(found.check, "per", ()))
        return {"rule": rule, "key": key, "for": whom, "forgotten": forgotten}

    async def accept(self) -> Json:
        """Take what rules have counted as it is, though a ledger that was put back may lack some of it."""
        since = self._counts.whole_since
        await self._store.save_rewound(None)
        self._counts.doubt_before(None)
        return {"doubtedBefore": since}

    # by hand

    async def allowances(self) -> Json:
        """What is allowed by hand."""
        now = self._clock()
        told = sorted(self._book.allowances, key=lambda each: each.since)
        return {"allowances": [_allowance(each, now) for each in told]}

    async def allow(self, wanted: AllowanceRequest) -> Json:
        """Take a thing for known, on disk when this returns."""
        mark = self.mark(wanted.rule, wanted.thing, wanted.chain)
        now = self._clock()
        if wanted.until is not None and wanted.until <= now:
            raise InvalidParams("until", "that is past")
        allowance = Allowance(
            rule=wanted.rule, mark=mark, thing=wanted.thing, since=now, until=wanted.until, reason=wanted.reason
        )
        await self._store.save_allowance(allowance)
        self._book.allowances.put(allowance)
        return _allowance(allowance, now)

    async def disallow(self, rule: str, thing: str, chain: str | None) -> int:
        """Allow it no more; how many there were."""
        mark = self.mark(rule, thing, chain)
        dropped = self._book.allowances.drop(rule, mark)
        if dropped is None:
            return 0
        try:
            await self._store.drop_allowance(rule, mark)
        except StateUnavailable:
            self._book.allowances.put(dropped)
            raise
        return 1

    def _rule(self, name: str) -> Rule:
        rule = self._book.rule(name)
        if rule is None:
            nearest = did_you_mean(name, [each.id for each in self._book.ruleset.rules])
            raise InvalidParams("rule", f"no rule in force has this id{f'; {nearest}' if nearest else ''}")
        return rule

    def mark(self, name: str, thing: str, chain: str | None) -> bytes:
        """By what the histories of a rule know a thing. Raises `InvalidParams`."""
        check = self._rule(name).check
        if not isinstance(check, FirstSeen):
            raise InvalidParams("rule", "only a rule of first_seen knows things by name")
        if chain is not None and chain not in self._chains:
            raise InvalidParams("chain", f"not configured; wanted one of {', '.join(self._chains)}")
        chain_id = next(iter(self._chains.values())) if len(self._chains) == 1 else self._chains.get(chain or "")
        found = thing_of(check.of, thing, chain_id)
        if isinstance(found, str):
            raise InvalidParams("thing", found)
        return mark_of(found)


def _allowance(allowance: Allowance, now: float) -> dict[str, object]:
    return {
        "rule": allowance.rule,
        "thing": allowance.thing,
        "since": allowance.since,
        "until": allowance.until,
        "ended": allowance.until is not None and allowance.until <= now,
        "reason": allowance.reason,
    }


def _fault(fault: RuleFault) -> dict[str, Any]:  # Any: texts, numbers and none
    return {
        "file": fault.place.path,
        "line": fault.place.line,
        "column": fault.place.column,
        "rule": fault.rule,
        "problem": fault.problem,
        "suggestion": fault.suggestion,
    }
