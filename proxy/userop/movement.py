"""One movement of value, as call data tells it before anything has run.

What a call really moves is known from the Transfer and Approval logs of its receipt; this is what can be said, and
limited, beforehand. Where it cannot be said the movement says so instead of counting zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.record import record
from proxy.userop.arguments import Arguments
from proxy.userop.primitives import UINT256_MAX, Address, Selector


class MovementKind(StrEnum):
    """What happens to the value."""

    SPEND = "spend"  # leaves its holder within the operation
    INFLOW = "inflow"  # arrives at the account
    EXPOSURE = "exposure"  # may be taken later by someone else
    RELEASE = "release"  # exposure taken back
    CONVERSION = "conversion"  # stays the account's in another form: wrapped, unwrapped, redeemed to itself
    OPAQUE = "opaque"  # known function, amounts decided at run time: bounded by ETH value and standing approvals
    UNATTRIBUTED = "unattributed"  # unknown function


class AssetKind(StrEnum):
    """What `Movement.token` is."""

    NATIVE = "native"
    ERC20 = "erc20"  # also an ERC-721 called by a function that both standards share (transferFrom, approve)
    ERC721 = "erc721"
    ERC1155 = "erc1155"
    COLLECTION = "collection"  # every token of a contract (setApprovalForAll)
    VAULT_ASSET = "vault_asset"  # the underlying asset of the ERC-4626 vault at `token`, which call data does not name
    UNKNOWN = "unknown"


UNLIMITED_FROM: Final = {256: UINT256_MAX, 160: 2**160 - 1}
"""The amounts that ERC-20 (256 bits) and Permit2 (160 bits) read as an allowance that never shrinks."""


@record(kw_only=True)
class Movement:
    """Value that one call of an operation moves.

    `call` is the index of the operation's own call, also for what is nested inside it. `token` is `None` for ETH and
    where no token is known. `amount` is in base units (wei for ETH), `None` when call data does not tell it.
    `counterparty` receives or may take the value, `None` when it is burnt or unknown. `holder` is whose value it
    is: the account, or someone whose allowance the account uses. `until` is the Unix second an exposure ends at, as
    given. `ambiguous` says that contracts may read the arguments otherwise: dirty address bits, short or over-long.
    """

    call: int
    kind: MovementKind
    asset: AssetKind
    token: Address | None
    amount: int | None
    counterparty: Address | None
    holder: Address
    selector: Selector
    token_id: int | None = None
    until: int | None = None
    unlimited: bool = False
    ambiguous: bool = False


def as_ambiguous(movement: Movement) -> Movement:
    """The same movement with the word that contracts may read it otherwise."""
    if movement.ambiguous:
        return movement
    return Movement(  # replace() takes five times as long, and this is done for every move of a nested call
        call=movement.call,
        kind=movement.kind,
        asset=movement.asset,
        token=movement.token,
        amount=movement.amount,
        counterparty=movement.counterparty,
        holder=movement.holder,
        selector=movement.selector,
        token_id=movement.token_id,
        until=movement.until,
        unlimited=movement.unlimited,
        ambiguous=True,
    )


@dataclass(slots=True)  # not frozen: made for every call judged, and a frozen one takes three times as long to make
class Scope:
    """The call being read: who calls what, for whose account. A reader turns it and `arguments` into movements."""

    call: int
    account: Address
    caller: Address  # msg.sender at `target`: the account, or a multicall contract it went through
    target: Address
    selector: Selector
    arguments: Arguments

    def movement(
        self,
        kind: MovementKind,
        amount: int | None,
        *,
        asset: AssetKind = AssetKind.ERC20,
        token: Address | None = None,
        counterparty: Address | None = None,
        holder: Address | None = None,
        token_id: int | None = None,
        until: int | None = None,
        unlimited: bool = False,
        ambiguous: bool = False,
    ) -> Movement:
        """A movement of this call; `token` is the target unless it is given or none is known."""
        if token is None and asset not in (AssetKind.NATIVE, AssetKind.UNKNOWN):
            token = self.target
        return Movement(
            call=self.call,
            kind=kind,
            asset=asset,
            token=token,
            amount=amount,
            counterparty=counterparty,
            holder=self.account if holder is None else holder,
            selector=self.selector,
            token_id=token_id,
            until=until,
            unlimited=unlimited,
            ambiguous=ambiguous,
        )

    def moved(
        self,
        holder: Address,
        receiver: Address | None,
        amount: int | None,
        *,
        token: Address | None = None,
        asset: AssetKind = AssetKind.ERC20,
        token_id: int | None = None,
        signed_by_holder: bool = False,
    ) -> tuple[Movement, ...]:
        """Value of `holder` goes to `receiver` (`None`: burnt).

        A stranger's value that the account sends on by an allowance is a spend too, as the on-chain spending policy
        counts it; not so when the stranger signed for that transfer himself. What anybody sends to himself moves
        nothing.
        """
        if receiver == holder:
            return ()
        if receiver == self.account:
            kind = MovementKind.INFLOW
        elif holder == self.account or (self.caller == self.account and not signed_by_holder):
            kind = MovementKind.SPEND
        else:
            return ()
        return (
            self.movement(
                kind,
                amount,
                asset=asset,
                token=token,
                counterparty=receiver,
                holder=holder,
                token_id=token_id,
            ),
        )

    def exposed(
        self,
        holder: Address,
        spender: Address,
        amount: int,
        *,
        token: Address | None = None,
        bits: int = 256,
        until: int | None = None,
    ) -> tuple[Movement, ...]:
        """`spender` may take up to `amount` of the account's `token`; someone else's allowance is nobody's here, and
        one of the account to itself lets nobody take anything."""
        if holder != self.account or spender == self.account:
            return ()
        return (
            self.movement(
                MovementKind.EXPOSURE,
                amount,
                token=token,
                counterparty=spender,
                until=until,
                unlimited=amount >= UNLIMITED_FROM[bits],
            ),
        )

    def released(self, spender: Address, amount: int | None, token: Address | None = None) -> tuple[Movement, ...]:
        """The caller takes back an allowance of `spender`: by `amount`, or all of it (`None`)."""
        if self.caller != self.account:
            return ()
        return (self.movement(MovementKind.RELEASE, amount, token=token, counterparty=spender),)
