"""The user operation as bundlers speak it over JSON-RPC (ERC-7769, ERC-4337), read strictly and printed by us.

Two shapes: v0.6 carries `initCode` and `paymasterAndData`, v0.7 and later split them into fields. Exactly the keys of
the shape are allowed, so that no bundler can find a meaning in the request that this gate did not judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.errors import InvalidParams
from proxy.record import record
from proxy.userop.at_once import GAS_FIELDS, read_as_printed, read_at_once
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.primitives import (
    Address,
    Hash32,
    json_type,
    parse_address,
    parse_bytes,
    parse_uint,
    print_bytes,
    print_uint,
)

EIP7702_MARKER: Final = b"\x77\x02"
"""`factory` of an account that is a delegated EOA; on chain it is padded to 20 bytes with zeros (EntryPoint v0.8)."""
_PADDED_MARKER: Final = EIP7702_MARKER.ljust(20, b"\0")

_V06: Final = EntryPointVersion.V06  # looked up once, not of every operation
_PACKED_BITS: Final = 128
"""Gas limits and fees are packed two to a word from v0.7 on; v0.6 and preVerificationGas have a word each."""


@record(kw_only=True)
class Authorization:
    """An EIP-7702 authorization tuple as sent beside an operation (`eip7702Auth`)."""

    chain_id: int
    address: Address
    nonce: int
    y_parity: int
    r: Hash32
    s: Hash32


@record()
class UserOperation:
    """One operation; `None` means that the field was absent, which only optional fields may be.

    Gas fields may be absent in an estimate; amounts are in wei, gas in units of gas. `init_code` and
    `paymaster_and_data` exist in the v0.6 shape only, `factory` … `eip7702_auth` in the later ones. By the order of its
    fields alone `proxy.userop.at_once` makes it.
    """

    sender: Address
    nonce: int
    call_data: bytes
    signature: bytes
    call_gas_limit: int | None = None
    verification_gas_limit: int | None = None
    pre_verification_gas: int | None = None
    max_fee_per_gas: int | None = None
    max_priority_fee_per_gas: int | None = None
    init_code: bytes | None = None
    paymaster_and_data: bytes | None = None
    factory: bytes | None = None  # 20 bytes, or the 2 bytes of EIP7702_MARKER
    factory_data: bytes | None = None
    paymaster: Address | None = None
    paymaster_verification_gas_limit: int | None = None
    paymaster_post_op_gas_limit: int | None = None
    paymaster_data: bytes | None = None
    paymaster_signature: bytes | None = None  # v0.9
    eip7702_auth: Authorization | None = None

    @property
    def is_v06_shape(self) -> bool:
        """Whether this is the shape of EntryPoint v0.6."""
        return self.init_code is not None

    def packed_init_code(self) -> bytes:
        """`initCode` as the entry point sees it: factory ‖ factoryData, the EIP-7702 marker padded to 20 bytes."""
        if self.init_code is not None:
            return self.init_code
        if self.factory is None:
            return b""
        return self.factory.ljust(20, b"\0") + (self.factory_data or b"")

    def packed_paymaster_and_data(self) -> bytes:
        """`paymasterAndData` as the entry point sees it, without a v0.9 paymaster signature.

        paymaster(0:20) ‖ verificationGasLimit(20:36) ‖ postOpGasLimit(36:52) ‖ data (ERC-4337, PackedUserOperation).
        """
        if self.paymaster_and_data is not None:
            return self.paymaster_and_data
        if self.paymaster is None:
            return b""
        return b"".join(
            (
                self.paymaster,
                (self.paymaster_verification_gas_limit or 0).to_bytes(16, "big"),
                (self.paymaster_post_op_gas_limit or 0).to_bytes(16, "big"),
                self.paymaster_data or b"",
            )
        )


_PAYMASTER_GAS_FIELDS: Final = {
    "paymasterVerificationGasLimit": "paymaster_verification_gas_limit",
    "paymasterPostOpGasLimit": "paymaster_post_op_gas_limit",
}
_V06_ONLY: Final = {"initCode": "init_code", "paymasterAndData": "paymaster_and_data"}
_COMMON_KEYS: Final = frozenset({"sender", "nonce", "callData", "signature", *GAS_FIELDS})
_V06_KEYS: Final = _COMMON_KEYS | _V06_ONLY.keys() | {"eip7702Auth"}
_V07_ONLY: Final = frozenset(
    {"factory", "factoryData", "paymaster", "paymasterData", "paymasterSignature", *_PAYMASTER_GAS_FIELDS}
)
_V07_KEYS: Final = _COMMON_KEYS | (_V07_ONLY - {"paymasterSignature"}) | {"eip7702Auth"}
_V09_KEYS: Final = _V07_KEYS | {"paymasterSignature"}
_KEYS: Final = {
    EntryPointVersion.V06: _V06_KEYS,
    EntryPointVersion.V07: _V07_KEYS,
    EntryPointVersion.V08: _V07_KEYS,
    EntryPointVersion.V09: _V09_KEYS,
}
_KNOWN_BY_FOLDED_NAME: Final = {key.lower(): key for key in _V06_KEYS | _V09_KEYS}


def parse_user_operation(
    value: object, version: EntryPointVersion, *, field: str = "params[0]", estimate: bool = False
) -> UserOperation:
    """Read an operation in the shape that `version` takes.

    `null` for an optional field, or for a key that no operation has, is the same as leaving it out. With `estimate`
    the five gas fields and the signature's content are optional as in `eth_estimateUserOperationGas`; on a send they
    are required. Raises `InvalidParams` naming the first field at fault.
    """
    if not isinstance(value, dict):
        raise InvalidParams(field, f"wanted a user operation object, got {json_type(value)}")
    allowed = _KEYS[version]
    if not value.keys() <= allowed:
        value = _without_empty(value, allowed)
        if not value.keys() <= allowed:
            raise _unknown_key(value, allowed, version, field)
    fields = None if version is EntryPointVersion.V06 else read_at_once(value)
    if fields is None:
        fields = _read_one_by_one(value, version, field, estimate=estimate)
    if len(value) > len(fields):
        if version is EntryPointVersion.V06:
            for key, name in _V06_ONLY.items():
                fields[name] = parse_bytes(_required(value, key, field), f"{field}.{key}")
        else:
            _parse_factory(value, fields, field)
            _parse_paymaster(value, fields, field)
        if (authorization := value.get("eip7702Auth")) is not None:
            fields["eip7702_auth"] = _parse_authorization(authorization, f"{field}.eip7702Auth", estimate=estimate)
    elif version is EntryPointVersion.V06:
        raise InvalidParams(f"{field}.initCode", "required, missing")
    return UserOperation(**fields)  # type: ignore[arg-type]  # each value was typed by its parser above


def parse_printed_operation(value: object, version: EntryPointVersion) -> UserOperation | None:
    """`parse_user_operation` of what `print_user_operation` would print of it, but for the order of its members; `None`
    for anything else, which may be one all the same."""
    if type(value) is not dict or version is _V06 or (fields := read_as_printed(value)) is None:
        return None
    return UserOperation(*fields)


def parse_printed_place(value: object, version: EntryPointVersion) -> tuple[Address, int] | None:
    """Sender and nonce of what `parse_printed_operation` reads; `None` of anything else."""
    if type(value) is not dict or version is _V06 or (fields := read_as_printed(value)) is None:
        return None
    return fields[0], fields[1]


def _read_one_by_one(
    value: Mapping[str, object], version: EntryPointVersion, field: str, *, estimate: bool
) -> dict[str, object]:
    fields: dict[str, object] = {
        "sender": parse_address(_required(value, "sender", field), f"{field}.sender"),
        "nonce": parse_uint(_required(value, "nonce", field), f"{field}.nonce"),
        "call_data": parse_bytes(_required(value, "callData", field), f"{field}.callData"),
        "signature": parse_bytes(_required(value, "signature", field), f"{field}.signature"),
    }
    for key, name in GAS_FIELDS.items():
        item = value.get(key)
        if item is not None:
            bits = 256 if version is EntryPointVersion.V06 or key == "preVerificationGas" else _PACKED_BITS
            fields[name] = parse_uint(item, f"{field}.{key}", bits)
        elif not estimate:
            raise InvalidParams(f"{field}.{key}", "required, missing")
    return fields


def _required(value: Mapping[str, object], key: str, field: str) -> object:
    item = value.get(key)
    if item is None:
        raise InvalidParams(f"{field}.{key}", "required, missing")
    return item


def _without_empty(value: Mapping[str, object], allowed: frozenset[str]) -> dict[str, object]:
    """A key that nobody knows carries nothing when its value is `null`: clients print fields of theirs so."""
    return {key: item for key, item in value.items() if item is not None or key in allowed}


def _unknown_key(
    value: Mapping[str, object], allowed: frozenset[str], version: EntryPointVersion, field: str
) -> InvalidParams:
    key = min(value.keys() - allowed)
    known = _KNOWN_BY_FOLDED_NAME.get(key.lower())
    if key in _V06_ONLY or key in _V07_ONLY:
        return InvalidParams(f"{field}.{key}", f"not a field of an operation for entry point {version}")
    if known is not None:
        return InvalidParams(f"{field}.{_shown(key)}", f"unknown field; did you mean {known}?")
    return InvalidParams(f"{field}.{_shown(key)}", "unknown field")


def _shown(key: str) -> str:
    """A stranger's key, fit to print."""
    return ascii(key if len(key) <= 40 else f"{key[:40]}…")[1:-1]


