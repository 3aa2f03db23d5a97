"""The operation that a request carries, read once: what is judged, and the params that go on, printed by us. No I/O.

Submissions and estimates are read strictly (see `userop.user_operation`). Who asks a paymaster to pay sends an
operation that is not whole yet: gas, fees and signature may be absent, and vendors add members of their own. What is
read of it is judged and printed by us; the rest goes on as it came, since a paymaster submits nothing, and what is
submitted later is judged again.

Shapes: ERC-7677, [operation, entry point, chain id, context]; `@zerodev/sdk` 5.5 and `@account-kit/infra` put all of it
into one object; `@biconomy/abstractjs` 1.2 names no entry point and writes quantities in decimal digits, as
`@startale-scs/aa-sdk` 1.1 does with fees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final, NamedTuple

from proxy.errors import InvalidParams
from proxy.methods import METHODS, MethodClass, check_arity
from proxy.record import record
from proxy.strict_json import NumberLiteral, print_json
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, EntryPoint, EntryPointVersion
from proxy.userop.primitives import Address, json_type, parse_address, print_bytes, print_checksummed
from proxy.userop.user_operation import (
    PAYMASTER_KEYS,
    UINT_KEYS,
    UserOperation,
    keys_of,
    parse_printed_operation,
    parse_printed_place,
    parse_user_operation,
    print_user_operation,
)

_made: Final = tuple.__new__  # makes a named tuple of all its values without asking for their names
_DECIMAL: Final = re.compile(r"[0-9]{1,78}\Z")
_CHAIN_ID: Final = re.compile(r"(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})\Z")


class _Wrapping(NamedTuple):
    """The members of the one object in which a vendor's method carries everything."""

    operation: str
    entry_point: str
    stub: str | None = None  # the signature to estimate with, where it stands beside the operation


_WRAPPINGS: Final = {
    "zd_sponsorUserOperation": _Wrapping("userOp", "entryPointAddress"),
    "stackup_getERC20TokenQuotes": _Wrapping("userOp", "entryPointAddress"),
    "alchemy_requestGasAndPaymasterAndData": _Wrapping("userOperation", "entryPoint", "dummySignature"),
    "alchemy_requestPaymasterAndData": _Wrapping("userOperation", "entryPoint", "dummySignature"),
}
_OLD: Final = (EntryPointVersion.V06,)
_SPLIT: Final = tuple(version for version in EntryPointVersion if version not in _OLD)
_CHAIN: Final = "chainId"
_WITH_OPTIONS: Final = 3
_SPONSOR: Final = MethodClass.SPONSOR  # looked up once, not of every operation


class CarriedOperation(NamedTuple):
    """What a request carries: the operation as it is judged, and the JSON array of params that is sent."""

    op: UserOperation
    entry_point: EntryPoint
    params: bytes


