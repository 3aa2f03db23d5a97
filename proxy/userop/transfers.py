"""The value that the calls of an operation move, may later move, or may move in a way that call data does not tell.

Everything here is read from call data alone and never fails: what cannot be read is `UNATTRIBUTED`, never nothing.
Wrapped-native contracts, entry points and Permit2 are known by address, token functions by selector.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from proxy.errors import Undecodable
from proxy.userop.arguments import Arguments, selector
from proxy.userop.budget import ITEM, Budget
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.execution import Call
from proxy.userop.inspection import calls_for_inspection
from proxy.userop.movement import AssetKind, Movement, MovementKind, Scope, as_ambiguous
from proxy.userop.primitives import Address, Selector
from proxy.userop.transfers_permit2 import PERMIT2, PERMIT2_READERS
from proxy.userop.transfers_tokens import TOKEN_READERS

__all__ = ["WRAPPED_NATIVE", "AssetKind", "Movement", "MovementKind", "movements_of"]

MAX_DEPTH: Final = 4
"""Multicalls inside multicalls that are followed; deeper ones are `UNATTRIBUTED`."""

WRAPPED_NATIVE: Final = frozenset(
    Address(bytes.fromhex(address))
    for address in (
        "C02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",  # Ethereum WETH
        "4200000000000000000000000000000000000006",  # OP stack predeploy (OP Mainnet, Base, Soneium, …)
        "82aF49447D8a07e3bd95BD0d56f35241523fBab1",  # Arbitrum One WETH
        "0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270",  # Polygon WPOL
        "bb4CdB9CBd36B01bD1cBaEBF2De08d9173bc095c",  # BNB Smart Chain WBNB
        "B31f66AA3C1e785363F0875A1B74E27b85FD66c7",  # Avalanche WAVAX
        "e91D153E0b41518A2Ce8Dd3D7944Fa863463a97d",  # Gnosis WXDAI
        "e5D7C2a44FfDDf6b295A15c148167daaAf5Cf34f",  # Linea WETH
        "5300000000000000000000000000000000000004",  # Scroll WETH
    )
)
"""Contracts that hold ETH for the caller one to one. No stranger can have one of these addresses on another chain."""

_DEPOSIT: Final = selector("deposit()")
_WITHDRAW: Final = selector("withdraw(uint256)")
_DEPOSIT_TO: Final = selector("depositTo(address)")
_WITHDRAW_TO: Final = selector("withdrawTo(address,uint256)")

_OPAQUE: Final = frozenset(
    selector(signature)
    for signature in (
        "execute(bytes,bytes[],uint256)",  # Universal Router
        "execute(bytes,bytes[])",
        "redeemDelegations(bytes[],bytes32[],bytes[])",  # ERC-7710
        "executeFromExecutor(bytes32,bytes)",  # ERC-7579, called by executor modules
        "executeOnOwnedAccount(address,bytes)",  # an executor module that acts on accounts it owns
        "executeComposable((address,uint256,bytes4,(uint8,bytes,(uint8,bytes)[])[],(uint8,bytes)[])[])",
        "executeComposable((bytes4,(uint8,uint8,bytes,(uint8,bytes)[])[],(uint8,bytes)[])[])",
    )
)
# handleOps and handleAggregatedOps of v0.6, then of v0.7 and later: whole operations inside a call
_OPAQUE_HANDLE_OPS: Final = frozenset(
    Selector(bytes.fromhex(text)) for text in ("1fad948c", "4b1d7cf5", "765e827f", "dbed18e0")
)


def movements_of(
    calls: Sequence[Call],
    account: Address,
    *,
    wrapped_native: Collection[Address] = WRAPPED_NATIVE,
    budget: Budget | None = None,
) -> tuple[Movement, ...]:
    """What `calls` of `account` move, in order; every movement carries the index of its call.

    A call with ETH for anyone but the account has a native movement besides what its function does. Nested calls
    are followed to `MAX_DEPTH`, and no more nested calls and array items than `budget` pays for. Never raises.
    """
    reading = _Reading(account, wrapped_native, Budget() if budget is None else budget)
    movements: list[Movement] = []
    for index, call in enumerate(calls):
        target = call.target
        is_special = target == account or target in _SPECIAL or target in wrapped_native
        if is_special or call.value or not call.data or call.selector in _UNDERSTOOD:
            movements += reading.call(index, call, account, 0)
        else:  # nobody knows what the function does: what the reading says of it in the end
            movements.append(_of_unknown_function(index, call, account))
    return tuple(movements)


def movements_known(target: Address, function: Selector, account: Address) -> tuple[Movement, ...] | None:
    """`movements_of` any one call of `account` to this function that carries no value; `None` where what it says has to
    be read."""
    is_special = target == account or target in _SPECIAL or target in WRAPPED_NATIVE
    if is_special or function in _UNDERSTOOD:
        return None
    return (_of_unknown_function(0, Call(target, 0, function), account),)


def _of_unknown_function(index: int, call: Call, account: Address) -> Movement:
    return Movement(
        call=index,
        kind=MovementKind.UNATTRIBUTED,
        asset=AssetKind.UNKNOWN,
        token=None,
        amount=None,
        counterparty=call.target,
        holder=account,
        selector=call.selector,
    )


class _Reading:
    """One pass over the calls of an operation."""

    __slots__ = ("_account", "_budget", "_wrapped_native")

    def __init__(self, account: Address, wrapped_native: Collection[Address], budget: Budget) -> None:
        self._account = account
        self._wrapped_native = wrapped_native
        self._budget = budget

    def call(self, index: int, call: Call, caller: Address, depth: int) -> Sequence[Movement]:
        """The movements of one call of `caller`; `index` is the top-level call it belongs to."""
        arguments = Arguments(call.data[4:], self._budget)
        scope = Scope(index, self._account, caller, call.target, call.selector, arguments)
        try:
            movements = [*self._native(scope, call), *self._function(scope, call, depth)]
        except Undecodable:
            return [*self._native(scope, call), _unattributed(scope, ambiguous=True)]
        if arguments.end and not arguments.exact:
            movements = [as_ambiguous(movement) for movement in movements]
            # read as moving nothing, but not beyond doubt
            return movements or [_unattributed(scope, ambiguous=True)]
        return movements

    def _native(self, scope: Scope, call: Call) -> tuple[Movement, ...]:
        # what a multicall contract sends on came from the account's own call to it and is counted there
        if not call.value or call.target == self._account or scope.caller != self._account:
            return ()
        kind, counterparty = MovementKind.SPEND, call.target
        if call.target in self._wrapped_native and (not call.data or scope.selector == _DEPOSIT):
            kind = MovementKind.CONVERSION
        elif scope.selector == _DEPOSIT_TO and call.target in ENTRY_POINT_BY_ADDRESS:
            counterparty = scope.arguments.address(0)
        return (scope.movement(kind, call.value, asset=AssetKind.NATIVE, counterparty=counterparty),)

    def _function(self, scope: Scope, call: Call, depth: int) -> Iterable[Movement]:
        if not call.data:
            return ()
        if call.target == PERMIT2:
            read = PERMIT2_READERS.get(scope.selector)
        elif call.target in self._wrapped_native and scope.selector in (_DEPOSIT, _WITHDRAW):
            return _unwrapped(scope)
        elif call.target in ENTRY_POINT_BY_ADDRESS and scope.selector in (_DEPOSIT_TO, _WITHDRAW_TO):
            return _entry_point_deposit(scope)
        else:
            read = TOKEN_READERS.get(scope.selector)
        if read is not None:
            return read(scope)
        nested = self._nested(scope, call)
        if nested is not None:
            if depth == MAX_DEPTH:
                raise Undecodable("callData", "calls nested too deep")
            caller, inner = nested
            return [move for item in inner for move in self.call(scope.call, item, caller, depth + 1)]
        if scope.selector in _OPAQUE or scope.selector in _OPAQUE_HANDLE_OPS:
            return (scope.movement(MovementKind.OPAQUE, None, asset=AssetKind.UNKNOWN, counterparty=call.target),)
        return (_unattributed(scope),)

    def _nested(self, scope: Scope, call: Call) -> tuple[Address, Sequence[Call]] | None:
        """Who calls, and what, when the call is a wrapper around others."""
        if call.target == self._account:
            self._budget.draw(ITEM)
            inner = calls_for_inspection(call.data, self._account, self._budget)
            if inner != (Call(call.target, 0, call.data),):
                self._budget.draw(ITEM * len(inner))
                return scope.caller, inner
        if (position := _MULTICALLS.get(scope.selector)) is not None:
            # the target delegates to itself: msg.sender stays, and so does the one msg.value already counted
            return scope.caller, [Call(call.target, 0, data) for data in scope.arguments.blobs(position)]
        if (read := _AGGREGATES.get(scope.selector)) is not None:
            return call.target, read(scope.arguments)
        return None


def _unattributed(scope: Scope, *, ambiguous: bool = False) -> Movement:
    return scope.movement(
        MovementKind.UNATTRIBUTED,
        None,
        asset=AssetKind.UNKNOWN,
        counterparty=scope.target,
        ambiguous=ambiguous,
    )


def _unwrapped(scope: Scope) -> tuple[Movement, ...]:
    if scope.selector == _DEPOSIT:
        return ()  # the native movement says it
    amount = scope.arguments.uint(0)
    if scope.caller != scope.account:
        return ()
    return (scope.movement(MovementKind.CONVERSION, amount, counterparty=scope.account),)


def _entry_point_deposit(scope: Scope) -> tuple[Movement, ...]:
    """The account's deposit at an entry point: it pays gas, and can be withdrawn to anyone."""
    receiver = scope.arguments.address(0)
    if scope.selector == _DEPOSIT_TO:
        return ()  # the native movement says it
    amount = scope.arguments.uint(1)
    if scope.caller != scope.account:
        return ()
    kind = MovementKind.INFLOW if receiver == scope.account else MovementKind.SPEND
    return (scope.movement(kind, amount, asset=AssetKind.NATIVE, counterparty=receiver),)


