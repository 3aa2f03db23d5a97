"""What ops say: one rule as it is held in memory, and the set of them that judges together. Made by `judge.parse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from proxy.document import Place
from proxy.judge.expression import Expression
from proxy.judge.tokens import Asset, Tokens
from proxy.judge.verdict import Mode
from proxy.record import record
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import Address, Hash32, Selector

__all__ = [
    "ANY_CHAIN",
    "ANY_COIN",
    "REJECTED",
    "AmountOf",
    "Calendar",
    "Check",
    "Deviation",
    "Exemption",
    "Fail",
    "FirstSeen",
    "Floor",
    "Hours",
    "Limit",
    "Match",
    "Of",
    "OnCalendar",
    "Per",
    "Place",
    "Rate",
    "Rule",
    "Ruleset",
    "Schedule",
    "Sliding",
    "Streak",
    "Sum",
    "Window",
]

REJECTED: Final = "rejected"
"""In `match: {verdict: …}`: any verdict of the chain but `allow`."""


ANY_CHAIN: Final = 0
"""In an asset of a match: on whichever chain."""

ANY_COIN: Final = Asset(ANY_CHAIN, None)

SINCE_SECOND_RELEASE: Final = {"later": True}
"""Marks a field that came later: at its default a rule is the one it was, and keeps what it has counted."""


class Fail(StrEnum):
    """What a rule says when a fact or a counter it needs is missing."""

    CLOSED = "closed"  # as if it had fired
    OPEN = "open"  # as if it had not; counted


class Per(StrEnum):
    """What a count is kept for. A rule names none (one count for all), one, or two of them."""

    SESSION = "session"
    ACCOUNT = "account"
    CLIENT = "client"
    TARGET = "target"
    RECIPIENT = "recipient"
    TOKEN = "token"  # noqa: S105  # no secret: an ERC-20 token
    CHAIN = "chain"


@record(kw_only=True)
class Match:
    """The structured part of a rule: every field given must fit, any of its values will do. `None` fits everything.

    `targets` and `selectors` given together must fit the same call. `moves` fits value leaving the account or
    exposed to others (spend, exposure), and `ANY_COIN` in it the native coin of every chain. `any_move`, `any_act` and
    `any_paymaster` ask whether there is one at all. `verdicts` are those of the chain, `allow` unless the rule names
    others; `rejected` stands for all others.
    """

    session: bool | None = None
    grant: bool | None = None
    preview: bool | None = False
    accounts: frozenset[Address] | None = None
    permission_ids: frozenset[Hash32] | None = None
    targets: frozenset[Address] | None = None
    selectors: frozenset[Selector] | None = None
    moves: frozenset[Asset] | None = None
    any_move: bool | None = None
    clients: frozenset[str] | None = None
    chains: frozenset[str] | None = None
    session_modes: frozenset[str] | None = None
    modules: frozenset[Address] | None = None
    paymasters: frozenset[Address] | None = None
    any_paymaster: bool | None = None
    methods: frozenset[str] | None = None
    acts: frozenset[str] | None = None
    any_act: bool | None = None
    verdicts: frozenset[str] | None = frozenset({"allow"})


class Calendar(StrEnum):
    """Windows that begin on the clock, in a time zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"


@record()
class Sliding:
    """The last `seconds`."""

    seconds: int


@record()
class OnCalendar:
    """The present hour, day, week or month in `zone`."""

    unit: Calendar
    zone: ZoneInfo


Window = Sliding | OnCalendar


class Sum(StrEnum):
    """The amounts that can be added up, compared or learnt."""

    SPEND = "spend"  # value that leaves the account, of one asset or in USD
    EXPOSURE = "exposure"  # allowances given, of one asset or in USD
    VALUE = "value"  # ETH sent along with calls, in wei
    GAS = "gas"  # all gas limits
    CALL_GAS = "call_gas"
    MAX_COST = "max_cost"  # wei
    CALLS = "calls"


class Of(StrEnum):
    """The things that can be counted once each, or seen for the first time."""

    TARGET = "target"
    SELECTOR = "selector"  # of a target: the pair
    RECIPIENT = "recipient"  # receives or may take value
    TOKEN = "token"  # noqa: S105  # no secret: an ERC-20 token
    CLIENT = "client"
    PAYMASTER = "paymaster"
    NONCE_KEY = "nonce_key"
    ACCOUNT = "account"
    SESSION = "session"


@record()
class AmountOf:
    """What is measured: `asset` for spend and exposure, or `usd` for all priced assets together (10^-18 USD)."""

    what: Sum
    asset: str | None = None  # symbol of a token
    usd: bool = False


