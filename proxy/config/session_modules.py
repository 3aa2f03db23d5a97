"""Session modules: published ones by their address, others by how their calls, events and signatures are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, InstanceOf, Tag, model_validator

from proxy.config.base import Settings
from proxy.config.fields import AddressText, fault, kind_of, shorten
from proxy.document import did_you_mean
from proxy.session.addresses import SESSION_MODULES
from proxy.userop.declared_module import (
    DeclaredModule,
    KeyEnvelope,
    SessionModules,
    SessionWord,
    name_carried_by,
    packed_size,
)
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.meanings import ArgumentMeaning, MeaningPlan, missing_from, plan_of
from proxy.userop.primitives import Address, print_checksummed
from proxy.userop.prototype import Prototype, PrototypeFault, parse_prototype

PUBLISHED_SESSION_MODULES: Final = tuple(sorted(SESSION_MODULES))
"""What `session_modules: default` stands for: every address under which the SDKs have published the module.

Too many is safe: a module that is not installed fails on chain. One too few would be a session unseen.
"""

_IN_GRANTS: Final = tuple(each for each in ArgumentMeaning if each is not ArgumentMeaning.SIGNATURE)
_IN_REVOKES: Final = (
    ArgumentMeaning.ACCOUNT,
    ArgumentMeaning.ID,
    ArgumentMeaning.SESSION_KEY,
    ArgumentMeaning.TARGET,
    ArgumentMeaning.SELECTOR,
)
_IN_ENVELOPES: Final = (ArgumentMeaning.ID, ArgumentMeaning.SESSION_KEY, ArgumentMeaning.SIGNATURE)
_NAMES: Final = (ArgumentMeaning.ID, ArgumentMeaning.SESSION_KEY)


class ModuleForm(StrEnum):
    """Of entries that are more than an address."""

    DECLARED = "declared"


class KeySigns(StrEnum):
    """What the session key signs."""

    MESSAGE = "message"  # the userOpHash as a message of 32 bytes (EIP-191)
    HASH = "hash"  # the userOpHash as it is


class Regrant(StrEnum):
    """What a second grant of a session does to what the first one allowed."""

    REPLACE = "replace"
    ADD = "add"


class UseCounts(StrEnum):
    """What uses up `maxUses`."""

    CALLS = "calls"  # each call, however many one operation makes
    OPERATIONS = "operations"  # each operation that makes such calls


class ZeroIsUnlimited(StrEnum):
    """What a zero may leave without limit."""

    SELECTOR = ArgumentMeaning.SELECTOR.value
    MAX_VALUE = ArgumentMeaning.MAX_VALUE.value
    MAX_TOTAL = ArgumentMeaning.MAX_TOTAL.value
    MAX_USES = ArgumentMeaning.MAX_USES.value
    VALID_UNTIL = ArgumentMeaning.VALID_UNTIL.value


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenWord:
    """A function, an event or a form of signatures: as it was written, and how it is read."""

    text: str
    prototype: Prototype = field(compare=False)
    plan: MeaningPlan = field(compare=False)


def _suggest(name: str, names: Collection[str]) -> str | None:
    return did_you_mean(name, names)


def _read_word(
    value: object, allowed: Collection[ArgumentMeaning], wanted: Collection[ArgumentMeaning], example: str
) -> WrittenWord:
    if not isinstance(value, str):
        raise fault(f"wanted a function or an event, got {kind_of(value)}", f"write {example}")
    try:
        prototype = parse_prototype(value)
        plan = plan_of(prototype, allowed, _suggest)
    except PrototypeFault as error:
        raise fault(f"{shorten(value)}: {error.problem}", error.suggestion or f"write {example}") from None
    needed = {*wanted, *([ArgumentMeaning.ACCOUNT] if prototype.is_event else [])}
    if missing := [each.value for each in missing_from(plan, needed)]:
        cure = f"name the parameters that mean it: {example}"
        if prototype.is_event:
            cure = "name the parameters that mean it: event Granted(address indexed account, address sessionKey, …)"
        raise fault(f"{shorten(value)} does not tell {', '.join(missing)}", cure)
    return WrittenWord(text=value, prototype=prototype, plan=plan)


def _read_grant(value: object) -> object:
    example = "createSession(address sessionKey, address target, bytes4 selector, uint256 maxValue, uint48 validUntil)"
    return _read_word(value, _IN_GRANTS, (ArgumentMeaning.SESSION_KEY, ArgumentMeaning.TARGET), example)


def _read_revoke(value: object) -> object:
    word = _read_word(value, _IN_REVOKES, (), "revokeSession(address sessionKey)")
    rest = [each for each in word.prototype.parameters if each.name != ArgumentMeaning.ACCOUNT]
    if rest and word.plan.meanings.isdisjoint(_NAMES):
        raise fault(
            f"{shorten(str(value))} does not tell which session ends",
            "name the parameter that means it sessionKey or id; without parameters it would end all of an account",
        )
    return word


def _read_signature(value: object) -> object:
    if value == "bare":
        return None
    example = "bare, packed(address sessionKey, bytes signature) or abi(bytes32 id, bytes signature)"
    word = _read_word(value, _IN_ENVELOPES, (ArgumentMeaning.SIGNATURE,), example)
    name = word.prototype.name
    if name not in ("packed", "abi") or word.prototype.is_event or word.plan.list_path is not None:
        raise fault(f"{shorten(str(value))} is no form of a signature", f"write {example}")
    if name == "packed":
        unbounded = [each for each in word.prototype.parameters if packed_size(each.type.name) is None]
        if len(unbounded) != 1 or unbounded[0].name != ArgumentMeaning.SIGNATURE:
            problem = "in the packed form all but the signature have a fixed size"
            raise fault(f"{shorten(str(value))}: {problem}", f"write {example}")
    return word


GrantText = Annotated[InstanceOf[WrittenWord], BeforeValidator(_read_grant)]
RevokeText = Annotated[InstanceOf[WrittenWord], BeforeValidator(_read_revoke)]
SignatureText = Annotated[InstanceOf[WrittenWord] | None, BeforeValidator(_read_signature)]


class DeclaredModuleSettings(Settings):
    """A session module of one's own, or of somebody else: how it is told about sessions, and how their keys sign."""

    kind: ModuleForm = Field(examples=["declared"])
    address: AddressText = Field(examples=["0x…"])
    signature: SignatureText = None
    key_signs: KeySigns = KeySigns.MESSAGE
    grants: tuple[GrantText, ...] = ()
    revokes: tuple[RevokeText, ...] = ()
    regrant: Regrant = Regrant.REPLACE
    counts: UseCounts = UseCounts.CALLS
    unlimited_at_zero: tuple[ZeroIsUnlimited, ...] = (ZeroIsUnlimited.VALID_UNTIL,)
    from_block: int | None = Field(None, ge=0, lt=2**63)  # in which it was deployed: events since then are read once

    @model_validator(mode="after")
    def _agrees(self) -> DeclaredModuleSettings:
        problems = [*self._unnamed(), *self._doubled()]
        if problems:
            cure = "sessions are named by what signatures carry: id in both, or sessionKey; each function stands once"
            raise fault("; ".join(problems), cure)
        return self

    def _unnamed(self) -> Iterator[str]:
        name = name_carried_by(self._envelope)
        for kind, words in (("grants", self.grants), ("revokes", self.revokes)):
            for index, word in enumerate(words):
                meanings = word.plan.meanings
                if name not in meanings and not meanings.isdisjoint(_NAMES):
                    yield f"{kind}[{index}] does not tell {name.value}, which names sessions here"
                elif name is not ArgumentMeaning.ID and ArgumentMeaning.ID in meanings:
                    yield f"{kind}[{index}] tells an id, and no signature carries one: write _ for it"

    def _doubled(self) -> Iterator[str]:
        seen: dict[tuple[bool, str], str] = {}
        for kind, words in (("grants", self.grants), ("revokes", self.revokes)):
            for index, word in enumerate(words):
                own = f"{kind}[{index}]"
                first = seen.setdefault((word.prototype.is_event, word.prototype.signature), own)
                if first != own:
                    yield f"{own} is {first} once more, {word.prototype.signature}"

    @property
    def _envelope(self) -> KeyEnvelope | None:
        word = self.signature
        return None if word is None else KeyEnvelope(word.plan, packed=word.prototype.name == "packed")

    def described(self) -> DeclaredModule:
        """The module as it is read."""
        words = [(each, SessionWord(each.plan, grants=True)) for each in self.grants]
        words += [(each, SessionWord(each.plan, grants=False)) for each in self.revokes]
        return DeclaredModule(
            address=self.address,
            signer=MESSAGE_KEY if self.key_signs is KeySigns.MESSAGE else PLAIN_KEY,
            envelope=self._envelope,
            functions={each.prototype.selector: word for each, word in words if not each.prototype.is_event},
            events={each.prototype.topic: word for each, word in words if each.prototype.is_event},
            adds=self.regrant is Regrant.ADD,
            counts_operations=self.counts is UseCounts.OPERATIONS,
            unlimited_at_zero=frozenset(ArgumentMeaning(each.value) for each in self.unlimited_at_zero),
            from_block=self.from_block,
        )