def _parse_factory(value: Mapping[str, object], fields: dict[str, object], field: str) -> None:
    factory, data = value.get("factory"), value.get("factoryData")
    if factory is None:
        # bundlers and the hash take empty data without a factory for none at all, and clients send it
        if data is not None and parse_bytes(data, f"{field}.factoryData"):
            raise InvalidParams(f"{field}.factoryData", "present without factory")
        return
    if factory == "0x7702":
        fields["factory"] = EIP7702_MARKER
    else:
        fields["factory"] = parse_address(factory, f"{field}.factory")
    if data is not None:
        fields["factory_data"] = parse_bytes(data, f"{field}.factoryData")
    elif fields["factory"] not in (EIP7702_MARKER, _PADDED_MARKER):
        raise InvalidParams(f"{field}.factoryData", "required beside factory, missing")


def _parse_paymaster(value: Mapping[str, object], fields: dict[str, object], field: str) -> None:
    # viem sends both paymaster gas limits as 0x0 without a paymaster after an estimate: zero limits stand alone
    for key, name in _PAYMASTER_GAS_FIELDS.items():
        if (item := value.get(key)) is not None:
            fields[name] = parse_uint(item, f"{field}.{key}", _PACKED_BITS)
    paymaster, data = value.get("paymaster"), value.get("paymasterData")
    signature = value.get("paymasterSignature")
    if paymaster is not None:
        fields["paymaster"] = parse_address(paymaster, f"{field}.paymaster")
    if data is not None:
        fields["paymaster_data"] = parse_bytes(data, f"{field}.paymasterData")
    if signature is not None:
        fields["paymaster_signature"] = parse_bytes(signature, f"{field}.paymasterSignature")
        if not fields["paymaster_signature"]:
            # an empty one is hashed one way by clients and another by the contract: leave it out instead
            raise InvalidParams(f"{field}.paymasterSignature", "empty; leave the field out")
    if paymaster is None:
        for key, name in (*_PAYMASTER_GAS_FIELDS.items(), ("paymasterData", "paymaster_data")):
            if fields.get(name):
                raise InvalidParams(f"{field}.{key}", "present without paymaster")
        if signature is not None:
            raise InvalidParams(f"{field}.paymasterSignature", "present without paymaster")


