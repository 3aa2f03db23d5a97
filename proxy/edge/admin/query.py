"""What the admin listener is asked: query strings and bodies read strictly, into records.

Everything raises `InvalidParams` that names the parameter; one that is not known is an error, not ignored: a filter
misspelt would otherwise show, or freeze, more than was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Final, NamedTuple, TypeVar

from proxy.edge.audit.reading import Asked, AuditFilter
from proxy.errors import Code, InvalidParams
from proxy.moments import read_moment
from proxy.strict_json import Flawed, NumberLiteral, read_json
from proxy.userop.primitives import Address, Hash32, json_type, parse_address, parse_hash

_DEPTH: Final = 32
_MOST_ROWS: Final = 10_000
_USUAL_ROWS: Final = 100
_LONGEST_NOTE: Final = 500
_VERDICTS: Final = ("allow", "reject")


_ChoiceT = TypeVar("_ChoiceT", bound=StrEnum)


class AuditShow(StrEnum):
    """Which records of the audit to list."""

    DECISIONS = "decisions"
    DEEDS = "deeds"  # freezes, reloads, releases, writes through the admin listener
    ENTRIES = "entries"  # all that are no decisions, answers or ends


class AuditFormat(StrEnum):
    """How to print them."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeRequest:
    """Which session ops want stopped: on one account or on all, on one chain or on all."""

    permission_id: Hash32
    account: Address | None = None
    chain: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions to list; every field given must match."""

    chain: str | None = None
    account: Address | None = None
    state: str | None = None
    limit: int = _USUAL_ROWS
    after: str | None = None  # the `next` of the page before

    @classmethod
    def read(cls, query: Query) -> SessionFilter:
        """From `?chain= &account= &state= &limit= &after=`."""
        wanted = cls(
            chain=query.text("chain"),
            account=query.address("account"),
            state=query.text("state"),
            limit=query.limit(),
            after=query.text("after"),
        )
        query.end()
        return wanted


_MOST_A_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list: at most so many, from this place on."""

    limit: int = _USUAL_ROWS
    first: int = 0

    @classmethod
    def read(cls, query: Query) -> PageRequest:
        """From `?limit= &after=`, where `after` is the `next` of the page before."""
        limit, after = min(query.limit(), _MOST_A_PAGE), query.integer("after")
        query.end()
        if after is not None and after < 0:
            raise InvalidParams("after", "wanted the next of a page before")
        return cls(limit, after or 0)

    def next(self, is_more: bool) -> str | None:  # said where it is called
        """The `after` of the page that follows; `None` after the last."""
        return str(self.first + self.limit) if is_more else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceRequest:
    """What is to be allowed: a thing of a rule, as people write it; `until` in unix seconds, `None` for no end."""

    rule: str
    thing: str
    chain: str | None
    until: float | None
    reason: str


class Query:
    """A query string, read parameter by parameter; `end` complains of what nobody asked for."""

    def __init__(self, parameters: Mapping[str, str], *, now: float = 0.0) -> None:
        self._now = now
        self._left = dict(parameters)
        if len(parameters) != len(self._left):
            raise InvalidParams("query", "a parameter is given twice")

    def text(self, name: str) -> str | None:
        """The parameter as it stands, None when absent."""
        return self._left.pop(name, None)

    def address(self, name: str) -> Address | None:
        """20 bytes of hex."""
        text = self.text(name)
        return None if text is None else parse_address(text, name)

    def hash(self, name: str) -> Hash32 | None:
        """32 bytes of hex."""
        text = self.text(name)
        return None if text is None else parse_hash(text, name)

    def moment(self, name: str) -> float | None:
        """A moment as people write it: `2h` ago, a date, unix seconds."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return read_moment(text, self._now)
        except ValueError as error:
            raise InvalidParams(name, str(error)) from None

    def choice(self, name: str, choices: type[_ChoiceT]) -> _ChoiceT | None:
        """One of a closed set."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return choices(text)
        except ValueError:
            raise InvalidParams(name, f"wanted {', '.join(choices)}") from None

    def code(self, name: str) -> int | None:
        """A code by its number or its name."""
        text = self.text(name)
        named = {code.label: int(code) for code in Code}
        if text is None or text in named:
            return None if text is None else named[text]
        self._left[name] = text
        return self.integer(name)

    def integer(self, name: str) -> int | None:
        """A decimal integer of at most 18 digits, negative ones included."""
        text = self.text(name)
        if text is None:
            return None
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 18):
            raise InvalidParams(name, "wanted a decimal integer")
        return int(text)

    def limit(self) -> int:
        """`limit=`, between 1 and 10,000; 100 when absent."""
        limit = self.integer("limit")
        if limit is None:
            return _USUAL_ROWS
        if not 1 <= limit <= _MOST_ROWS:
            raise InvalidParams("limit", f"wanted 1 to {_MOST_ROWS}")
        return limit

    def end(self) -> None:
        """Raise `InvalidParams` when a parameter is left that nothing has read."""
        if self._left:
            raise InvalidParams(ascii(min(self._left))[1:-1][:40], "unknown parameter")


