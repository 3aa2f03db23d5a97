"""Sessions used under a nonce that names no session module.

An account whose root or default validator is the module (Kernel's validation type 00, Nexus' validator zero) hands it
the signature all the same, and nothing in the nonce tells. What tells is the signature: it has the form of a session's
envelope, and the permission id in it is one that the account has granted. One in 256 of owners' signatures has the
form by chance, and no session's id.
"""

from __future__ import annotations

from proxy.admission import reasons
from proxy.admission.sources import Sources
from proxy.admission.turns import Asker
from proxy.errors import ContractAbsent, Reason, StateUnavailable, Undecodable
from proxy.judge.verdict import Allow, Reject, Verdict
from proxy.session.counters import SessionKey
from proxy.session.outcome import Waived
from proxy.session.state import SessionState
from proxy.userop.budget import Budget, Overspent
from proxy.userop.decode import DecodedOperation
from proxy.userop.emissary import decode_emissary_envelope
from proxy.userop.primitives import Address, Hash32
from proxy.userop.signature import SessionEnvelope, decode_session_envelope

_UNTOLD = (
    "signed as a session's operations are, under a nonce that names no session module; nobody could tell whether it is"
)


class HiddenSessions:
    """Looks for them: in the registry first, then, in turn and within its asker's budget, at the node."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._terms = sources.terms
        self._registry = sources.registry

    def envelope(self, operation: DecodedOperation) -> SessionEnvelope | None:
        """The session's envelope that the signature may be, read within its budget. Raises `Overspent`."""
        return envelope_in(operation.op.signature, operation.budget)

    def is_known(self, account: Address, envelope: SessionEnvelope) -> bool:
        """Whether it is one for all that is known here: it brings a grant along, or its session is known."""
        return envelope.enable is not None or any(map(self.has, self._keys(account, envelope.permission_id)))

    async def verdict(self, operation: DecodedOperation, envelope: SessionEnvelope, asker: Asker) -> Verdict | None:
        """Why it is not let through, or what it is let through without; `None` when it is no session's."""
        reader = self._sources.reader
        if reader is None:
            return Allow((_UNTOLD,), (Waived.SESSION,))
        found = False

        async def look() -> bool:
            nonlocal found
            for key in self._keys(operation.op.sender, envelope.permission_id):
                found = found or await self._read(key) is not None or self.has(key)
            return found

        try:
            refusal = None
            if self._sources.first is not None:
                refusal = await self._sources.first.look(asker, look)
            else:
                await look()
        except StateUnavailable as error:
            if self._terms.stale_state == "closed":
                return Reject((reasons.unavailable(error),))
            return Allow((_UNTOLD,), (Waived.SESSION,))
        if isinstance(refusal, Reason):
            return Reject((refusal,))
        return Reject((reasons.hidden_claim(),)) if found else None

    async def _read(self, key: SessionKey) -> SessionState | None:
        reader = self._sources.reader
        assert reader is not None  # noqa: S101 - asked only where there is one

        async def ask() -> SessionState | None:
            try:
                return await reader.session(key)
            except ContractAbsent:
                return None  # a module that is not on this chain has no sessions on it

        return await self._sources.reads.once(key, ask)

    def _keys(self, account: Address, permission_id: Hash32) -> list[SessionKey]:
        chain_id = self._terms.chain_id
        return [SessionKey(chain_id, module, account, permission_id) for module in sorted(self._terms.session_modules)]

    def has(self, key: SessionKey) -> bool:
        """Whether anything is known of a session here."""
        registry = self._registry
        return bool(registry.get(key) or registry.declarations.of(key) or registry.freezes.on(key))


def envelope_in(signature: bytes, budget: Budget) -> SessionEnvelope | None:
    """A session envelope of any module's. The permission id stands in the same place in all. Raises `Overspent`."""
    for decode in (decode_session_envelope, decode_emissary_envelope):
        try:
            return decode(signature, budget)
        except Overspent:
            raise  # it may be one
        except Undecodable:
            continue
    return None
