"""Every field that an expression can read: its type, what it says, how it is read. The reference is made of this."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from proxy.errors import Code
from proxy.judge.expression.closures import AttributeOf
from proxy.judge.expression.types import (
    ADDRESS,
    BOOL,
    CALL,
    DURATION,
    GRANT,
    HASH,
    MOVE,
    SELECTOR,
    TEXT,
    TIME,
    UNSIGNED,
    Type,
    amount,
    list_of,
    one_of,
    optional,
    ranging,
)
from proxy.judge.facts import ALLOWED, Facts
from proxy.judge.tokens import NATIVE
from proxy.record import record
from proxy.session.lint.findings import GRANT_REVERTS, KINDS
from proxy.userop.acts import Act
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import CallType
from proxy.userop.movement import AssetKind, MovementKind

Read = Callable[[Facts, Any], Any]
"""From the facts and the record that the field is of (the facts again, for fields of `op`) to the value."""


@record()
class Field:
    """One field. `name` is `op.`, `call.`, `move.` or `grant.` and its own name; `read` gets the value.

    One that `walks` looks at every call, move or grant for it.
    """

    name: str
    type: Type
    doc: str
    read: Read
    walks: bool = False

    @property
    def type_in_words(self) -> str:
        """`an amount of ETH`, `an address, may be missing`."""
        return f"{self.type.words}, may be missing" if self.type.nullable else self.type.words


NO_TOKEN: Final = b""
"""What the native coin has for a token: it equals none, and that is known."""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


ACTS: Final = frozenset(_snake(act.__name__) for act in get_args(Act))
"""Names of `proxy.userop.acts` as rules write them."""

VERDICTS: Final = frozenset({ALLOWED, *(code.label for code in Code)})
"""What `op.verdict` can be."""

_ETH: Final = amount(NATIVE)
_UINT256: Final = ranging(0, 2**256 - 1)


def _value(facts: Facts, _record: Facts) -> int:
    total = 0
    for call in facts.calls:
        total += call.value
    return total


def _hour(facts: Facts, _record: Facts) -> int:
    return int(facts.unix_time) // 3_600 % 24


def _weekday(facts: Facts, _record: Facts) -> int:
    return (int(facts.unix_time) // 86_400 + 3) % 7  # 1 January 1970 was a Thursday


def _duration(facts: Facts, grant: Any) -> int | None:
    return None if grant.valid_until is None else grant.valid_until - int(facts.unix_time)


def _session_age(facts: Facts, _record: Facts) -> int | None:
    return None if facts.session_since is None else max(int(facts.unix_time - facts.session_since), 0)


def _session_left(facts: Facts, _record: Facts) -> int | None:
    return None if facts.session_until is None else max(facts.session_until - int(facts.unix_time), 0)


def _token(_facts: Facts, move: Any) -> bytes | None:
    if move.asset is AssetKind.NATIVE:
        return NO_TOKEN
    return None if move.asset is AssetKind.VAULT_ASSET else move.token


_OPERATION: Final = (
    Field("op.chain", TEXT, "The name of the chain in the settings.", AttributeOf("chain")),
    Field("op.chain_id", ranging(0), "The id of the chain (EIP-155).", AttributeOf("chain_id")),
    Field("op.client", TEXT, "The name of the client that asked.", AttributeOf("client")),
    Field("op.method", TEXT, "The JSON-RPC method, such as eth_sendUserOperation.", AttributeOf("method")),
    Field("op.preview", BOOL, "Whether this is an estimate: nothing is handed in.", AttributeOf("preview")),
    Field(
        "op.verdict",
        one_of(*sorted(VERDICTS)),
        "What the chain and the session say: allow, or the label of the code they refuse with.",
        AttributeOf("verdict"),
    ),
    Field("op.account", ADDRESS, "The account that acts.", AttributeOf("account")),
    Field("op.entry_point", one_of(*EntryPointVersion), "The release of the entry point.", AttributeOf("entry_point")),
    Field("op.nonce", _UINT256, "The whole nonce, key and sequence.", AttributeOf("nonce")),
    Field(
        "op.nonce_key",
        ranging(0, 2**192 - 1),
        "The key of the nonce: its upper 24 bytes.",
        lambda _, op: op.nonce >> 64,
    ),
    Field("op.session", BOOL, "Whether a session key signed, as far as it claims.", AttributeOf("session")),
    Field("op.permission_id", optional(HASH), "The session's permission id.", AttributeOf("permission_id")),
    Field("op.module", optional(ADDRESS), "The session module.", AttributeOf("module")),
    Field(
        "op.mode",
        optional(one_of("use", "enable", "unsafe_enable")),
        "How the session is used; enable modes bring it into force.",
        AttributeOf("mode"),
    ),
    Field(
        "op.call_type",
        optional(one_of(*(call_type.name.lower() for call_type in CallType))),
        "How the account executes (ERC-7579).",
        AttributeOf("call_type"),
    ),
    Field("op.calls", list_of(CALL), "The calls of the operation.", AttributeOf("calls")),
    Field("op.moves", list_of(MOVE), "The value that the calls move, as call data tells it.", AttributeOf("moves")),
    Field(
        "op.acts",
        list_of(one_of(*sorted(ACTS))),
        "What the operation changes about sessions, modules and owners, such as module_installed.",
        AttributeOf("acts"),
    ),
    Field("op.grants", list_of(GRANT), "The sessions the operation brings into force.", AttributeOf("grants")),
    Field(
        "op.grant_would_revert",
        BOOL,
        "Whether the chain would not take a grant of it: it is mined then, and brings nothing into force.",
        lambda _, op: any(not GRANT_REVERTS.isdisjoint(grant.findings) for grant in op.grants),
        walks=True,
    ),
    Field("op.paymaster", optional(ADDRESS), "Who pays for gas instead of the account.", AttributeOf("paymaster")),
    Field("op.factory", optional(ADDRESS), "Who deploys the account with this operation.", AttributeOf("factory")),
    Field("op.eip7702", BOOL, "Whether an EIP-7702 authorisation is attached.", AttributeOf("eip7702")),
    Field("op.gas", UNSIGNED, "All gas limits added up.", AttributeOf("gas")),
    Field("op.call_gas", UNSIGNED, "The gas limit of the calls.", AttributeOf("call_gas")),
    Field("op.max_cost", _ETH, "What all gas limits cost at the highest fee.", AttributeOf("max_cost")),
    Field("op.max_fee", _ETH, "The highest fee for one unit of gas, such as 20 gwei.", AttributeOf("max_fee")),
    Field("op.priority_fee", _ETH, "The tip for one unit of gas.", AttributeOf("priority_fee")),
    Field("op.value", _ETH, "The native coin that all calls send along; `value` for short.", _value, walks=True),
    Field(
        "op.replaces",
        BOOL,
        "Whether another operation with this nonce is in flight; to an estimate, none is.",
        AttributeOf("replaces"),
    ),
    Field(
        "op.lanes",
        UNSIGNED,
        "Nonce keys on which the session has operations in flight, this one's included; to an estimate, 1.",
        AttributeOf("lanes"),
    ),
    Field(
        "op.limit_used_percent",
        optional(UNSIGNED),
        "How full the session's fullest on-chain limit is, with this operation; to an estimate, nothing is in flight.",
        AttributeOf("limit_used_percent"),
    ),
    Field("op.session_age", optional(DURATION), "Since this gate first knew of the session.", _session_age),
    Field(
        "op.session_left", optional(DURATION), "Until the session ends; missing when nothing ends it.", _session_left
    ),
    Field("op.hour", ranging(0, 23), "The hour of the day, UTC.", _hour),
    Field("op.weekday", ranging(0, 6), "The day of the week, UTC: 0 is Monday, 6 Sunday.", _weekday),
    Field("op.time", TIME, "When the operation is judged.", lambda facts, _: int(facts.unix_time)),
)
_CALL: Final = (
    Field("call.target", ADDRESS, "The contract or account that is called.", AttributeOf("target")),
    Field(
        "call.selector",
        SELECTOR,
        "The function that is called; 0xffffffff when there is none.",
        AttributeOf("selector"),
    ),
    Field("call.value", _ETH, "The native coin that is sent along.", AttributeOf("value")),
    Field("call.size", UNSIGNED, "Bytes of call data.", AttributeOf("size")),
)
_MOVE: Final = (
    Field(
        "move.kind",
        one_of(*MovementKind),
        "What happens to the value: spend leaves the account, exposure may be taken later.",
        AttributeOf("kind"),
    ),
    Field("move.asset", one_of(*AssetKind), "What kind of thing is moved.", AttributeOf("asset")),
    Field(
        "move.token",
        optional(ADDRESS),
        "The token. The native coin has none and equals no token; missing where call data does not tell the asset.",
        _token,
    ),
    Field(
        "move.amount",
        optional(_UINT256),
        "How much, in base units of the token; missing when call data does not tell.",
        AttributeOf("amount"),
    ),
    Field(
        "move.counterparty",
        optional(ADDRESS),
        "Who receives or may take the value; missing when it is burnt or unknown.",
        AttributeOf("counterparty"),
    ),
    Field("move.holder", ADDRESS, "Whose value it is.", AttributeOf("holder")),
    Field("move.unlimited", BOOL, "Whether an allowance never shrinks.", AttributeOf("unlimited")),
    Field("move.call", UNSIGNED, "The call that moves it, counted from 0.", AttributeOf("call")),
    Field(
        "move.is_self_holder",
        BOOL,
        "Whether the value is the account's own.",
        lambda facts, move: move.holder == facts.account,
    ),
)
_GRANT: Final = (
    Field("grant.permission_id", HASH, "The permission id of the session.", AttributeOf("permission_id")),
    Field("grant.module", ADDRESS, "The session module.", AttributeOf("module")),
    Field(
        "grant.how",
        one_of("enable", "unsafe_enable", "call"),
        "How it comes into force: by an envelope, or by a call to the session module.",
        AttributeOf("how"),
    ),
    Field(
        "grant.findings",
        list_of(one_of(*KINDS)),
        "What a careful reviewer would say of it, such as no_expiry.",
        AttributeOf("findings"),
    ),
    Field(
        "grant.valid_until", optional(TIME), "When it ends; missing when nothing ends it.", AttributeOf("valid_until")
    ),
    Field("grant.duration", optional(DURATION), "From now to its end; missing when nothing ends it.", _duration),
    Field("grant.targets", list_of(ADDRESS), "The contracts it may call.", AttributeOf("targets")),
    Field("grant.policies", list_of(ADDRESS), "The on-chain policies that limit it.", AttributeOf("policies")),
)

FIELDS: Final[Mapping[str, Field]] = {field.name: field for field in (*_OPERATION, *_CALL, *_MOVE, *_GRANT)}
"""By name. `op` and `grant` are written so; calls and moves by a variable: `any(c.target … for c in op.calls)`."""


def fields_of(record: str) -> Mapping[str, Field]:
    """The fields of one kind of record, by their own names."""
    return _BY_RECORD[record]


_BY_RECORD: Final = {
    record: {name.partition(".")[2]: field for name, field in FIELDS.items() if name.startswith(f"{record}.")}
    for record in ("op", "call", "move", "grant")
}
