"""A session module of the settings: how its signatures, its functions and its events are read.

A session of such a module is named by its session key, unless signatures carry another name of it. Functions that
are not declared are taken to change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Final, NamedTuple

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop.acts import SessionsCleared, Unreadable
from proxy.userop.budget import GRANT, ITEM, Budget
from proxy.userop.declared_acts import FOREVER, DeclaredGrant, DeclaredRevocation, GrantedCall, GrantedTerms
from proxy.userop.execution import Call
from proxy.userop.key_forms import MESSAGE_KEY, key_that_signed
from proxy.userop.meanings import ArgumentMeaning, MeaningPlan, Values, id_of
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.signature import SessionEnvelope, SessionMode

MOST_CALLS: Final = 128
"""Calls that one session may be granted at once."""
UNNAMED: Final = Hash32(bytes(32))
"""Names the session of a preview where only a signature could, and the preview has but a stub."""
_SIGNATURE: Final = "signature"

DeclaredNews = DeclaredGrant | DeclaredRevocation | SessionsCleared | Unreadable


class KeyEnvelope(NamedTuple):
    """What stands around the session key's signature, `packed` byte after byte or by the ABI."""

    plan: MeaningPlan
    packed: bool


class SessionWord(NamedTuple):
    """A function or an event that grants sessions, or ends them."""

    plan: MeaningPlan
    grants: bool


class ToldOf(NamedTuple):
    """Something that a module's log says of an account."""

    account: Address
    news: DeclaredNews


