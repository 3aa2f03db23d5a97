"""Ops' local kill switch: permission ids held, known or not, whatever the chain says of them."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.record import record
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, Hash32


@record(kw_only=True)
class Freeze:
    """A permission id that may not be used; `account` and `chain_id` of `None` mean every one."""

    permission_id: Hash32
    account: Address | None = None
    chain_id: int | None = None
    since: float  # unix seconds
    note: str = ""  # for the people who meet it

    def covers(self, key: SessionKey) -> bool:
        """Whether this freeze holds the session."""
        return (
            self.permission_id == key.permission_id
            and self.account in (None, key.account)
            and self.chain_id in (None, key.chain_id)
        )

    @property
    def scope(self) -> tuple[Hash32, Address | None, int | None]:
        """What is held; at most one freeze stands for each scope."""
        return self.permission_id, self.account, self.chain_id


_Scope = tuple[Address | None, int | None]
"""An account and a chain id; `None` for every one."""


class Freezes:
    """The freezes that stand, by permission id and by what each holds of it: found, however many there are."""

    __slots__ = ("_by_id", "any")

    def __init__(self) -> None:
        self._by_id: dict[Hash32, dict[_Scope, Freeze]] = {}
        self.any = False
        """Whether there is one at all; asked several times for each operation."""

    def __len__(self) -> int:
        return sum(map(len, self._by_id.values()))

    def __iter__(self) -> Iterator[Freeze]:
        return (freeze for freezes in self._by_id.values() for freeze in freezes.values())

    def ids(self) -> Iterator[Hash32]:
        """The permission ids of which something is held."""
        return iter(self._by_id)

    def has(self, permission_id: Hash32, account: Address | None, chain_id: int | None) -> bool:
        """Whether one of just this scope stands."""
        return (account, chain_id) in self._by_id.get(permission_id, ())

    def of_accounts(self, permission_id: Hash32) -> Iterator[Freeze]:
        """Those of the id that hold one account each, as they are now whatever is changed meanwhile."""
        standing = tuple(self._by_id.get(permission_id, {}).values())
        return (freeze for freeze in standing if freeze.account is not None)

    def put(self, freeze: Freeze) -> None:
        """Let `freeze` stand, in place of one of the same scope."""
        standing = self._by_id.setdefault(freeze.permission_id, {})
        standing.pop(freeze.scope[1:], None)  # the one that came last is the last
        standing[freeze.scope[1:]] = freeze
        self.any = True

    def lift(
        self, permission_id: Hash32, *, account: Address | None = None, chain_id: int | None = None
    ) -> tuple[Freeze, ...]:
        """Lift the freezes of an id and return them: all of it, or exactly the one of the account or chain given."""
        standing = self._by_id.get(permission_id, {})
        if account is None and chain_id is None:
            lifted, standing = tuple(standing.values()), {}
        else:
            freeze = standing.pop((account, chain_id), None)
            lifted = () if freeze is None else (freeze,)
        if not standing:
            self._by_id.pop(permission_id, None)
        self.any = bool(self._by_id)
        return lifted

    def on(self, key: SessionKey) -> Freeze | None:
        """The freeze that holds this session, if any; of several the one that has stood longest."""
        standing = self._by_id.get(key.permission_id)
        if standing is None:
            return None
        account, chain_id = key.account, key.chain_id
        scopes = ((None, None), (None, chain_id), (account, None), (account, chain_id))
        found = [freeze for scope in scopes if (freeze := standing.get(scope)) is not None]
        return min(found, key=lambda freeze: freeze.since, default=None)