_AUTHORIZATION_KEYS: Final = frozenset({"chainId", "address", "contractAddress", "nonce", "yParity", "v", "r", "s"})
_UNSIGNED: Final = {"chainId": "0x0", "nonce": "0x0", "r": "0x0", "s": "0x0"}
"""What stands for the members that a client has not got before it signs; chain 0 is every chain (EIP-7702)."""
_PARITY_OF_V: Final = {0: 0, 1: 1, 27: 0, 28: 1}


def _parse_authorization(value: object, field: str, *, estimate: bool) -> Authorization:
    """`r` and `s` are quantities: clients write them minimal, and one in eight of those has fewer than 64 digits.

    An estimate may come before anybody has signed (alto takes all but the delegate for optional there).
    """
    if not isinstance(value, dict):
        raise InvalidParams(field, f"wanted an EIP-7702 authorization object, got {json_type(value)}")
    value = _without_empty(value, _AUTHORIZATION_KEYS)
    if unknown := value.keys() - _AUTHORIZATION_KEYS:
        raise InvalidParams(f"{field}.{_shown(min(unknown))}", "unknown field")
    if estimate:
        value = {**_UNSIGNED, **{key: item for key, item in value.items() if item is not None}}
        if "v" not in value:
            value.setdefault("yParity", "0x0")
    return Authorization(
        chain_id=parse_uint(_required(value, "chainId", field), f"{field}.chainId", 64),
        address=_parse_delegate(value, field),
        nonce=parse_uint(_required(value, "nonce", field), f"{field}.nonce", 64),
        y_parity=_parse_parity(value, field),
        r=_parse_scalar(_required(value, "r", field), f"{field}.r"),
        s=_parse_scalar(_required(value, "s", field), f"{field}.s"),
    )