@record(kw_only=True)
class Limit:
    """At most `maximum` over the window, what is in flight included.

    `kind` is `sum` of `amount`, `count` of operations, `distinct` of `of`, or `max` of `amount` in one operation
    (which keeps no count). `maximum` is by chain id where the unit is a token whose decimals differ between chains,
    otherwise under the key 0.
    """

    kind: str  # sum | count | distinct | max
    maximum: Mapping[int, int]
    per: tuple[Per, ...]
    window: Window | None  # None for max
    amount: AmountOf | None = None
    of: Of | None = None

    def maximum_on(self, chain_id: int) -> int | None:
        """The limit on a chain; `None` where its token does not exist."""
        return self.maximum.get(chain_id, self.maximum.get(0))


@record(kw_only=True)
class Rate:
    """At most `maximum` requests that match, whatever becomes of them, over the window."""

    maximum: int
    per: tuple[Per, ...]
    window: Sliding


@record(kw_only=True)
class Floor:
    """So much of an amount or more, by chain id as the maximum of a limit is."""

    amount: AmountOf
    least: Mapping[int, int]

    def least_on(self, chain_id: int) -> int | None:
        """The floor on a chain; `None` where its token does not exist."""
        return self.least.get(chain_id, self.least.get(0))


@record(kw_only=True)
class FirstSeen:
    """Something that is not known yet, once there is a history of `after_operations` or `after_seconds`.

    Known is what was seen in `times` operations, the first of them `over_seconds` ago. `above` and `learn_above` are
    for recipients: who gets less than `above` is not asked about, who gets less than `learn_above` is not learnt.
    """

    of: Of
    per: tuple[Per, ...]
    after_operations: int = 0
    after_seconds: int = 0
    times: int = field(default=1, metadata=SINCE_SECOND_RELEASE)
    over_seconds: int = field(default=0, metadata=SINCE_SECOND_RELEASE)
    above: Floor | None = field(default=None, metadata=SINCE_SECOND_RELEASE)
    learn_above: Floor | None = field(default=None, metadata=SINCE_SECOND_RELEASE)


@record(kw_only=True)
class Deviation:
    """Further from the history's median than `factor` times its usual spread, after `after_operations` of history."""

    amount: AmountOf
    per: tuple[Per, ...]
    factor: int
    after_operations: int


@record(kw_only=True)
class Streak:
    """As many operations in a row as `length` that ended in `outcome`: `reverted` on chain, or `rejected` here."""

    outcome: str  # reverted | rejected
    length: int
    per: tuple[Per, ...]


@record(kw_only=True)
class Hours:
    """Part of a week: days (0 = Monday) and minutes of the day, the end exclusive; it may go past midnight."""

    days: frozenset[int]
    start: int
    end: int


@record(kw_only=True)
class Schedule:
    """Fires outside of `inside`, or inside when `within` is true."""

    zone: ZoneInfo
    hours: tuple[Hours, ...]
    within: bool = False


Check = Limit | Rate | FirstSeen | Deviation | Streak | Schedule
"""What a rule asks beyond its match and condition; a rule without one fires whenever both hold."""


@record(kw_only=True)
class Exemption:
    """`except`: what a rule does not apply to, as data, why, and until when (unix seconds, exclusive)."""

    match: Match
    when: Expression | None = None
    reason: str | None = None
    until: float | None = None


@record(kw_only=True)
class Rule:
    """One rule. `order` is its place among all rules of all files; `identity` names its counters: it changes when what
    is counted changes, so that a reload keeps the counters of rules that count as before."""

    id: str
    description: str
    mode: Mode
    severity: Severity
    fail: Fail
    match: Match
    place: Place
    order: int
    identity: bytes  # 16 bytes
    when: Expression | None = None
    learn: Expression | None = None  # which operations teach the history; without, those that `when` holds for
    check: Check | None = None
    exemptions: tuple[Exemption, ...] = ()
    remedy: str | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None  # whom to ask about it
    runbook: str | None = None  # where it says what to do when it fires
    notify: tuple[str, ...] = ()  # names of alert sinks that hear of it in place of those the settings route it to


@record(kw_only=True)
class Ruleset:
    """The rules that judge together, in file order. `digest` names the set: hex of a hash over all that was read.

    `listed` says how many values each list has that stands in a file of its own.
    """

    rules: tuple[Rule, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    digest: str = ""
    listed: Mapping[str, int] = field(default_factory=dict)
