"""Why nothing is reserved: a limit that would be passed, a cap that is reached, or something in the way."""

from __future__ import annotations

from enum import StrEnum

from proxy.errors import Code, Reason, TokenLimit
from proxy.judge.counts import CountKey
from proxy.record import record
from proxy.session.addresses import name_of_policy, token_counted
from proxy.session.counters import Counter
from proxy.userop.primitives import Hash32, print_bytes


class Hindrance(StrEnum):
    """Why nothing is reserved though no limit is passed."""

    STALE = "stale"  # what the verdict rests on has changed since
    FROZEN = "frozen"
    GRANT_RIVAL = "grant_rival"  # another operation in flight uses the same enable nonce
    SESSION_FULL = "session_full"
    ACCOUNT_FULL = "account_full"
    NONCE_FULL = "nonce_full"
    BRINGER_FULL = "bringer_full"


@record(kw_only=True)
class Caps:
    """How many operations may be in flight, or remembered because their nonce is unused, at once."""

    session: int = 20_000
    account: int = 40_000
    nonce: int = 32
    bringer: int = 512  # operations that nobody's signature was checked for, and no bundler took


@record()
class Hindered:
    """Nothing is reserved, and why; `limit` is the cap that is reached, `rival` the operation in the way."""

    by: Hindrance
    limit: int = 0
    rival: Hash32 | None = None

    def reason(self) -> Reason:
        """The refusal in words."""
        if self.by is Hindrance.GRANT_RIVAL:
            rival = "another operation" if self.rival is None else f"operation {print_bytes(self.rival)}"
            return Reason(
                code=Code.SESSION_UNKNOWN,
                sentence=f"{rival}, which is not mined yet, uses the same enable nonce of this session",
                remedy="wait for that operation's receipt, then use the session without a grant",
                retryable=True,
            )
        if self.by is Hindrance.FROZEN:
            return Reason(
                code=Code.SESSION_REVOKED,
                sentence="the session is frozen at this gate",
                remedy="ask the operator of this gate to lift the freeze",
            )
        if self.by is Hindrance.STALE:
            return Reason(
                code=Code.STATE_UNAVAILABLE,
                sentence="not decided, because the session changed while it was judged",
                remedy="send the operation again",
                missing="ledger",
                retryable=True,
            )
        if self.by is Hindrance.BRINGER_FULL:
            return Reason(
                code=Code.RATE_LIMITED,
                sentence=f"{self.limit} operations that no session signed wait for the bundler's answer for one client"
                " and address, the most there may be",
                remedy="wait until the bundler has answered some of them",
                wanted=f"at most {self.limit}",
                retryable=True,
            )
        of = {Hindrance.SESSION_FULL: "session", Hindrance.ACCOUNT_FULL: "account"}.get(self.by, "nonce")
        return Reason(
            code=Code.RATE_LIMITED,
            sentence=f"{self.limit} operations of this {of} are in flight or remembered unmined, the most there may be",
            remedy="wait until operations are mined, or use up the nonces of those that never will be",
            wanted=f"at most {self.limit}",
            retryable=True,
        )


@record()
class Refusal:
    """A counter would pass its limit: `used` on chain, `in_flight` by other operations, `wanted` by this one."""

    counter: Counter
    limit: int
    used: int
    in_flight: int
    wanted: int

    def reason(self) -> Reason:
        """The refusal in words; amounts in the counter's base units. Retryable while something is in flight."""
        left = max(self.limit - self.used - self.in_flight, 0)
        policy = name_of_policy(self.counter.policy)
        in_flight = f"; {self.in_flight} of it in flight" if self.in_flight else ""
        sentence = f"{policy} allows {left} more of {self.limit} in this session{in_flight}"
        return Reason(
            code=Code.LIMIT_EXCEEDED,
            sentence=sentence,
            remedy="wait until the operations in flight are mined, or ask for less"
            if self.in_flight
            else "ask for less, or have the account's owner grant a new session",
            policy=policy,
            wanted=f"at most {left}",
            got=str(self.wanted),
            retryable=self.in_flight > 0 and self.used + self.wanted <= self.limit,
            token_limit=self._token_limit(left, sentence),
        )

    def _token_limit(self, left: int, sentence: str) -> TokenLimit | None:
        """Of which token it is an amount, where the counter is one of those."""
        token = token_counted(self.counter)
        if token is None:
            return None
        return TokenLimit(
            token=token,
            verb="spending",
            amount=self.wanted,
            left=left,
            limit=self.limit,
            in_flight=self.in_flight,
            this_operation=0,
            said=sentence,
        )


@record()
class RuleRefusal:
    """A rule's count would pass its limit: `used` in the window, `in_flight` by other operations, `wanted` by this
    one. Of different things `in_flight` and `wanted` are those that are not among the others."""

    key: CountKey
    limit: int
    used: int
    in_flight: int
    wanted: int
