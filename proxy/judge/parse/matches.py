"""`match`: the structured part of a rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, get_args

from proxy.document import did_you_mean
from proxy.errors import Code
from proxy.judge.facts import ALLOWED
from proxy.judge.parse.terms import RuleTerms, read_member
from proxy.judge.parse.written import Written
from proxy.judge.rule import ANY_CHAIN, REJECTED, Match
from proxy.judge.tokens import Asset
from proxy.userop import acts
from proxy.written import shorten

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
ACTS: Final = tuple(sorted(_HUMP.sub("_", act.__name__).lower() for act in get_args(acts.Act)))
VERDICTS: Final = (ALLOWED, REJECTED, *(code.label for code in Code))
SESSION_MODES: Final = ("use", "enable", "unsafe_enable")

_FIELDS: Final = {  # key: the field of Match, and the kind of its values
    "account": ("accounts", "address"),
    "permission_id": ("permission_ids", "permission_id"),
    "target": ("targets", "address"),
    "selector": ("selectors", "selector"),
    "module": ("modules", "address"),
    "client": ("clients", "client"),
    "method": ("methods", "text"),
}
_CLOSED: Final = {"mode": ("session_modes", SESSION_MODES), "verdict": ("verdicts", VERDICTS), "act": ("acts", ACTS)}
MATCH_KEYS: Final = (
    *("session", "grant", "preview", "account", "permission_id", "target", "selector", "moves", "client", "chain"),
    *("mode", "module", "paymaster", "method", "act", "verdict"),
)


def read_match(parts: Sequence[Written], terms: RuleTerms, base: Match | None = None) -> Match:
    """The match written in one mapping, or in several whose values add up."""
    if len(parts) == 1:
        kind = "match" if base is None else "match of an exception"
        return terms.once(kind, parts[0], lambda: _read_match(parts, terms, base))
    return _read_match(parts, terms, base)


def _read_match(parts: Sequence[Written], terms: RuleTerms, base: Match | None) -> Match:
    keys: dict[str, list[Written]] = {}
    for part in parts:
        for key, written in part.fields(MATCH_KEYS, "match").items():
            keys.setdefault(key, []).append(written)
    found: dict[str, Any] = {}
    for key, written_values in keys.items():
        if len(written_values) == 1 and key not in _FIELDS:  # of those nearly every rule has its own
            found.update(terms.once(key, written_values[0], partial(_read_key, key, written_values, terms)))
        else:
            found.update(_read_key(key, written_values, terms))
    return Match(**found) if base is None else replace(base, **found)


def _read_key(key: str, parts: list[Written], terms: RuleTerms) -> Mapping[str, object]:
    if key in ("session", "grant"):
        return {key: parts[-1].truth()}
    if key == "preview":
        return {key: parts[-1].one_of({"true": True, "false": False, "any": None})}
    entries = [entry for part in parts for entry in part.each()]
    if not entries:
        parts[0].fault(f"match.{key} lists nothing, so the rule would never fire", "leave the key out")
        return {}
    if key in _FIELDS:
        name, kind = _FIELDS[key]
        values = frozenset(member for entry in entries for member in terms.members(entry, kind))
        if key == "client":
            _check_known(entries, terms, terms.clients, "client")
        return {name: values}
    if key == "chain":
        _check_known(entries, terms, terms.chains, "chain")
        return {"chains": frozenset(member for entry in entries for member in terms.members(entry, "text"))}
    if key in _CLOSED:
        return _read_closed(key, entries)
    return _read_any(key, entries, terms)


def _check_known(entries: Iterable[Written], terms: RuleTerms, known: Collection[str] | None, what: str) -> None:
    for entry in entries if known is not None else ():
        value = entry.value
        if isinstance(value, str):
            members = terms.members(entry, "text") if value.startswith("$") else [value]
            for name in members:
                if name not in (known or ()):
                    cure = did_you_mean(str(name), known or ()) or f"known are {', '.join(known or ())}"
                    entry.fault(f"there is no {what} {shorten(str(name))}", cure)


def _read_closed(key: str, entries: list[Written]) -> Mapping[str, object]:
    name, known = _CLOSED[key]
    if any(entry.value == "any" for entry in entries) and key != "mode":
        _alone(key, entries)
        return {"any_act": True} if key == "act" else {name: None}
    words = {word: word for word in known}
    return {name: frozenset(word for entry in entries if (word := entry.one_of(words)) is not None)}


def _alone(key: str, entries: list[Written]) -> None:
    if len(entries) > 1:
        entries[0].fault(f"match.{key} has any or none beside other values", "write it alone")


def _read_any(key: str, entries: list[Written], terms: RuleTerms) -> Mapping[str, object]:
    """`moves` and `paymaster`: `any`, `none` for a paymaster, or values."""
    words = {"any": True, "none": False} if key == "paymaster" else {"any": True}
    for entry in entries:
        if entry.value in list(words):
            _alone(key, entries)
            return {f"any_{'move' if key == 'moves' else key}": words[str(entry.value)]}
    if key == "paymaster":
        return {"paymasters": frozenset(each for entry in entries for each in terms.members(entry, "address"))}
    return {"moves": frozenset(asset for entry in entries for asset in _assets(entry, terms))}


def _assets(entry: Written, terms: RuleTerms) -> Iterable[Asset]:
    value = entry.value
    if not isinstance(value, str):
        entry.text()
        return
    if value.startswith(("0x", "$")):
        read: Callable[[Written, str], Iterable[bytes | str]] = terms.members if value[0] == "$" else read_member
        chain_ids = set(terms.chains.values()) if terms.chains is not None else set()
        for address in read(entry, "address"):
            listed = {
                chain_id
                for token in terms.scope.tokens.by_symbol.values()
                for chain_id, place in token.places.items()
                if place.address == address
            }
            # without settings, and not among the tokens: the contract at this address on whichever chain
            for chain_id in sorted(chain_ids or listed or {ANY_CHAIN}):
                yield Asset(chain_id, address)  # type: ignore[arg-type]  # members of the kind address are addresses
        return
    assets = terms.assets(value)
    if assets is None:
        cure = did_you_mean(value, [*terms.scope.tokens.by_symbol, "ETH", "any"]) or "add it to tokens.yaml"
        entry.fault(f"{shorten(value)} is not a token that the rules list", cure)
    else:
        yield from assets
