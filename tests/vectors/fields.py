"""Fields of vector files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import (
    ActionData,
    ChainDigest,
    EnableSession,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
    SessionData,
)


def read_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def read_int(value: str | int) -> int:
    return value if isinstance(value, int) else int(value, 16)


def read_policies(entries: list[Mapping[str, Any]]) -> tuple[PolicyData, ...]:
    return tuple(PolicyData(Address(read_hex(each["policy"])), read_hex(each["initData"])) for each in entries)


def read_actions(entries: list[Mapping[str, Any]]) -> tuple[ActionData, ...]:
    return tuple(
        ActionData(
            Selector(read_hex(each["actionTargetSelector"])),
            Address(read_hex(each["actionTarget"])),
            read_policies(each["actionPolicies"]),
        )
        for each in entries
    )


def read_erc7739(entry: Mapping[str, Any]) -> ERC7739Data:
    """An ERC7739Data struct as the files spell it."""
    return ERC7739Data(
        contexts=tuple(
            ERC7739Context(Hash32(read_hex(each["appDomainSeparator"])), tuple(each["contentNames"]))
            for each in entry["allowedERC7739Content"]
        ),
        erc1271_policies=read_policies(entry["erc1271Policies"]),
    )


def read_session(entry: Mapping[str, Any]) -> SessionData:
    """A Session struct as the files spell it."""
    return SessionData(
        session_validator=Address(read_hex(entry["sessionValidator"])),
        session_validator_init_data=read_hex(entry["sessionValidatorInitData"]),
        salt=Hash32(read_hex(entry["salt"])),
        user_op_policies=read_policies(entry["userOpPolicies"]),
        erc7739_policies=read_erc7739(entry["erc7739Policies"]),
        actions=read_actions(entry["actions"]),
        permit_erc4337_paymaster=entry["permitERC4337Paymaster"],
    )


def read_enable_session(entry: Mapping[str, Any]) -> EnableSession:
    return EnableSession(
        chain_digest_index=entry["chainDigestIndex"],
        digests=tuple(
            ChainDigest(each["chainId"], Hash32(read_hex(each["sessionDigest"]))) for each in entry["hashesAndChainIds"]
        ),
        session=read_session(entry["sessionToEnable"]),
        permission_enable_signature=read_hex(entry["permissionEnableSig"]),
    )
