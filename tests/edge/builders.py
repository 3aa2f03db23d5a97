"""Decisions, a gate's worth of metrics and an admin backend to hold the edge against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.edge.admin.query import FreezeRequest, PageRequest, SessionFilter
from proxy.edge.admin.server import Check
from proxy.edge.telemetry.metrics import Metrics
from proxy.errors import Code, InvalidParams, Reason
from proxy.judge.decision import Decision
from proxy.judge.verdict import Allow, Mode, Reject
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, print_bytes

ACCOUNT = Address(bytes.fromhex("a1" * 20))
OTHER_ACCOUNT = Address(bytes.fromhex("a2" * 20))
TARGET = Address(bytes.fromhex("c0" * 20))
PERMISSION = Hash32(bytes.fromhex("b1" * 32))
OTHER_PERMISSION = Hash32(bytes.fromhex("b2" * 32))
USER_OP_HASH = Hash32(bytes.fromhex("f1" * 32))
NOW = 1_700_000_000.0

OUT_OF_SCOPE = Reject(
    (
        Reason(
            code=Code.SESSION_SCOPE,
            sentence="call 0: target is in none of the session's actions",
            remedy="call an allowed target, or grant a session that allows this one",
            call=0,
            wanted="0xc1",
            got="0xc0",
        ),
        Reason(
            code=Code.LIMIT_EXCEEDED, sentence="uses: none left", remedy="grant a new session", policy="usage limit"
        ),
    )
)
REVOKED = Reject((Reason(code=Code.SESSION_REVOKED, sentence="removed on chain", remedy="ask for a new session"),))


def decision(decision_id: str = "d-1", **changes: Any) -> Decision:
    """An allowed USE operation of one call, with `changes`."""
    fields: dict[str, Any] = {
        "unix_time": NOW,
        "chain": "soneium",
        "client": "trading-dapp",
        "method": "eth_sendUserOperation",
        "mode": Mode.ENFORCE,
        "verdict": Allow(),
        "user_op_hash": USER_OP_HASH,
        "account": ACCOUNT,
        "permission_id": PERMISSION,
        "session_mode": "use",
        "calls": (Call(TARGET, 10**18, bytes.fromhex("a9059cbb") + b"\x5e" * 64),),
    }
    return Decision(decision_id=decision_id, **(fields | changes))


def gate_metrics() -> Metrics:
    """Metrics of a gate with one chain, two upstreams and one client."""
    return Metrics(chains=["soneium"], upstreams=["soneium-1", "soneium-2"], clients=["trading-dapp"])


RULE: Mapping[str, object] = {
    "id": "burst",
    "mode": "enforce",
    "effectiveMode": "alert",
    "severity": "high",
    "hits": 7,
    "place": "a.yaml:3",
}
RULES: Mapping[str, object] = {"digest": "d1", "rules": [RULE]}
RELOADED: Mapping[str, object] = {
    "ok": True,
    "digest": "d2",
    "faults": [],
    "warnings": [],
    "difference": {
        "added": ["new-target"],
        "removed": [],
        "changed": [
            {"rule": "burst", "countsAnew": False, "fields": [{"field": "mode", "before": "alert", "after": "enforce"}]}
        ],
        "tokens": [],
        "reordered": False,
    },
}
FAULTY: Mapping[str, object] = {
    **RELOADED,
    "ok": False,
    "digest": "d1",
    "faults": [
        {
            "file": "rules/a.yaml",
            "line": 4,
            "column": 12,
            "rule": "burst",
            "problem": 'unknown key "limt"',
            "suggestion": 'did you mean "limit"?',
        }
    ],
}


class FakeBackend:
    """An admin backend in memory, ready unless told otherwise."""

    def __init__(self) -> None:
        self.checks: Sequence[Check] = (
            Check("ledger", ok=True, why="writable"),
            Check("upstream soneium-1", ok=True, why="chain id 1868"),
        )
        self.freezes: list[FreezeRequest] = []
        self.held: set[Hash32] = set()
        self.released: list[tuple[Hash32, str]] = []
        self.asked: list[SessionFilter] = []
        self.rules: list[Mapping[str, object]] = [RULE]
        self.digests = ["d1"]  # of one answer after another
        self.reload: Mapping[str, object] = RELOADED
        self.reloads = 0
        self.told: list[tuple[str, str]] = []
        self.settings: Mapping[str, object] = {"ok": True, "faults": [], "inForce": ["mode"], "needsRestart": []}

    async def readiness(self, name: str | None = None) -> Sequence[Check]:
        if name not in (None, "soneium"):
            raise InvalidParams("chain", "not configured")
        return self.checks

    async def list_sessions(self, wanted: SessionFilter) -> Mapping[str, object]:
        self.asked.append(wanted)
        return {"sessions": [self._session()], "next": None}

    async def show_session(self, permission_id: Hash32, after: str | None = None) -> Mapping[str, object]:
        known = permission_id == PERMISSION and after is None
        return {"sessions": [self._session()] if known else [], "next": None}

    async def list_freezes(self, page: PageRequest) -> Mapping[str, object]:
        assert page.first == 0
        return {"freezes": [self._print(freeze) for freeze in self.freezes], "next": None}

    async def freeze(self, wanted: FreezeRequest) -> Mapping[str, object]:
        self.freezes.append(wanted)
        return self._print(wanted)

    async def unfreeze(self, permission_id: Hash32, account: Address | None, chain: str | None) -> int:
        lifted = [freeze for freeze in self.freezes if freeze.permission_id == permission_id]
        self.freezes = [freeze for freeze in self.freezes if freeze not in lifted]
        return len(lifted)

    async def release(self, user_op_hash: Hash32, note: str) -> bool:
        self.released.append((user_op_hash, note))
        return user_op_hash in self.held

    async def explain(self, chain: str | None, operation: object, entry_point: object) -> Mapping[str, object]:
        if not isinstance(operation, dict):
            raise InvalidParams("operation", "wanted a user operation object")
        return {"verdict": "allow", "chain": chain, "entryPoint": entry_point, "limit": 2**255}

    async def list_rules(self, page: PageRequest) -> Mapping[str, object]:
        """Pages of one rule."""
        self.digests = self.digests[1:] or self.digests
        rules = self.rules[page.first : page.first + 1]
        return {
            "digest": self.digests[0],
            "rules": rules,
            "next": str(page.first + 1) if page.first + 1 < len(self.rules) else None,
        }

    async def reload_settings(self, who: str, why: str) -> Mapping[str, object]:
        self.told.append((who, why))
        return self.settings

    async def reload_rules(self) -> Mapping[str, object]:
        self.reloads += 1
        return self.reload

    def _session(self) -> dict[str, object]:
        return {"permissionId": print_bytes(PERMISSION), "account": print_bytes(ACCOUNT), "limit": 2**255}

    def _print(self, freeze: FreezeRequest) -> dict[str, object]:
        return {"permissionId": print_bytes(freeze.permission_id), "note": freeze.note}