def _parse_delegate(value: Mapping[str, object], field: str) -> Address:
    """`address`, or its older twin `contractAddress` (viem before 2.23), which says the same where both are there."""
    old = value.get("contractAddress")
    if old is None:
        return parse_address(_required(value, "address", field), f"{field}.address")
    delegate = parse_address(old, f"{field}.contractAddress")
    if value.get("address") is not None and parse_address(value["address"], f"{field}.address") != delegate:
        raise InvalidParams(f"{field}.contractAddress", "says another delegate than address")
    return delegate


def _parse_parity(value: Mapping[str, object], field: str) -> int:
    """`yParity`, or its deprecated twin `v`, which says the same where both are there."""
    old = value.get("v")
    if old is None:
        return parse_uint(_required(value, "yParity", field), f"{field}.yParity")
    parity = _PARITY_OF_V.get(parse_uint(old, f"{field}.v"))
    if parity is None:
        raise InvalidParams(f"{field}.v", "wanted 0x0, 0x1, 0x1b or 0x1c")
    if value.get("yParity") is not None and parse_uint(value["yParity"], f"{field}.yParity") != parity:
        raise InvalidParams(f"{field}.v", "says another parity than yParity")
    return parity


def _parse_scalar(value: object, field: str) -> Hash32:
    return Hash32(parse_uint(value, field).to_bytes(32, "big"))


_UINT_KEYS: Final = (("nonce", "nonce"), *GAS_FIELDS.items(), *_PAYMASTER_GAS_FIELDS.items())
_BYTES_KEYS: Final = (
    ("sender", "sender"),
    ("callData", "call_data"),
    ("signature", "signature"),
    *_V06_ONLY.items(),
    ("factory", "factory"),
    ("factoryData", "factory_data"),
    ("paymaster", "paymaster"),
    ("paymasterData", "paymaster_data"),
    ("paymasterSignature", "paymaster_signature"),
)


def print_user_operation(op: UserOperation) -> dict[str, object]:
    """The operation as JSON-RPC params take it: what was judged, and nothing else. Absent fields stay absent."""
    printed: dict[str, object] = {}
    for key, name in _BYTES_KEYS:
        data = getattr(op, name)
        if data is not None:
            printed[key] = "0x" + data.hex()  # as `print_bytes`, without a call for each
    for key, name in _UINT_KEYS:
        number = getattr(op, name)
        if number is not None:
            printed[key] = hex(number)  # as `print_uint`
    if (authorization := op.eip7702_auth) is not None:
        printed["eip7702Auth"] = {
            "chainId": print_uint(authorization.chain_id),
            "address": print_bytes(authorization.address),
            "nonce": print_uint(authorization.nonce),
            # two digits, the form viem sends and every bundler reads
            "yParity": f"0x{authorization.y_parity:02x}",
            "r": print_bytes(authorization.r),
            "s": print_bytes(authorization.s),
        }
    return printed


PAYMASTER_KEYS: Final = frozenset(_V07_ONLY - {"factory", "factoryData"})
"""The fields that say who pays, and how, from v0.7 on."""


def keys_of(version: EntryPointVersion) -> frozenset[str]:
    """The fields that an operation for this entry point may have, by their names in requests."""
    return _KEYS[version]


UINT_KEYS: Final = tuple(key for key, _ in _UINT_KEYS)
"""The fields that hold quantities, by their names in requests."""
BYTES_KEYS: Final = tuple(key for key, _ in _BYTES_KEYS)
"""The fields that hold bytes and addresses."""