_MULTICALLS: Final[dict[Selector, int]] = {
    selector("multicall(bytes[])"): 0,
    selector("multicall(uint256,bytes[])"): 1,
    selector("multicall(bytes32,bytes[])"): 1,
}
"""Functions that call their own contract again, and the argument that holds the calls."""


def _aggregate(position: int, data_at: int) -> Callable[[Arguments], Sequence[Call]]:
    """A reader of (address target, …, bytes callData)[] at argument `position`, call data at member `data_at`."""

    def read(arguments: Arguments) -> Sequence[Call]:
        return [Call(item.address(0), 0, item.blob(data_at)) for item in arguments.tuples(position)]

    return read


_AGGREGATES: Final[dict[Selector, Callable[[Arguments], Sequence[Call]]]] = {
    selector("aggregate((address,bytes)[])"): _aggregate(0, 1),
    selector("blockAndAggregate((address,bytes)[])"): _aggregate(0, 1),
    selector("tryAggregate(bool,(address,bytes)[])"): _aggregate(1, 1),
    selector("tryBlockAndAggregate(bool,(address,bytes)[])"): _aggregate(1, 1),
    selector("aggregate3((address,bool,bytes)[])"): _aggregate(0, 2),
    selector("aggregate3Value((address,bool,uint256,bytes)[])"): _aggregate(0, 3),
}
"""Multicall3 and its forebears: the inner calls come from that contract, not from the account."""

_UNDERSTOOD: Final = frozenset({*TOKEN_READERS, *_MULTICALLS, *_AGGREGATES, *_OPAQUE, *_OPAQUE_HANDLE_OPS})
"""Functions that are read whatever contract they are of,"""
_SPECIAL: Final = frozenset({PERMIT2, *ENTRY_POINT_BY_ADDRESS})
"""and contracts that have functions of their own, beside the account and wrapped coins."""