@record(kw_only=True)
class DeclaredModule:
    """`signer` is the form in which the key signs (`proxy.userop.key_forms`), `envelope` of `None` its bare 65 bytes.

    A use is a call, or an operation where the module `counts_operations`.

    `named_by` says what names a session. `adds`: a grant leaves what its session could do before. A zero of those
    `unlimited_at_zero` is no limit. `from_block` is where its events begin.
    """

    address: Address
    signer: Address = MESSAGE_KEY
    envelope: KeyEnvelope | None = None
    functions: Mapping[Selector, SessionWord] = field(default_factory=dict)
    events: Mapping[Hash32, SessionWord] = field(default_factory=dict)
    adds: bool = False
    unlimited_at_zero: frozenset[ArgumentMeaning] = frozenset((ArgumentMeaning.VALID_UNTIL,))
    counts_operations: bool = False
    from_block: int | None = None

    @property
    def named_by(self) -> ArgumentMeaning:
        """What names a session of the module."""
        return name_carried_by(self.envelope)

    def read_envelope(self, signature: bytes, user_op_hash: Hash32 | None, budget: Budget | None) -> SessionEnvelope:
        """The claim that a signature makes. A bare one names its session by the key that made it, which takes the
        hash: without one (a preview's stub) the name is zero. Raises `Undecodable`."""
        if self.envelope is None:
            return SessionEnvelope(
                mode=SessionMode.USE, permission_id=self._signer_id(signature, user_op_hash), signature=signature
            )
        read = _read_packed if self.envelope.packed else _read_encoded
        values = read(self.envelope.plan, signature, budget)
        inner = values[ArgumentMeaning.SIGNATURE]
        spot = self.envelope.plan.of(self.named_by)
        name = self._signer_id(inner, user_op_hash) if spot is None else id_of(spot, values[self.named_by])
        return SessionEnvelope(mode=SessionMode.USE, permission_id=name, signature=inner)

    def _signer_id(self, signature: bytes, user_op_hash: Hash32 | None) -> Hash32:
        if user_op_hash is None:
            return UNNAMED
        key = key_that_signed(self.signer, user_op_hash, signature)
        if key is None:
            raise Undecodable(_SIGNATURE, "is no signature of one key: 65 bytes with v 27 or 28 and a low s are wanted")
        return key_id(key)

    def news_of_call(self, call: Call, caller: Address, budget: Budget | None = None) -> tuple[DeclaredNews, ...]:
        """What a call of `caller` to the module does to sessions: nothing, where its function is not declared."""
        word = self.functions.get(Selector(call.data[:4]))
        if word is None:
            return ()
        try:
            if budget is not None:
                budget.draw(ITEM)
            once, items = word.plan.read_arguments(call.data[4:], "callData", budget)
            told = list(self._news(word, once, items, caller))
            if budget is not None:
                budget.draw(sum(GRANT + ITEM * len(each.calls) for each in told if isinstance(each, DeclaredGrant)))
        except Undecodable as problem:
            return (Unreadable(self.address, call.selector, str(problem)),)
        # whether somebody may end all sessions of another is not known
        cleared_for = once.get(ArgumentMeaning.ACCOUNT, caller)
        return tuple(each for each in told if not isinstance(each, SessionsCleared) or cleared_for == caller)

    def news_of_log(self, topics: Sequence[Hash32], data: bytes) -> tuple[ToldOf, ...]:
        """What one of the module's logs tells. Raises `Undecodable` for one that is not as it was declared."""
        word = self.events.get(topics[0]) if topics else None
        if word is None:
            return ()
        once, items = word.plan.read_log(topics, data, "event")
        account: Address | None = once.get(ArgumentMeaning.ACCOUNT)
        told = []
        for each in self._news(word, once, items, account):
            owner = each.account if isinstance(each, DeclaredGrant | DeclaredRevocation) else account
            if owner is not None:
                told.append(ToldOf(owner, each))
        return tuple(told)

    def _news(
        self, word: SessionWord, once: Values, items: Sequence[Values], caller: Address | None
    ) -> Iterator[DeclaredNews]:
        """One for each session that is named. Raises `Undecodable`."""
        if len(items) > MOST_CALLS:
            raise Undecodable("callData", f"names {len(items)} calls at once, more than {MOST_CALLS} are not read")
        if word.plan.list_path is None:
            yield self._said(word, once, None, caller)
        elif any(spot.meaning is self.named_by for spot in word.plan.each):
            for item in items:
                yield self._said(word, {**once, **item}, None, caller)
        else:
            yield self._said(word, once, items, caller)

    def _said(
        self, word: SessionWord, values: Values, items: Sequence[Values] | None, caller: Address | None
    ) -> DeclaredNews:
        """Of one session; `items` are its calls where it has a list of them."""
        spot = word.plan.of(self.named_by)
        if spot is None:
            return SessionsCleared(self.address)
        account = values.get(ArgumentMeaning.ACCOUNT, caller)
        if account is None:
            raise Undecodable("event", "does not say of which account")
        name = id_of(spot, values[self.named_by])
        if not word.grants:
            target, selector = values.get(ArgumentMeaning.TARGET), values.get(ArgumentMeaning.SELECTOR)
            return DeclaredRevocation(
                module=self.address, account=account, permission_id=name, target=target, selector=selector
            )
        return DeclaredGrant(
            module=self.address,
            account=account,
            permission_id=name,
            session_key=values[ArgumentMeaning.SESSION_KEY],
            signer=self.signer,
            calls=(self._call({}, values),) if items is None else tuple(self._call(values, item) for item in items),
            terms=GrantedTerms() if items is None else self._terms(values, is_bounded=True),
            adds=self.adds,
        )

    def _call(self, session: Values, row: Values) -> GrantedCall:
        selector = row.get(ArgumentMeaning.SELECTOR, session.get(ArgumentMeaning.SELECTOR))
        anything = selector is None or (selector == bytes(4) and ArgumentMeaning.SELECTOR in self.unlimited_at_zero)
        return GrantedCall(
            target=row.get(ArgumentMeaning.TARGET, session.get(ArgumentMeaning.TARGET)),
            selector=None if anything else Selector(selector),
            terms=self._terms(
                row, is_bounded=not {ArgumentMeaning.MAX_VALUE, ArgumentMeaning.MAX_TOTAL}.isdisjoint(session)
            ),
        )

    def _terms(self, values: Values, *, is_bounded: bool) -> GrantedTerms:
        """What `values` limit. Value that nobody speaks of is not granted, unless it `is_bounded` elsewhere."""
        total = self._limit(values, ArgumentMeaning.MAX_TOTAL)
        value = self._limit(values, ArgumentMeaning.MAX_VALUE)
        if ArgumentMeaning.MAX_VALUE not in values and ArgumentMeaning.MAX_TOTAL not in values and not is_bounded:
            value = 0
        uses = self._limit(values, ArgumentMeaning.MAX_USES)
        until = self._limit(values, ArgumentMeaning.VALID_UNTIL)
        return GrantedTerms(
            max_value=value,
            max_total=total,
            max_uses=uses,
            per_operation=self.counts_operations and uses is not None,
            valid_after=min(values.get(ArgumentMeaning.VALID_AFTER, 0), FOREVER),
            valid_until=FOREVER if until is None else min(until, FOREVER),
        )

    def _limit(self, values: Values, meaning: ArgumentMeaning) -> int | None:
        limit: int | None = values.get(meaning)
        return None if limit == 0 and meaning in self.unlimited_at_zero else limit


