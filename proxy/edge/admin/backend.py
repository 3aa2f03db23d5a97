"""What the admin listener shows and changes, answered from the parts of a running gate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeVar

from proxy.chain.age import ChainAge
from proxy.config import Chain, Config
from proxy.edge.admin.audit_check import check_audit
from proxy.edge.admin.query import FreezeRequest, PageRequest, SessionFilter
from proxy.edge.admin.server import Check, Json
from proxy.edge.admin.session_pages import SessionPages
from proxy.edge.audit.unrecorded import row_of
from proxy.edge.audit.writer import AuditWriter
from proxy.edge.http.upstream import HttpUpstream
from proxy.edge.rule_files.book import RuleBook
from proxy.edge.storage.store import Store
from proxy.edge.telemetry.rule_metrics import ReloadReason
from proxy.errors import InvalidParams, StateUnavailable
from proxy.gate import Gate
from proxy.judge.parse import RuleFault
from proxy.judge.rule import Rule
from proxy.passage import Passage
from proxy.session.codec import state_to_json
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession
from proxy.session.overview import phase_of
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed

_STORE_SECONDS: Final = 1.0
_A_PIECE: Final = 100
"""Rules or freezes that are shown before others get their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedChain:
    """The parts of one configured chain."""

    name: str
    chain_id: int
    gate: Gate
    passage: Passage  # to the same gate, without a task where none is needed
    upstream: HttpUpstream
    age: ChainAge | None
    release: Callable[[Hash32, str], Awaitable[bool]]
    take: Callable[[Chain, Config], None]  # serve by these settings from the next request on


class SettingsRead(Protocol):
    """What came of reading the settings again, by the paths of settings."""

    @property
    def in_force(self) -> Sequence[str]:
        """Changed, and in force."""

    @property
    def needs_restart(self) -> Sequence[str]:
        """Changed, and not in force before a restart."""

    @property
    def faults(self) -> Sequence[str]:
        """Why nothing is."""


class ReloadsSettings(Protocol):
    """Whoever reads the settings again."""

    async def reload(self, who: str, why: str = "") -> SettingsRead:
        """On the word of `who`; goes on record."""