def _kind_of_entry(value: object) -> str:
    if isinstance(value, dict | DeclaredModuleSettings):
        return "declared"
    return "default" if value == "default" else "address"


ModuleEntry = Annotated[
    Annotated[DeclaredModuleSettings, Tag("declared")]
    | Annotated[AddressText, Tag("address")]
    | Annotated[Literal["default"], Tag("default")],
    Discriminator(_kind_of_entry),
]


def _read_modules(value: object) -> object:
    if value == "default":
        return [print_checksummed(module) for module in PUBLISHED_SESSION_MODULES]
    if isinstance(value, str):
        raise fault(f"{shorten(value)} is no list of modules", "write default, or a list: [0x…]")
    return value


ModuleEntries = Annotated[tuple[ModuleEntry, ...], BeforeValidator(_read_modules)]


def addresses_in(entries: Collection[Any]) -> tuple[Address, ...]:  # Any: of `ModuleEntry`
    """All addresses of session modules, in the order written."""
    found: list[Address] = []
    for entry in entries:
        if entry == "default":
            found += PUBLISHED_SESSION_MODULES
        else:
            found.append(entry.address if isinstance(entry, DeclaredModuleSettings) else entry)
    return tuple(dict.fromkeys(found))


def modules_of(entries: Collection[Any], chain_id: int) -> SessionModules:  # Any: of `ModuleEntry`
    """The same, with how the declared ones are read."""
    declared = [entry.described() for entry in entries if isinstance(entry, DeclaredModuleSettings)]
    return SessionModules.of(addresses_in(entries), declared, chain_id)
