"""The rules in force: read at start, read again when told or when their files change, swapped whole.

Whoever judges takes `judge` once for each judgement and so sees one set only. Reading and parsing happen in a thread:
requests are answered meanwhile, by the set in force. What is faulty changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.config import Config
from proxy.document import Place
from proxy.edge.rule_files.reading import as_config_faults, read_rules
from proxy.edge.rule_files.watch import LOOK_SECONDS, Marks, Watch, look
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.rule_metrics import ReloadReason, Result, RuleInfo, RuleName
from proxy.errors import ConfigErrors, StateUnavailable
from proxy.judge.allowance import Allowances
from proxy.judge.difference import NO_DIFFERENCE, Difference, difference
from proxy.judge.evaluate import Judge
from proxy.judge.parse import Parsed, RuleFault
from proxy.judge.prepared import lower
from proxy.judge.rule import Rule, Ruleset
from proxy.judge.verdict import Mode

_LOG: Final = logging.getLogger(__name__)
_READINGS: Final = 5
_REST_SECONDS: Final = 0.2
_FREED_AT_ONCE: Final = 250

Keep = Callable[[Collection[bytes]], Awaitable[None]]
"""Told the identities of the rules in force: what others have counted may be forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadResult:
    """What came of reading the rules again. With faults the set before stays in force, and `digest` is that one's."""

    digest: str
    faults: tuple[RuleFault, ...] = ()
    warnings: tuple[RuleFault, ...] = ()
    difference: Difference = NO_DIFFERENCE

    @property
    def ok(self) -> bool:
        """Whether the files as they were read are in force."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """Of which rules there are series, and what those say."""

    names: dict[RuleName, None]
    infos: list[RuleInfo]
    by_id: dict[str, Rule]


async def _in_turn(pieces: Iterator[None]) -> None:
    """Do all of the work; others have their turn after each piece, the last one too."""
    for _ in pieces:
        await asyncio.sleep(0)
    await asyncio.sleep(0)


def _tell_changes(changes: Difference, after: Ruleset) -> None:
    for line in changes.lines(after):
        _LOG.info("rules: %s", line)


def _let_go(parts: list[object]) -> Iterator[None]:
    """Free what nobody else has any more: thousands of rules at once would hold everybody up."""
    while parts:
        del parts[-_FREED_AT_ONCE:]
        yield


class RuleBook:
    """The rules of all chains. `read` gives them as the files are now, `look` tells whether these have changed, or
    those that they were found to name."""

    def __init__(
        self, read: Callable[[], Parsed], look: Callable[[Collection[str]], Marks], *, ceiling: Mode, metrics: Metrics
    ) -> None:
        self._read_files = read
        self._look_at = look
        self._beside: tuple[str, ...] = ()
        self._ceiling = ceiling
        self._metrics = metrics
        self.allowances = Allowances()
        self.first_on_signal: list[Callable[[], Awaitable[object]]] = []
        self._judge = Judge(Ruleset(), ceiling=ceiling)
        self._by_id: dict[str, Rule] = {}
        self._watch = Watch(self._look)
        self._keepers: list[Keep] = []
        self._hearers: list[Callable[[ReloadReason, ReloadResult], None]] = []
        self._one_at_a_time = asyncio.Lock()

    @property
    def judge(self) -> Judge:
        """The rules in force. A reload makes another one and never changes this: take it once for each judgement."""
        return self._judge

    @property
    def ruleset(self) -> Ruleset:
        """What is in force."""
        return self._judge.ruleset

    def rule(self, name: str) -> Rule | None:
        """A rule in force, by its id."""
        return self._by_id.get(name)

    def load(self) -> None:
        """Read the rules at start. Raises `ConfigErrors` with every fault: a gate does not begin without its rules."""
        marks = self._look()
        parsed = self._read()
        if self._beside:
            # files that were not looked at before they were read
            marks = self._look()
            parsed = self._read()
        if parsed.ruleset is None:
            raise ConfigErrors(as_config_faults(parsed.faults))
        self._watch.read(marks)
        self._put(self._judge_of(parsed.ruleset))
        for warning in parsed.warnings:
            _LOG.warning("rules: %s", warning)

    def _judge_of(self, ruleset: Ruleset) -> Judge:
        return Judge(ruleset, ceiling=self._ceiling, allowed=self.allowances.covers)

    async def preview(self) -> tuple[Parsed, Difference]:
        """The files as they are now, and what a reload would change; nothing is put in force."""
        parsed = await asyncio.to_thread(self._read_files)
        if parsed.ruleset is None:
            return parsed, NO_DIFFERENCE
        return parsed, await asyncio.to_thread(difference, self.ruleset, parsed.ruleset)

    def _look(self) -> Marks:
        return self._look_at(self._beside)

    def _read(self) -> Parsed:
        parsed = self._read_files()
        self._beside = parsed.beside
        return parsed

    async def keep_counts_in(self, keep: Keep) -> None:
        """Have `keep` told the identities of the rules in force, now and after each reload."""
        self._keepers.append(keep)
        await self._tell(keep)

    def heard_by(self, hearer: Callable[[ReloadReason, ReloadResult], None]) -> None:
        """Have `hearer` told of each reload, also of one that changed nothing because the files are faulty."""
        self._hearers.append(hearer)

    async def reload(self, reason: ReloadReason) -> ReloadResult:
        """Read the rules again and, when nothing is faulty, put them in force. Reloads wait for one another."""
        async with self._one_at_a_time:
            result = Result.FAILURE
            try:
                parsed = await self._read_at_rest()
                if parsed.ruleset is None:
                    outcome = self._refuse(parsed, reason)
                else:
                    outcome = await self._take(parsed.ruleset, parsed.warnings, reason)
                result = Result.SUCCESS if outcome.ok else Result.FAILURE
            finally:
                # also when something breaks in here: the files as they are now are not in force then
                self._metrics.rules.reloaded(reason, result)
                self._metrics.rules.read(good=result is Result.SUCCESS, now=time.time())
            for hearer in self._hearers:
                hearer(reason, outcome)
            if outcome.ok:
                for keep in self._keepers:
                    await self._tell(keep)
            return outcome

    async def watch(self) -> None:
        """Reload whenever the files have changed and come to rest."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if await asyncio.to_thread(self._watch.is_due):
                    await self.reload(ReloadReason.FILE)
            except Exception:  # the next change must be seen all the same
                _LOG.exception("reading the rules again failed; the set before stays in force")

    async def signalled(self) -> None:
        """SIGHUP: read the rules again, after whatever else is read again with them and tells what they may name."""
        for first in self.first_on_signal:
            await first()
        await self.reload(ReloadReason.SIGNAL)

    def read_by(self, config: Config) -> None:
        """From now on rules may name what these settings name."""
        self._read_files = partial(read_rules, config)

    async def lower_to(self, ceiling: Mode) -> None:
        """When it returns the gate's own mode is this one for every rule; others have their turn meanwhile."""
        if ceiling is not self._ceiling:
            self._ceiling = ceiling
            async with self._one_at_a_time:
                await self._put_in_pieces(self.ruleset)

    def effective_mode(self, mode: Mode) -> Mode:
        """The mode of a rule under the gate's own."""
        return lower(mode, self._ceiling)

    def hits_of(self, rule: str) -> int:
        """On how many operations a rule has fired since the gate started."""
        return self._metrics.rules.hits_of(rule)

    async def _read_at_rest(self) -> Parsed:
        """The files as they were at one moment: what changes while it is read is read again."""
        for _ in range(_READINGS):
            before = await asyncio.to_thread(self._look)
            named = self._beside
            parsed = await asyncio.to_thread(self._read)
            if self._beside != named:
                continue  # it names other files now, which were not looked at before they were read
            self._watch.read(before)
            if await asyncio.to_thread(self._look) == before:
                return parsed
            await asyncio.sleep(_REST_SECONDS)
        restless = RuleFault(
            place=parsed.faults[0].place if parsed.faults else Place("rules", 1),
            problem="the files changed each time they were read",
            suggestion="put a file in place by renaming it, then reload",
        )
        return Parsed(ruleset=None, faults=(restless, *parsed.faults), warnings=parsed.warnings)

    def _refuse(self, parsed: Parsed, reason: ReloadReason) -> ReloadResult:
        digest = self.ruleset.digest
        for fault in parsed.faults:
            _LOG.error("rules: %s", fault)
        _LOG.error("rules not reloaded (%s): %d faults; set %s stays in force", reason, len(parsed.faults), digest)
        return ReloadResult(digest=digest, faults=parsed.faults, warnings=parsed.warnings)

    async def _take(self, after: Ruleset, warnings: tuple[RuleFault, ...], reason: ReloadReason) -> ReloadResult:
        # thousands of rules are made ready and compared beside the loop
        changes = await asyncio.to_thread(difference, self.ruleset, after)
        await self._put_in_pieces(after)
        for warning in warnings:
            _LOG.warning("rules: %s", warning)
        _LOG.info(
            "rules reloaded (%s): %d rules, set %s%s",
            *(reason, len(after.rules), after.digest, "" if changes else ", nothing changed"),
        )
        await asyncio.to_thread(_tell_changes, changes, after)
        return ReloadResult(digest=after.digest, warnings=warnings, difference=changes)

    async def _put_in_pieces(self, ruleset: Ruleset) -> None:
        """Put these rules in force, thousands of them too, while others have their turn."""
        while True:
            ceiling = self._ceiling
            judge, series = await asyncio.to_thread(self._made_ready, ruleset)
            # first: no hit by the new set finds its own missing
            await _in_turn(self._metrics.rules.welcome(series.names))
            if ceiling is self._ceiling:
                break  # otherwise the gate's own mode was set meanwhile
        parts = self._judge.parts()
        self._judge, self._by_id = judge, series.by_id
        await _in_turn(_let_go(parts))
        await _in_turn(self._metrics.rules.going_in_force(series.names, ruleset.digest))
        if self._judge is judge:  # as above: then all that is said already
            await _in_turn(self._metrics.rules.describing(series.infos))
        self._metrics.rules.read(good=True, now=time.time())

    def _put(self, judge: Judge) -> None:
        series = self._series_of(judge)
        self._metrics.rules.in_force(series.names, judge.ruleset.digest)
        self._metrics.rules.described(series.infos)
        self._metrics.rules.read(good=True, now=time.time())
        self._judge, self._by_id = judge, series.by_id

    def _made_ready(self, ruleset: Ruleset) -> tuple[Judge, _Series]:
        judge = self._judge_of(ruleset)
        return judge, self._series_of(judge)

    def _series_of(self, judge: Judge) -> _Series:
        """What metrics say of the rules that a judge has."""
        modes = [(rule, self.effective_mode(rule.mode)) for rule in judge.ruleset.rules]
        return _Series(
            names=dict.fromkeys(RuleName(rule.id, mode, rule.severity) for rule, mode in modes if mode is not Mode.OFF),
            infos=[
                RuleInfo(rule.id, mode, rule.severity, rule.owner or "", rule.runbook or "") for rule, mode in modes
            ],
            by_id={rule.id: rule for rule in judge.ruleset.rules},
        )

    async def _tell(self, keep: Keep) -> None:
        try:
            await keep(frozenset(rule.identity for rule in self.ruleset.rules))
        except StateUnavailable as error:
            _LOG.warning("counts of rules that are gone could not be removed: %s", error.what)


def open_rules(config: Config, metrics: Metrics) -> RuleBook:
    """The rules that the settings name, read once. Raises `ConfigErrors` with every fault in them."""
    book = RuleBook(partial(read_rules, config), partial(look, config.rules), ceiling=config.mode, metrics=metrics)
    book.load()
    return book


def start_rules(config: Config, metrics: Metrics, stack: AsyncExitStack) -> RuleBook:
    """The same, read again when a file changes and on SIGHUP until `stack` is left."""
    book = open_rules(config, metrics)
    tasks: set[asyncio.Task[object]] = set()

    def begin(work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def stop() -> None:
        running = list(tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    stack.push_async_callback(stop)
    begin(book.watch())
    if threading.current_thread() is threading.main_thread():  # nowhere else can signals be taken
        loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGHUP)
        loop.add_signal_handler(signal.SIGHUP, lambda: begin(book.signalled()))
        stack.callback(signal.signal, signal.SIGHUP, before)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)
    return book
