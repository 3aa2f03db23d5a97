"""Sessions that only the settings know, and what mined operations have used of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.declared import DeclaredSession
from proxy.userop.key_forms import KEY_FORMS
from proxy.userop.primitives import Address, Hash32


class Declarations:
    """The declared sessions, by their names."""

    def __init__(self) -> None:
        self._declared: dict[tuple[int, Address, Hash32], tuple[DeclaredSession, ...]] = {}
        self._of_account: dict[tuple[int, Address], tuple[DeclaredSession, ...]] = {}
        self._by_chain: dict[int, int] = {}
        self._uses: dict[Counter, int] = {}
        self.any = False
        """Whether there is one at all; asked for each operation."""

    def take(self, sessions: Iterable[DeclaredSession]) -> None:
        """Know these, and no others; what was used of the same actions stays counted."""
        self._declared.clear()
        self._of_account.clear()
        self._by_chain.clear()
        for session in sessions:
            name = (session.chain_id, session.account, session.permission_id)
            self._declared[name] = (*self._declared.get(name, ()), session)
            owner = (session.chain_id, session.account)
            self._of_account[owner] = (*self._of_account.get(owner, ()), session)
            self._by_chain[session.chain_id] = self._by_chain.get(session.chain_id, 0) + 1
        self.any = bool(self._declared)

    def of(self, key: SessionKey) -> DeclaredSession | None:
        """The declaration that speaks of this session, if any."""
        for session in self._declared.get((key.chain_id, key.account, key.permission_id), ()):
            if session.covers(key):
                return session
        return None

    def of_account(self, chain_id: int, account: Address) -> tuple[DeclaredSession, ...]:
        """The declared sessions of an account."""
        return self._of_account.get((chain_id, account), ())

    def at_declared(self, chain_id: int, module: Address, account: Address) -> list[SessionKey]:
        """Those of an account at a module that is declared itself: its word is all that ends them."""
        here = (each for each in self.of_account(chain_id, account) if each.module == module)
        return [each.key(module) for each in here if each.validator in KEY_FORMS]

    def counts(self) -> Mapping[int, int]:
        """How many there are, by chain id."""
        return dict(self._by_chain)

    # what was used

    def uses(self, counter: Counter) -> int:
        """What mined operations have used of an action."""
        return self._uses.get(counter, 0)

    def restore_uses(self, uses: Mapping[Counter, int]) -> None:
        """Take up the count where it was before a restart."""
        self._uses.update(uses)

    def charge(self, charge: Charge) -> None:
        """So much more was used."""
        self._uses[charge.counter] = self._uses.get(charge.counter, 0) + charge.amount

    def take_back(self, charge: Charge) -> None:
        """It was not used after all."""
        self._uses[charge.counter] = max(self._uses.get(charge.counter, 0) - charge.amount, 0)
