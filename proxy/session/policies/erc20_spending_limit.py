"""ERC20SpendingLimitPolicy: how much of each token may be spent or approved, the token being the call's target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from proxy.errors import Code, Reason, Undecodable
from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import (
    PASSED,
    Asks,
    Fact,
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    Spent,
    charge_one,
    malformed,
    over_limit,
)
from proxy.session.policies.token_calls import APPROVE, TRANSFER, TRANSFER_FROM, VERBS
from proxy.session.revert import BARE, INDEX_OUT_OF_RANGE, OVERFLOW, Revert
from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.primitives import UINT256_MAX, ZERO_ADDRESS, Address, print_checksummed

_INIT_DATA: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.UINT256))
_NO_HIGH_BYTES: Final = bytes(12)


@record()
class SpendingLimits(PolicyConfig):
    """Limit per token in its base units. Seen through getters only, tokens not asked for are unknown."""

    limits: Mapping[Address, int] = field(default_factory=dict)
    complete: bool = True

    def with_token(self, token: Address, limit: int) -> SpendingLimits:
        """The same with one more token; limit 0 where getPolicyData reverts with InvalidTokenAddress."""
        return SpendingLimits({**self.limits, token: limit}, self.complete)


class ERC20SpendingLimitPolicy:
    """erc7579/smartsessions `ERC20SpendingLimitPolicy.sol`, the code of August 2025; for actions only.

    The contract keeps what was spent and what was approved apart and holds their sum against the limit: one counter
    here, whose slot is the token.
    """

    name = "ERC20SpendingLimitPolicy"
    counted: frozenset[bytes] = frozenset(VERBS)
    own_transfers_are_free = True  # transferFrom to the account itself
    refuses_unequal_lengths = True

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # the key is in no error of it
        """abi.encode(address[] tokens, uint256[] limits); of a token named twice the last limit counts."""
        try:
            tokens, limits = abi.decode(_INIT_DATA, init_data, "init data")
        except Undecodable:
            return BARE
        if self.refuses_unequal_lengths and len(tokens) != len(limits):
            return Revert("InvalidInitDataLength")
        stored: dict[Address, int] = {}
        for index, token in enumerate(tokens):
            if token == ZERO_ADDRESS:
                return Revert("InvalidTokenAddress", (token,))
            if index >= len(limits):
                return INDEX_OUT_OF_RANGE
            if limits[index] == 0:
                return Revert("InvalidLimit", (0,))
            stored[token] = limits[index]
        return Initialised(SpendingLimits(stored))

    @staticmethod
    def from_getters(answers: Mapping[Address, tuple[int, int, int] | None]) -> Initialised:
        """From getPolicyData(configId, multiplexer, token, account) → (limit, spent, approved) for some tokens.

        `None` where it reverts: the token has no limit, and whatever costs something fails.
        """
        limits = {token: answer[0] if answer else 0 for token, answer in answers.items()}
        used = {bytes(token): answer[1] + answer[2] for token, answer in answers.items() if answer}
        return Initialised(SpendingLimits(limits, complete=False), used)

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:
        """Passes while spent + approved, this call included, is within the token's limit; no native value."""
        if call.value:
            return Failed(self._refuse(f"{call.value} wei sent along with a token call; this session may send none"))
        cost = self._cost_of(call, key.account)
        if not isinstance(cost, int):
            return cost
        if call.target == ZERO_ADDRESS:
            revert = Revert("InvalidTokenAddress", (call.target,))
            return malformed(self.name, revert, "the zero address is no token")
        if not cost:
            # free also for tokens that have no limit: nothing is added to nothing
            return PASSED
        return self._spend(config, call, cost, meter)

    def _spend(self, config: PolicyConfig | None, call: Call, cost: int, meter: Meter) -> Outcome:
        token = call.target
        limit = 0
        if isinstance(config, SpendingLimits):
            limit = config.limits.get(token, 0)
            if not config.complete and token not in config.limits:
                return Asks(Fact.TOKEN_LIMIT, token)
        total = meter.used(token) + cost
        if total > UINT256_MAX:
            return malformed(self.name, OVERFLOW, "more than 2^256 units spent", Code.LIMIT_EXCEEDED)
        if not limit:
            return Failed(self._unnamed(token, f"{VERBS[call.data[:4]]} of {cost}"))
        if total > limit:
            spent = Spent(token, VERBS[call.data[:4]])
            what = f"{spent.verb} of {cost} of token {print_checksummed(token)}"
            return Failed(over_limit(self.name, what, cost, limit, usage=meter.usage(token), spent=spent))
        return Passed(charges=charge_one(meter, cost, limit, token))

    def _unnamed(self, token: Address, what: str) -> Reason:
        """On chain such a token has a limit of nought, which no grant can set."""
        return Reason(
            code=Code.LIMIT_EXCEEDED,
            sentence=f"{self.name} names no limit for {print_checksummed(token)}, so there is no {what} here",
            remedy="have the owner grant a session whose spending limits name this token",
            policy=self.name,
        )

    def _cost_of(self, call: Call, account: Address) -> int | Failed | PolicyReverted:
        """Base units the call costs, or the answer when it is no counted call."""
        data = call.data
        if len(data) < 4:
            return malformed(self.name, BARE, "fewer than four bytes of call data")
        selector = data[:4]
        if selector not in self.counted:
            allowed = ", ".join(VERBS[each] for each in VERBS if each in self.counted)
            return Failed(self._refuse(f"selector 0x{selector.hex()} is none of those it allows: {allowed}"))
        if selector != TRANSFER_FROM:
            if len(data) < 68 or data[4:16] != _NO_HIGH_BYTES:
                return malformed(self.name, BARE, "arguments (address, uint256) cannot be read")
            return int.from_bytes(data[36:68], "big")
        if len(data) < 100 or data[4:16] != _NO_HIGH_BYTES or data[36:48] != _NO_HIGH_BYTES:
            return malformed(self.name, BARE, "arguments (address, address, uint256) cannot be read")
        if self.own_transfers_are_free and data[48:68] == account:
            return 0
        return int.from_bytes(data[68:100], "big")

    def _refuse(self, sentence: str) -> Reason:
        return Reason(
            code=Code.SESSION_SCOPE,
            sentence=f"{self.name}: {sentence}",
            remedy="send token calls that the spending limit counts, without value",
            policy=self.name,
        )


class ERC20SpendingLimitPolicyV1(ERC20SpendingLimitPolicy):
    """The generation of 2024: increaseAllowance is refused, transferFrom to the account itself costs in full."""

    counted = frozenset({APPROVE, TRANSFER, TRANSFER_FROM})
    own_transfers_are_free = False
    refuses_unequal_lengths = False