class SessionModules(frozenset[Address]):
    """The session modules of a chain; those of them that the settings declare can be looked up."""

    declared: Mapping[Address, DeclaredModule] = MappingProxyType({})
    chain_id: int = 0

    @classmethod
    def of(cls, addresses: Collection[Address], declared: Collection[DeclaredModule], chain_id: int) -> SessionModules:
        """These addresses, and those of the declared ones."""
        modules = cls((*addresses, *(each.address for each in declared)))
        modules.declared = {each.address: each for each in declared}
        modules.chain_id = chain_id
        return modules

    def only(self, wanted: Callable[[Address], bool]) -> SessionModules:
        """Those of them that are wanted."""
        declared = [each for each in self.declared.values() if wanted(each.address)]
        return SessionModules.of([each for each in self if wanted(each)], declared, self.chain_id)


def declared_in(modules: Collection[Address], address: Address) -> DeclaredModule | None:
    """How a module is declared; `None` for one that is published."""
    return modules.declared.get(address) if isinstance(modules, SessionModules) else None


def declared_modules(modules: Collection[Address]) -> Mapping[Address, DeclaredModule]:
    """All that are declared, by address."""
    return modules.declared if isinstance(modules, SessionModules) else {}


def name_carried_by(envelope: KeyEnvelope | None) -> ArgumentMeaning:
    """What names a session: the id that signatures carry, otherwise its key."""
    return (
        ArgumentMeaning.ID
        if envelope is not None and ArgumentMeaning.ID in envelope.plan.meanings
        else ArgumentMeaning.SESSION_KEY
    )


def key_id(session_key: Address) -> Hash32:
    """The name of a session that is named by its key."""
    return Hash32(bytes(12) + session_key)


def packed_size(kind: str) -> int | None:
    """Bytes of a type in the packed form; `None` where its length is not told."""
    if kind == "address":
        return 20
    digits = "".join(character for character in kind if character.isdigit())
    if not digits or "[" in kind or "(" in kind:
        return 1 if kind == "bool" else None
    return int(digits) if kind.startswith("bytes") else int(digits) // 8


def _read_packed(plan: MeaningPlan, signature: bytes, _budget: Budget | None) -> Values:
    """Fixed sizes before and after the one value whose length is what is left."""
    sizes = [packed_size(each.type.name) for each in plan.parameters]
    left = len(signature) - sum(size for size in sizes if size is not None)
    if left < 0:
        raise Undecodable(
            _SIGNATURE, f"{len(signature)} bytes, too few for what has to stand around the key's signature"
        )
    values, at = [], 0
    for each, size in zip(plan.parameters, sizes, strict=True):
        end = at + (left if size is None else size)
        data = signature[at:end]
        values.append(int.from_bytes(data, "big") if each.type.name.startswith("uint") else data)
        at = end
    return {spot.meaning: values[spot.path[0]] for spot in plan.whole}


def _read_encoded(plan: MeaningPlan, signature: bytes, budget: Budget | None) -> Values:
    once, _ = plan.read_arguments(signature, _SIGNATURE, budget)
    return once