def audit_filter(query: Query) -> AuditFilter:
    """The filter of `GET /audit`."""
    verdict = query.text("verdict")
    if verdict is not None and verdict not in _VERDICTS:
        raise InvalidParams("verdict", f"wanted {' or '.join(_VERDICTS)}")
    wanted = AuditFilter(
        since=query.moment("since"),
        until=query.moment("until"),
        chain=query.text("chain"),
        client=query.text("client"),
        account=query.address("account"),
        permission_id=query.hash("permissionId"),
        user_op_hash=query.hash("userOpHash"),
        decision_id=query.text("decisionId"),
        verdict=verdict,
        code=query.code("code"),
        rule=query.text("rule"),
        asked=query.choice("asked", Asked),
        after_id=query.integer("after"),
        until_id=None if (before := query.integer("before")) is None else before - 1,
        limit=query.limit(),
    )
    query.end()
    return wanted


def audit_listing(query: Query) -> tuple[AuditShow, AuditFormat]:
    """What `GET /audit` is to show, and how; the rest is its filter."""
    return (
        query.choice("show", AuditShow) or AuditShow.DECISIONS,
        query.choice("format", AuditFormat) or AuditFormat.JSON,
    )


def read_freeze(body: bytes) -> FreezeRequest:
    """`{"permissionId", "account"?, "chain"?, "note"?}`."""
    fields = _read_object(body, ("permissionId", "account", "chain", "note"))
    account = fields.get("account")
    note = _text(fields, "note") or ""
    if len(note) > _LONGEST_NOTE:
        raise InvalidParams("note", f"longer than {_LONGEST_NOTE} characters")
    return FreezeRequest(
        permission_id=parse_hash(fields.get("permissionId"), "permissionId"),
        account=None if account is None else parse_address(account, "account"),
        chain=_text(fields, "chain"),
        note=note,
    )


def read_note(body: bytes, *, needed: bool = True) -> str:
    """`{"note"}`: why."""
    fields = _read_object(body, ("note",))
    note = _needed(fields, "note") if needed else _text(fields, "note") or ""
    if len(note) > _LONGEST_NOTE:
        raise InvalidParams("note", f"longer than {_LONGEST_NOTE} characters")
    return note


class ResetRequest(NamedTuple):
    """What is to count anew: a rule, for one key or for all, and why."""

    rule: str
    key: str | None
    reason: str


def read_reset(body: bytes) -> ResetRequest:
    """`{"rule", "key"?, "reason"?}`."""
    fields = _read_object(body, ("rule", "key", "reason"))
    return ResetRequest(_needed(fields, "rule"), _text(fields, "key"), read_reason(_text(fields, "reason")))


def read_reason(reason: str | None) -> str:
    """Why somebody does something; empty where it is not said."""
    if reason is not None and len(reason) > _LONGEST_NOTE:
        raise InvalidParams("reason", f"longer than {_LONGEST_NOTE} characters")
    return reason or ""


def read_allowance(body: bytes) -> AllowanceRequest:
    """`{"rule", "thing", "chain"?, "until"?, "reason"}`, `until` in unix seconds."""
    fields = _read_object(body, ("rule", "thing", "chain", "until", "reason"))
    reason = read_reason(_needed(fields, "reason"))
    return AllowanceRequest(
        rule=_needed(fields, "rule"),
        thing=_needed(fields, "thing"),
        chain=_text(fields, "chain"),
        until=_unix_seconds(fields, "until"),
        reason=reason,
    )


def _unix_seconds(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    # type() and not isinstance(): true is an int
    written = value.text if isinstance(value, NumberLiteral) else value if type(value) is int else ""
    try:
        seconds = float(written)
    except (ValueError, OverflowError):
        seconds = inf
    if not isfinite(seconds):
        raise InvalidParams(name, "wanted unix seconds")
    return seconds


def _needed(fields: Mapping[str, object], name: str) -> str:
    text = _text(fields, name)
    if not text:
        raise InvalidParams(name, "missing")
    return text


def read_explain(body: bytes) -> tuple[str | None, object, object]:
    """`{"operation", "entryPoint", "chain"?}` as (chain, operation, entry point), the latter two still unread."""
    fields = _read_object(body, ("operation", "entryPoint", "chain"))
    return _text(fields, "chain"), fields.get("operation"), fields.get("entryPoint")


def _read_object(body: bytes, keys: tuple[str, ...]) -> Mapping[str, object]:
    value = read_json(body, max_depth=_DEPTH)
    if isinstance(value, Flawed):
        raise InvalidParams(value.path or "body", value.problem)
    if not isinstance(value, dict):
        raise InvalidParams("body", f"wanted an object, got {json_type(value)}")
    for key in value:
        if key not in keys:
            raise InvalidParams(ascii(key)[1:-1][:40], f"unknown field; there are {', '.join(keys)}")
    return value


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    # type() and not isinstance(): a number kept as text is a str subclass
    if value is not None and type(value) is not str:
        raise InvalidParams(name, f"wanted a string, got {json_type(value)}")
    return value