@record()
class Serving:
    """Which operations a chain takes: those of its entry points; of its id, where a request names one."""

    entry_points: Mapping[Address, EntryPoint]
    chain_id: int | None = None
    texts: Mapping[Address, str] = field(init=False, repr=False, compare=False)  # as they are printed
    by_text: Mapping[str, EntryPoint] = field(init=False, repr=False, compare=False)  # as they mostly come

    def __post_init__(self) -> None:
        texts = {address: print_bytes(address) for address in self.entry_points}
        by_text = {print_checksummed(address): each for address, each in self.entry_points.items()}
        by_text |= {texts[address]: each for address, each in self.entry_points.items()}
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "by_text", by_text)

    def entry_point(self, value: object, field: str) -> EntryPoint:
        """The entry point at an address. Raises `InvalidParams` for one that is not served."""
        address = parse_address(value, field)
        if (served := self.entry_points.get(address)) is not None:
            return served
        known = ", ".join(f"{print_checksummed(each.address)} ({each.version})" for each in self.entry_points.values())
        named = ENTRY_POINT_BY_ADDRESS.get(address)
        if named is None:
            raise InvalidParams(field, f"entry point {print_checksummed(address)} is not served here; {known} is")
        problem = f"entry point {print_checksummed(address)} ({named.version}) is not served here, {known} is"
        raise InvalidParams(field, f"{problem}; {_adding(named.version)}")

    def fitting(self, operation: object) -> EntryPoint:
        """The first entry point whose operations look like this one, for requests that name none."""
        old = isinstance(operation, dict) and ("initCode" in operation or "paymasterAndData" in operation)
        for each in self.entry_points.values():
            if (each.version is EntryPointVersion.V06) == old:
                return each
        problem = "not the shape of an operation for an entry point that is served here"
        raise InvalidParams("params[0]", f"{problem}; {_adding(*(_OLD if old else _SPLIT))}")

    def check_chain(self, value: object, field: str) -> None:
        """Refuse what is asked for another chain. Raises `InvalidParams`."""
        text = value.text if isinstance(value, NumberLiteral) else value
        if not isinstance(text, str) or not _CHAIN_ID.match(text):
            raise InvalidParams(field, f"wanted a chain id, got {json_type(value)}")
        named = int(text, 16 if text.startswith("0x") else 10)
        if self.chain_id is not None and named != self.chain_id:
            raise InvalidParams(field, f"chain {named} is not the one served here, which is {self.chain_id}")


def _adding(*versions: EntryPointVersion) -> str:
    """What whoever runs the gate can do about an entry point that is not served."""
    return f"whoever runs this gate can add {' or '.join(versions)} to the chain's `entry_points`"


def read_carried(method: str, method_class: MethodClass, params: list[object], serving: Serving) -> CarriedOperation:
    """Read the operation of a request. Raises `InvalidParams`."""
    if method_class is not _SPONSOR and (seen := _read_as_sent(params, serving)) is not None:
        return seen  # nearly always
    if method_class is MethodClass.SUBMIT and len(params) == _WITH_OPTIONS and _says_nothing(params[-1]):
        params = params[:-1]
    check_arity(method, len(params))
    if method_class is not _SPONSOR:
        entry_point = serving.entry_point(params[1], "params[1]")
        read = parse_user_operation(params[0], entry_point.version, estimate=method_class is MethodClass.PREVIEW)
        return _carried(read, entry_point, [print_user_operation(read), print_bytes(entry_point.address), *params[2:]])
    if (wrapping := _WRAPPINGS.get(method)) is not None:
        return _read_wrapped(params[0], wrapping, serving)
    if len(params) > 1 and not isinstance(params[1], dict):
        entry_point = serving.entry_point(params[1], "params[1]")
        rest: list[object] = [print_bytes(entry_point.address), *params[2:]]
    else:
        entry_point, rest = serving.fitting(params[0]), params[1:]
    if _CHAIN in METHODS[method].names:
        _check_chain_among(params, serving)
    op, printed = _read_unfinished(params[0], entry_point, "params[0]")
    return _carried(op, entry_point, [printed, *rest])


def _read_as_sent(params: list[object], serving: Serving) -> CarriedOperation | None:
    """The operation of a submission or an estimate with nothing beside it, where it is written as it is sent: to print
    it again would make the same of it. `None` of any other."""
    if len(params) != 2 or type(params[1]) is not str or (served := serving.by_text.get(params[1])) is None:
        return None
    op = parse_printed_operation(params[0], served.version)
    if op is None:
        return None
    return _made(CarriedOperation, (op, served, print_json([params[0], serving.texts[served.address]])))


def read_place(params: list[object], serving: Serving) -> tuple[bytes, EntryPoint, Address, int] | None:
    """What is sent of a request that hands an operation in, its entry point, its sender and its nonce, where the
    operation is written as it is sent, which nearly every one is; `None` of any other, which `read_carried` reads."""
    if len(params) != 2 or type(params[1]) is not str or (served := serving.by_text.get(params[1])) is None:
        return None
    place = parse_printed_place(params[0], served.version)
    return None if place is None else (print_json([params[0], serving.texts[served.address]]), served, *place)


