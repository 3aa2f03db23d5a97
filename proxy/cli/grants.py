"""The grants in what people paste, each reviewed: sessions in JSON, enable signatures, grant operations, call data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from proxy.cli.reading import Pasted, PastedCallData, PastedOperation, PastedSignature, read_envelope
from proxy.cli.session_json import PrintedSession, sessions_in
from proxy.errors import Undecodable
from proxy.session.known import KnownSession
from proxy.session.lint import (
    NOT_READ,
    Finding,
    Thresholds,
    lint,
    lint_addition,
    lint_enable,
    lint_grant,
    lint_state,
)
from proxy.userop.acts import (
    Act,
    ActionPoliciesEnabled,
    EmissaryConfigSet,
    Erc1271PoliciesEnabled,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesEnabled,
)
from proxy.userop.administration import acts_of
from proxy.userop.declared_acts import DeclaredGrant
from proxy.userop.declared_module import SessionModules, declared_in
from proxy.userop.decode import decode_operation
from proxy.userop.emissary_abi import EMISSARY, EmissaryEnable
from proxy.userop.execution import Call
from proxy.userop.inspection import calls_for_inspection
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, print_checksummed
from proxy.userop.session_abi import decode_sessions
from proxy.userop.session_data import EnableSession, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode

_ENABLE_SESSIONS: Final = bytes.fromhex("21712407")


@dataclass(frozen=True, slots=True)
class Review:
    """One session, whole or in part, and what was found."""

    what: str
    permission_id: Hash32
    account: Address | None
    module: Address | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """How to review. `account` and `module` stand in where the grant itself does not tell them."""

    now: int
    thresholds: Thresholds
    modules: SessionModules
    account: Address | None = None
    module: Address | None = None

    def sessions(self, text: str) -> list[Review]:
        """Every session that is written out in `text`. Raises `RpcError` when it cannot be read."""
        return [] if text.startswith("0x") else [self._printed(session) for session in sessions_in(text)]

    def grants(self, items: Iterable[Pasted]) -> list[Review]:
        """Every grant in what was pasted. Raises `Undecodable` when it cannot be read."""
        return [review for item in items for review in self._item(item)]

    def known(self, session: KnownSession) -> Review:
        """A session of the registry."""
        key = session.key
        findings: tuple[Finding, ...] = (NOT_READ,)
        if session.state is not None:
            findings = lint_state(session.state, now=self.now, thresholds=self.thresholds)
        return Review("session", key.permission_id, key.account, key.module, findings)

    def _printed(self, printed: PrintedSession) -> Review:
        session, claim_policies = printed.session, printed.claim_policies
        module = self.module or (None if claim_policies is None else EMISSARY)
        findings = lint(
            session,
            now=self.now,
            account=self.account,
            module=module,
            thresholds=self.thresholds,
            claim_policies=claim_policies or (),
        )
        return Review("session", session.permission_id, self.account, module, findings)

    def _item(self, item: Pasted) -> Iterator[Review]:
        match item:
            case PastedSignature(data):
                envelope, module = read_envelope(data)
                yield from self._envelope(envelope, self.account, self.module or module)
            case PastedCallData(data):
                yield from self._call_data(data)
            case PastedOperation(op, entry_point):
                decoded = decode_operation(op, entry_point, 0, self.modules, preview=True)
                if decoded.claim is not None:
                    yield from self._envelope(decoded.claim.envelope, op.sender, decoded.claim.module)
                for act in decoded.acts:
                    yield from self._act(act, op.sender)

    def _call_data(self, data: bytes) -> Iterator[Review]:
        if data.startswith(_ENABLE_SESSIONS):
            for session in decode_sessions(data[4:]):
                yield self._session(session, self.account, self.module)
            return
        account = self.account or ZERO_ADDRESS
        if self.module is not None and (declared := declared_in(self.modules, self.module)) is not None:
            for news in declared.news_of_call(Call(self.module, 0, data), account):
                yield from self._act(news, self.account)
        for act in acts_of(calls_for_inspection(data, account), account, self.modules):
            yield from self._act(act, self.account)

    def _envelope(self, envelope: SessionEnvelope, account: Address | None, module: Address | None) -> Iterator[Review]:
        if envelope.enable is not None:
            yield self._enabled(envelope.enable, envelope.mode, account, module)

    def _enabled(
        self, enable: EnableSession | EmissaryEnable, mode: SessionMode, account: Address | None, module: Address | None
    ) -> Review:
        findings = lint_enable(enable, mode, now=self.now, account=account, module=module, thresholds=self.thresholds)
        return Review("session", enable.session.permission_id, account, module, findings)

    def _act(self, act: Act, account: Address | None) -> Iterator[Review]:
        match act:
            case SessionsEnabled(module, sessions):
                yield from (self._session(session, account, module) for session in sessions)
            case UserOpPoliciesEnabled() | ActionPoliciesEnabled() | Erc1271PoliciesEnabled():
                findings = lint_addition(act, now=self.now, account=account, thresholds=self.thresholds)
                yield Review("addition to a session", act.permission_id, account, act.module, findings)
            case DeclaredGrant(module=module, permission_id=permission_id):
                findings = lint_grant(act, now=self.now, thresholds=self.thresholds)
                yield Review("session", permission_id, account, module, findings)
            case EmissaryConfigSet(module, holder, enable):
                yield self._enabled(enable, SessionMode.ENABLE, holder, module)
            case Unreadable(module, _, problem):
                raise Undecodable(f"a call to {print_checksummed(module)}", problem)

    def _session(self, session: SessionData, account: Address | None, module: Address | None) -> Review:
        findings = lint(session, now=self.now, account=account, module=module, thresholds=self.thresholds)
        return Review("session", session.permission_id, account, module, findings)
