"""What one client may do: which methods, for which accounts and sessions, and how often."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.clients.rations import Ration, Rations
from proxy.errors import InvalidParams, MethodNotFound, NotLicensed, Undecodable
from proxy.methods import METHODS, MethodClass
from proxy.strict_json import shown
from proxy.userop.budget import Budget
from proxy.userop.declared_module import UNNAMED, SessionModules, declared_in, declared_modules
from proxy.userop.decode import decode_claim
from proxy.userop.entry_point import EntryPoint
from proxy.userop.primitives import Address, Hash32, parse_address, parse_hash, print_bytes, print_checksummed
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation

_RATION_OF: Final = {
    MethodClass.SUBMIT: Ration.OPERATIONS,
    MethodClass.PREVIEW: Ration.ESTIMATES,
    MethodClass.SPONSOR: Ration.ESTIMATES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """What a client may do. `None` allows every one; a rate that is not named is not bounded."""

    methods: frozenset[str] | None = None
    accounts: frozenset[Address] | None = None
    permission_ids: frozenset[Hash32] | None = None
    rates: Mapping[Ration, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Guest:
    """A client that calls: its name, its licence, what is left of its rations, and whether it has shown a key."""

    name: str
    licence: Licence = field(default_factory=Licence)
    rations: Rations | None = None
    has_key: bool = False

    @property
    def absent_rate(self) -> float | None:
        """How many sessions a second it may name in vain; `None` where its licence leaves that to the gate's limit."""
        return self.licence.rates.get(Ration.ABSENT_SESSIONS)

    @property
    def may_send_any(self) -> bool:
        """Whether `admit_operation` refuses it none."""
        return self.licence.accounts is None and self.licence.permission_ids is None

    def take(self, ration: Ration) -> None:
        """Count one more. Raises `RateLimited`."""
        a_second = self.licence.rates.get(ration)
        if a_second is not None and self.rations is not None:
            self.rations.take(self.name, ration, a_second)

    def admit(self, method: str, method_class: MethodClass, params: Sequence[object]) -> None:
        """Refuse what this client may not ask. An operation in it is looked at by `admit_operation` as well.

        Raises `MethodNotFound`, `NotLicensed`, `RateLimited`.
        """
        licence = self.licence
        if licence.methods is not None and method not in licence.methods:
            name = shown(method, 64)
            raise MethodNotFound(f"client {self.name} may not use {name}", data={"method": name})
        if licence.accounts is not None or licence.permission_ids is not None:
            self._admit_names(method, params)
        if licence.rates and (ration := _RATION_OF.get(method_class)) is not None:
            self.take(ration)

    def admit_operation(
        self, op: UserOperation, entry_point: EntryPoint, modules: Collection[Address], *, preview: bool = False
    ) -> bool:
        """Refuse an operation of an account or a session that is not this client's. Raises `NotLicensed`. Whether it
        took so long to read that others should be let on now.

        A client that is bound to sessions sends theirs alone: what claims none, or cannot be read, is another's. Where
        only a signature names the session, a preview with its stub names none, and sends nothing either.
        """
        licence = self.licence
        if licence.accounts is not None:
            self._admit_account(op.sender)
        if licence.permission_ids is None:
            return False
        budget = Budget()
        try:
            signed = None if preview or not declared_modules(modules) else _hash_of(op, entry_point, modules)
            claim = decode_claim(op, entry_point, modules, budget, user_op_hash=signed)
        except Undecodable as error:
            raise NotLicensed(f"client {self.name} is bound to sessions, and none can be read here: {error}") from None
        if claim is None:
            raise NotLicensed(f"client {self.name} is bound to sessions, and this operation claims none")
        if not (preview and claim.envelope.permission_id == UNNAMED and declared_in(modules, claim.module)):
            self._admit_session(claim.envelope.permission_id)
        return budget.is_drawn_upon

    def _admit_names(self, method: str, params: Sequence[object]) -> None:
        """What a method names beside an operation that is judged. What cannot be read is refused there, or here."""
        known = METHODS.get(method)
        names = () if known is None else known.names
        if not names or not params or known is None or known.method_class in _RATION_OF:
            return
        first = params[0]
        try:
            match names[0]:
                case "userOperation":
                    sender = first.get("sender") if isinstance(first, dict) else None
                    self._admit_account(parse_address(sender, "params[0].sender"))
                case "sender":
                    self._admit_account(parse_address(first, "params[0]"))
                case "account":
                    named = first if isinstance(first, dict) else dict(zip(names, params, strict=False))
                    self._admit_account(parse_address(named.get("account"), "account"))
                    if self.licence.permission_ids is not None:
                        self._admit_session(parse_hash(named.get("permissionId"), "permissionId"))
        except InvalidParams as error:
            raise NotLicensed(f"client {self.name} is bound to accounts or sessions: {error}") from None

    def _admit_account(self, account: Address) -> None:
        accounts = self.licence.accounts
        if accounts is not None and account not in accounts:
            raise NotLicensed(f"client {self.name} may not act for account {print_checksummed(account)}")

    def _admit_session(self, permission_id: Hash32) -> None:
        allowed = self.licence.permission_ids
        if allowed is not None and permission_id not in allowed:
            raise NotLicensed(f"client {self.name} may not use session {print_bytes(permission_id)}")


def _hash_of(op: UserOperation, entry_point: EntryPoint, modules: Collection[Address]) -> Hash32 | None:
    """What a session key signed. Raises `Undecodable`."""
    return user_op_hash(op, entry_point, modules.chain_id) if isinstance(modules, SessionModules) else None


ANYBODY: Final = Guest("anonymous")
"""Every caller where no clients are configured."""
