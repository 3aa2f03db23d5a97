"""What is counted of rules. Their ids come from files that ops write, so the series are those of the set in force: a
reload makes the series of new rules, at zero, and takes away those of rules that are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from proxy.edge.telemetry.tallies import LoopCounter, LoopGauge
from proxy.judge.counts import CountKey
from proxy.judge.verdict import Mode
from proxy.session.lint.findings import Severity

GONE: Final = "other"
"""All labels of a hit by a rule that a reload took away, or changed in mode or severity, while it was judging."""

_A_PIECE: Final = 50
"""Rules whose series are made, measured or taken away before others get their turn."""

NO_RULES: Final = "none"
"""The digest label until a set has been read."""


_made: Final = tuple.__new__
"""Makes a named tuple without a call of Python's: several are made for each operation."""


class ReloadReason(StrEnum):
    """Why the rules were read again."""

    FILE = "file"  # one of their files changed
    SIGNAL = "signal"  # SIGHUP
    ADMIN = "admin"  # POST /rules/reload


class Result(StrEnum):
    """What came of it."""

    SUCCESS = "success"
    FAILURE = "failure"  # the files are faulty: the last good set stays in force


class RuleName(NamedTuple):
    """A rule as its series are labelled; `mode` is the rule's own, lowered to the gate's."""

    rule: str
    mode: Mode
    severity: Severity


class RuleInfo(NamedTuple):
    """What a rule says of itself, for alerts on its series."""

    rule: str
    mode: Mode
    severity: Severity
    owner: str
    runbook: str


class _Window(NamedTuple):
    """Whose, and what share of the limit was used when it was looked at last."""

    key: CountKey
    share: float


