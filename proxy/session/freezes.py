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


class Freezes:
    """The freezes that stand, by permission id."""

    __slots__ = ("_by_id", "any")

    def __init__(self) -> None:
        self._by_id: dict[Hash32, tuple[Freeze, ...]] = {}
        self.any = False
        """Whether there is one at all; asked several times for each operation."""

    def __len__(self) -> int:
        return sum(map(len, self._by_id.values()))

    def __iter__(self) -> Iterator[Freeze]:
        return (freeze for freezes in self._by_id.values() for freeze in freezes)

    def ids(self) -> Iterator[Hash32]:
        """The permission ids of which something is held."""
        return iter(self._by_id)

    def of(self, permission_id: Hash32) -> tuple[Freeze, ...]:
        """The freezes of a permission id."""
        return self._by_id.get(permission_id, ())

    def put(self, freeze: Freeze) -> None:
        """Let `freeze` stand, in place of one of the same scope."""
        others = (old for old in self._by_id.get(freeze.permission_id, ()) if old.scope != freeze.scope)
        self._by_id[freeze.permission_id] = (*others, freeze)
        self.any = True

    def lift(
        self, permission_id: Hash32, *, account: Address | None = None, chain_id: int | None = None
    ) -> tuple[Freeze, ...]:
        """Lift the freezes of an id and return them: all of it, or exactly the one of the account or chain given."""
        standing = self._by_id.pop(permission_id, ())
        self.any = bool(self._by_id)
        if account is None and chain_id is None:
            return standing
        wanted = (permission_id, account, chain_id)
        lifted = tuple(freeze for freeze in standing if freeze.scope == wanted)
        if kept := tuple(freeze for freeze in standing if freeze.scope != wanted):
            self._by_id[permission_id] = kept
            self.any = True
        return lifted

    def on(self, key: SessionKey) -> Freeze | None:
        """The freeze that holds this session, if any."""
        for freeze in self._by_id.get(key.permission_id, ()):
            if freeze.covers(key):
                return freeze
        return None