class GateBackend:
    """See `proxy.edge.admin.server.AdminBackend` for the meaning of each call. `clock` gives unix seconds."""

    def __init__(
        self,
        chains: Mapping[str, ServedChain],
        registry: Registry,
        store: Store,
        clock: Callable[[], float],
        rules: RuleBook,
        *,
        audit: AuditWriter | None = None,
    ) -> None:
        self._audit = audit
        self._chains = chains
        self._registry = registry
        self._store = store
        self._clock = clock
        self._rules = rules
        self._unwelcome: Check | None = None
        self.settings: ReloadsSettings | None = None
        self._names = {chain.chain_id: name for name, chain in chains.items()}
        self._pages = SessionPages(registry, self._names)

    async def reload_settings(self, who: str, why: str) -> Json:
        if self.settings is None:
            return {"ok": False, "faults": ["this gate has no file to read again"], "inForce": [], "needsRestart": []}
        outcome = await self.settings.reload(who, why)
        return {
            "ok": not outcome.faults,
            "faults": list(outcome.faults),
            "inForce": list(outcome.in_force),
            "needsRestart": list(outcome.needs_restart),
        }

    def wait_to_welcome(self) -> None:
        """Nothing is ready until `welcome` is called: whoever asks is here before there is somebody to serve others."""
        self._unwelcome = Check("starting", ok=False, why="does not listen for operations yet")

    def welcome(self) -> None:
        """From now on readiness is what the checks say."""
        self._unwelcome = None

    def stop_welcoming(self) -> None:
        """From now on nothing is ready: whoever balances load sends its traffic elsewhere before the listener ends."""
        self._unwelcome = Check("stopping", ok=False, why="told to stop; what is in flight is finished")

    async def readiness(self, name: str | None = None) -> Sequence[Check]:
        if self._unwelcome is not None:
            return [self._unwelcome]
        chains = self._chains if name is None else {name: self._chains[name]} if name in self._chains else None
        if chains is None:
            raise InvalidParams("chain", f"not configured; wanted one of {', '.join(self._chains)}")
        checks = [await self._check_store()]
        if self._audit is not None:
            checks.append(check_audit(self._audit))
        for chain in chains.values():
            checks += _upstream_checks(chain)
            if chain.age is not None:
                checks.append(_state_check(chain.name, chain.age))
        return checks

    async def _check_store(self) -> Check:
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._store.check_writable()
        except StateUnavailable as error:
            return Check("ledger", ok=False, why=error.what)
        except TimeoutError:
            return Check("ledger", ok=False, why=f"a write takes more than {_STORE_SECONDS:g} s; is it locked?")
        return Check("ledger", ok=True, why="writable")

    async def list_sessions(self, wanted: SessionFilter) -> Json:
        return await self._pages.page(wanted, self._summary)

    async def show_session(self, permission_id: Hash32, after: str | None = None) -> Json:
        return await self._pages.of_id(permission_id, after, self._whole)

    def _whole(self, session: KnownSession) -> dict[str, object]:
        return {**self._summary(session), "onChain": None if session.state is None else state_to_json(session.state)}

    def _summary(self, session: KnownSession) -> dict[str, object]:
        key = session.key
        freeze = self._registry.freezes.on(key)
        return {
            "chain": self._names.get(key.chain_id, str(key.chain_id)),
            "permissionId": print_bytes(key.permission_id),
            "account": print_checksummed(key.account),
            "module": print_checksummed(key.module),
            "status": phase_of(session, self._clock()).value,
            "source": session.source.value,
            "frozen": None if freeze is None else self._describe(freeze),
            "removalPending": self._registry.removal_awaited(key),
            "grantedBy": None if session.granted_by is None else print_bytes(session.granted_by),
            "readAtBlock": session.block,
            "updatedAt": session.updated_at,
        }

    async def release(self, user_op_hash: Hash32, note: str) -> bool:
        return any([await chain.release(user_op_hash, note) for chain in self._chains.values()])

    async def list_freezes(self, page: PageRequest) -> Json:
        found = list(islice(self._registry.freezes, page.first, page.first + page.limit + 1))
        shown = await _in_pieces(found[: page.limit], self._describe)
        return {"freezes": shown, "next": page.next(len(found) > page.limit)}

    async def freeze(self, wanted: FreezeRequest) -> Json:
        freeze = Freeze(
            permission_id=wanted.permission_id,
            account=wanted.account,
            chain_id=self._chain_id(wanted.chain),
            since=self._clock(),
            note=wanted.note,
        )
        # in force first: a disk that refuses must not keep a session usable
        self._registry.freezes.put(freeze)
        await self._store.save_freeze(freeze)
        return self._describe(freeze)

    async def unfreeze(self, permission_id: Hash32, account: Address | None, chain: str | None) -> int:
        chain_id = self._chain_id(chain)
        lifted = self._registry.freezes.lift(permission_id, account=account, chain_id=chain_id)
        try:
            await self._store.drop_freezes(lifted)
        except StateUnavailable:
            for freeze in lifted:
                self._registry.freezes.put(freeze)
            raise
        return len(lifted)

    def _chain_id(self, name: str | None) -> int | None:
        if name is None:
            return None
        chain = self._chains.get(name)
        if chain is None:
            raise InvalidParams("chain", f"not configured; wanted one of {', '.join(self._chains)}")
        return chain.chain_id

    def _describe(self, freeze: Freeze) -> dict[str, object]:
        return {
            "permissionId": print_bytes(freeze.permission_id),
            "account": None if freeze.account is None else print_checksummed(freeze.account),
            "chain": None if freeze.chain_id is None else self._names.get(freeze.chain_id, str(freeze.chain_id)),
            "since": freeze.since,
            "note": freeze.note,
        }

    async def explain(self, chain: str | None, operation: object, entry_point: object) -> Json:
        name = next(iter(self._chains)) if chain is None and len(self._chains) == 1 else chain
        if name is None or name not in self._chains:
            raise InvalidParams("chain", f"wanted one of {', '.join(self._chains)}")
        decision = await self._chains[name].gate.explain(name, operation, entry_point)
        return row_of(decision).as_json()

    async def list_rules(self, page: PageRequest) -> Json:
        ruleset, end = self._rules.ruleset, page.first + page.limit
        shown = await _in_pieces(ruleset.rules[page.first : end], self._describe_rule)
        return {"digest": ruleset.digest, "rules": shown, "next": page.next(len(ruleset.rules) > end)}

    def _describe_rule(self, rule: Rule) -> dict[str, object]:
        return {
            "id": rule.id,
            "description": rule.description,
            "mode": rule.mode.value,
            "effectiveMode": self._rules.effective_mode(rule.mode).value,
            "severity": rule.severity.value,
            "tags": list(rule.tags),
            "place": f"{rule.place.path}:{rule.place.line}",
            "hits": self._rules.hits_of(rule.id),
        }

    async def reload_rules(self) -> Json:
        result = await self._rules.reload(ReloadReason.ADMIN)
        return {
            "ok": result.ok,
            "digest": result.digest,
            "faults": [_describe_fault(fault) for fault in result.faults],
            "warnings": [_describe_fault(warning) for warning in result.warnings],
            "difference": result.difference.as_json(),
        }


_Listed = TypeVar("_Listed")


async def _in_pieces(listed: Sequence[_Listed], shown: Callable[[_Listed], dict[str, object]]) -> list[object]:
    """Each as it is shown; others get their turn in between."""
    answer: list[object] = []
    for count, each in enumerate(listed, 1):
        answer.append(shown(each))
        if count % _A_PIECE == 0:
            await asyncio.sleep(0)
    return answer


def _describe_fault(fault: RuleFault) -> Json:
    return {
        "file": fault.place.path,
        "line": fault.place.line,
        "column": fault.place.column,
        "rule": fault.rule,
        "problem": fault.problem,
        "suggestion": fault.suggestion,
    }


def _upstream_checks(chain: ServedChain) -> Iterable[Check]:
    healthy = [endpoint for endpoint in chain.upstream.endpoints if endpoint.problem is None]
    if healthy and chain.upstream.healthy:
        yield Check(f"upstream {chain.name}", ok=True, why=f"{healthy[0].name} serves the chain and its entry points")
    else:
        problems = "; ".join(f"{endpoint.name} {endpoint.problem}" for endpoint in chain.upstream.endpoints)
        yield Check(f"upstream {chain.name}", ok=False, why=problems)


def _state_check(name: str, age: ChainAge) -> Check:
    """From what is known already: whoever asks for readiness costs the node nothing."""
    stale = age.stale()
    if stale is not None:
        return Check(f"node {name}", ok=False, why=stale.what)
    if age.number is None:
        return Check(f"node {name}", ok=False, why=age.trouble or "nothing was heard of it yet")
    return Check(f"node {name}", ok=True, why=f"block {age.number}, known as of {age.seconds:.0f} s ago")