def _says_nothing(options: object) -> bool:
    """Whether a third param of a send may be left out: there is none in it, or what `@biconomy/account` 4.6 tells the
    bundler of its own. Any other is refused, for bundlers take it for a permission."""
    return options is None or (isinstance(options, dict) and options.keys() == {"simulation_type"})


def _carried(op: UserOperation, entry_point: EntryPoint, params: list[object]) -> CarriedOperation:
    return CarriedOperation(op, entry_point, print_json(params))


def _check_chain_among(params: list[object], serving: Serving) -> None:
    """The first scalar behind the entry point is the chain's id: SDKs put it before their context, or after it."""
    for index, param in enumerate(params[2:], start=2):
        if param is not None and not isinstance(param, dict | list):
            serving.check_chain(param, f"params[{index}]")
            return


def _read_wrapped(value: object, wrapping: _Wrapping, serving: Serving) -> CarriedOperation:
    if not isinstance(value, dict):
        raise InvalidParams("params[0]", f"wanted an object, got {json_type(value)}")
    entry_point = serving.entry_point(value.get(wrapping.entry_point), f"params[0].{wrapping.entry_point}")
    if (chain := value.get(_CHAIN)) is not None:
        serving.check_chain(chain, f"params[0].{_CHAIN}")
    stub = value.get(wrapping.stub) if wrapping.stub is not None else None
    field = f"params[0].{wrapping.operation}"
    op, printed = _read_unfinished(value.get(wrapping.operation), entry_point, field, stub)
    changes = {wrapping.operation: printed, wrapping.entry_point: print_bytes(entry_point.address)}
    return _carried(op, entry_point, [{**value, **changes}])


def _read_unfinished(
    value: object, entry_point: EntryPoint, field: str, stub: object = None
) -> tuple[UserOperation, dict[str, object]]:
    """An operation that is not whole yet, and how it goes on: what was read as we print it, in the notation it came in,
    and nothing added. `stub` is the signature to judge by where it has none."""
    if not isinstance(value, dict):
        raise InvalidParams(field, f"wanted a user operation object, got {json_type(value)}")
    keys = keys_of(entry_point.version)
    by_folded = {key.lower(): key for key in keys}
    for key in value:
        if key not in keys and (meant := by_folded.get(key.lower())) is not None:
            raise InvalidParams(f"{field}.{key}", f"unknown field; did you mean {meant}?")
    given = {key: item for key, item in value.items() if item is not None}
    read = {key: item for key, item in given.items() if key in keys}
    for key in UINT_KEYS:
        if (quantity := _quantity(read.get(key))) is not None:
            read[key] = quantity
        else:
            read.pop(key, None)
    if "paymaster" not in read:
        read = {key: item for key, item in read.items() if key not in PAYMASTER_KEYS}
    if not read.get("signature"):
        read["signature"] = stub if isinstance(stub, str) else "0x"
    if entry_point.version is EntryPointVersion.V06:
        read = {"initCode": "0x", "paymasterAndData": "0x", **read}
    op = parse_user_operation(read, entry_point.version, field=field, estimate=True)
    printed = print_user_operation(op)
    ours = {key: printed[key] for key in read if key in given and key in printed}
    return op, {**given, **{key: _in_notation_of(given[key], item) for key, item in ours.items()}}


def _quantity(value: object) -> object:
    """A quantity as operations have it; `None` for one that is absent, be it that it is written as no digits."""
    text = value.text if isinstance(value, NumberLiteral) else value
    if isinstance(text, str) and _DECIMAL.match(text):
        return hex(int(text))
    return None if text in ("0x", "") else value


def _in_notation_of(given: object, printed: object) -> object:
    """Our print of a quantity that came in decimal digits has them, too."""
    text = given.text if isinstance(given, NumberLiteral) else given
    if not isinstance(text, str) or not isinstance(printed, str) or not _DECIMAL.match(text):
        return printed
    digits = str(int(printed, 16))
    return NumberLiteral(digits) if isinstance(given, NumberLiteral) else digits