class RuleMetrics:
    """The counters and gauges of rules, in the registry of one gate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self._hits = LoopCounter(
            "sessiongate_rule_hits_total",
            "Operations a rule fired on; in `enforce` they were rejected, otherwise they would have been.",
            ["rule", "mode", "severity"],
            registry=registry,
        )
        self._opened = LoopCounter(
            "sessiongate_rule_opened_total",
            "Operations a rule could not judge for want of a fact and, with `fail: open`, let pass.",
            ["rule"],
            registry=registry,
        )
        self._loaded = gauge("sessiongate_rules_loaded", "Rules in force, those in mode off left out.")
        self._info = gauge("sessiongate_rules_info", "Always 1; the label names the set in force.", ["digest"])
        self._reloads = counter(
            "sessiongate_rules_reload_total", "Times the rule files were read again.", ["reason", "result"]
        )
        for reason in ReloadReason:
            for result in Result:
                self._reloads.labels(reason, result)
        self._successful = gauge(
            "sessiongate_rules_last_reload_successful", "1 when the rule files as they were read last are in force."
        )
        self._succeeded_at = gauge(
            "sessiongate_rules_last_reload_success_timestamp_seconds",
            "When rule files were last read without fault, in unix seconds.",
        )
        self._rule_info = gauge(
            "sessiongate_rule_info",
            "Always 1; the labels say who owns a rule in force and where its runbook is.",
            ["rule", "mode", "severity", "owner", "runbook"],
        )
        self._budget = LoopGauge(
            "sessiongate_rule_budget_used_ratio",
            "Of the fullest window that an operation met, the share of the rule's limit that is used.",
            ["rule", "severity"],
            registry=registry,
        )
        self._severities: dict[str, Severity] = {}
        self._infos: dict[str, RuleInfo] = {}
        self._wanted_infos: dict[str, RuleInfo] = {}
        self._in_force: Collection[RuleName] = ()
        self._budget_of: dict[str, LoopGauge] = {}
        self._fullest: dict[str, _Window] = {}
        self._digest = NO_RULES
        self._info.labels(NO_RULES).set(1)
        self._gone = self._hits.labels(GONE, GONE, GONE)
        self._opened_gone = self._opened.labels(GONE)
        self._hits_of: dict[RuleName, LoopCounter] = {}
        self._opened_of: dict[str, LoopCounter] = {}
        self._since_start: dict[str, int] = {}

    def welcome(self, rules: Collection[RuleName]) -> Iterator[None]:
        """Make the series that these rules lack, a piece of work at a time."""
        for count, name in enumerate(rules, 1):
            if name not in self._hits_of:
                self._hits_of[name] = self._hits.labels(*name)
            if name.rule not in self._opened_of:
                self._opened_of[name.rule] = self._opened.labels(name.rule)
            if count % _A_PIECE == 0:
                yield

    def going_in_force(self, rules: Collection[RuleName], digest: str) -> Iterator[None]:
        """From now on these rules judge; those in mode `off` are not among them. Take the series of others away, a
        piece of work at a time. What is looked up among very many `rules` is faster in a set or a mapping."""
        yield from self.welcome(rules)
        self._in_force = wanted = rules
        yield
        if self._in_force is not wanted:
            return  # others judge by now
        ids = dict.fromkeys(name.rule for name in rules)
        self._loaded.set(len(ids))
        if digest != self._digest:
            self._info.remove(self._digest)
            self._info.labels(digest).set(1)
            self._digest = digest
        for count, name in enumerate(tuple(self._hits_of), 1):
            if count % _A_PIECE == 0:
                yield
                if self._in_force is not wanted:
                    return  # likewise
            if name not in wanted:
                del self._hits_of[name]
                self._hits.remove(*name)
        for count, rule in enumerate([rule for rule in self._opened_of if rule not in ids], 1):
            if count % _A_PIECE == 0:
                yield
                if self._in_force is not wanted:
                    return  # likewise
            del self._opened_of[rule]
            self._opened.remove(rule)
            self._since_start.pop(rule, None)

    def in_force(self, rules: Collection[RuleName], digest: str) -> None:
        """The same in one piece."""
        deque(self.going_in_force(rules, digest), maxlen=0)

    def describing(self, rules: Collection[RuleInfo]) -> Iterator[None]:
        """Say who owns the rules in force, and where it is written what to do when they fire, a piece of work at a
        time. Of no rule there are two of these at once."""
        wanted = {info.rule: info for info in rules}
        self._wanted_infos = wanted
        yield
        if self._wanted_infos is not wanted:
            return  # others are described by now
        self._severities = {info.rule: info.severity for info in rules}
        yield
        left = [info for info in self._infos.values() if info.rule not in wanted]
        for count, info in enumerate([*wanted.values(), *left], 1):
            if count % _A_PIECE == 0:
                yield
            if self._wanted_infos is not wanted:
                return  # likewise
            before, now = self._infos.get(info.rule), wanted.get(info.rule)
            if before == now:
                continue
            if before is not None:
                self._forget(before, now)
            if now is not None:
                self._rule_info.labels(*now).set(1)
                self._infos[now.rule] = now

    def described(self, rules: Collection[RuleInfo]) -> None:
        """The same in one piece."""
        deque(self.describing(rules), maxlen=0)

    def _forget(self, info: RuleInfo, now: RuleInfo | None) -> None:
        self._rule_info.remove(*info)
        del self._infos[info.rule]
        is_other = now is None or now.severity != info.severity
        if is_other and self._budget_of.pop(info.rule, None) is not None:
            self._budget.remove(info.rule, info.severity)
            self._fullest.pop(info.rule, None)

    def budget_used(self, rule: str, used: int, limit: int, key: CountKey) -> None:
        """Record how much of a limit the window under this key has used, in flight included.

        The fullest window stands for its rule: one that is fuller takes its place at once, and what leaves it is seen
        by `measuring`.
        """
        if limit <= 0 or rule not in self._severities:
            return
        share, before = used / limit, self._fullest.get(rule)
        if before is None:
            self._stands(rule, _Window(key, share))
        elif share >= before.share or key == before.key:
            self._fullest[rule] = _made(_Window, (key, share))
            if share != before.share:
                self._budget_of[rule].tally = share

    def measuring(self, share_of: Callable[[CountKey], float | None]) -> Iterator[None]:
        """Look again at the windows that stand for their rules, a piece of work at a time: what was counted leaves
        them, and who filled one may never come back. `share_of` says how much of its limit is used under a key now,
        or `None` where no rule counts under it any more."""
        for count, (rule, before) in enumerate(tuple(self._fullest.items()), 1):
            if count % _A_PIECE == 0:
                yield
            if self._fullest.get(rule) is before:
                self._stands(rule, _Window(before.key, share_of(before.key) or 0.0))

    def _stands(self, rule: str, window: _Window) -> None:
        before = self._fullest.get(rule)
        self._fullest[rule] = window
        gauge = self._budget_of.get(rule)
        if gauge is None:
            gauge = self._budget_of[rule] = self._budget.labels(rule, self._severities[rule])
        if before is None or before.share != window.share:
            gauge.set(window.share)

    def decided(self, hits: Iterable[RuleName], opened: Iterable[str] = ()) -> None:
        """Count the rules that fired on one operation, and those that let it pass for want of a fact."""
        for name in hits:
            self._hits_of.get(name, self._gone).tally += 1
            if name.rule in self._opened_of:
                self._since_start[name.rule] = self._since_start.get(name.rule, 0) + 1
        for rule in opened:
            self._opened_of.get(rule, self._opened_gone).tally += 1

    def hits_of(self, rule: str) -> int:
        """On how many operations a rule in force has fired since the gate started, whatever its mode was."""
        return self._since_start.get(rule, 0)

    def reloaded(self, reason: ReloadReason, result: Result) -> None:
        """Count a reload."""
        self._reloads.labels(reason, result).inc()

    def read(self, *, good: bool, now: float) -> None:
        """Record whether the files as they were read just now, in unix seconds, are in force."""
        self._successful.set(good)
        if good:
            self._succeeded_at.set(now)
