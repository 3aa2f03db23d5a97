"""The checks of a rule: limits, rates, first sights, deviations, streaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from proxy.document import did_you_mean
from proxy.judge.parse.terms import RuleTerms
from proxy.judge.parse.windows import read_duration, read_schedule, read_window
from proxy.judge.parse.written import Written
from proxy.judge.rule import AmountOf, Check, Deviation, FirstSeen, Floor, Limit, Of, Per, Rate, Sliding, Streak, Sum
from proxy.judge.tokens import NATIVE, USD, parse_amount
from proxy.written import kind_of, shorten

_OF_ASSETS: Final = (Sum.SPEND, Sum.EXPOSURE)
_IN_COINS: Final = (Sum.VALUE, Sum.MAX_COST)
_SPLITTING: Final = (Per.TARGET, Per.RECIPIENT, Per.TOKEN)
_SPLITS: Final = {  # by what an amount can be told apart within one operation
    Sum.SPEND: _SPLITTING,
    Sum.EXPOSURE: _SPLITTING,
    Sum.VALUE: (Per.TARGET, Per.RECIPIENT),
    Sum.CALLS: (Per.TARGET,),
}
_NOT_POSITIVE: Final = re.compile(r"-[0-9]{1,100}\Z|0{1,100}\Z", re.ASCII)
_NOTHING: Final = ("the limit is not above 0", "to allow nothing, leave the limit out and match instead")
_MOST_COUNT: Final = 2**63
_MOST_DIFFERENT: Final = 1_000
"""Each of them is remembered, and looked through for every operation."""
MOST_FACTOR: Final = 1_000_000
MOST_LENGTH: Final = 1_000_000


def _per(fields: Mapping[str, Written], what: Sum | None = None) -> tuple[Per, ...] | None:
    """For whom is counted; `what` is the amount that must be tellable apart that way."""
    if "per" not in fields:
        return ()
    written = fields["per"]
    entries = written.each()
    found = [each.word(Per) for each in entries]
    known = tuple(each for each in found if each is not None)
    if len(known) != len(found):
        return None
    if not 1 <= len(known) <= 2 or len(set(known)) != len(known):
        written.fault("per names one thing, or two that differ", "write per: session")
        return None
    splitting = [each for each in known if each in _SPLITTING]
    if what is not None and len(splitting) > 1:
        written.fault(f"{what} cannot be told apart by {' and '.join(splitting)} at once", "name one of them")
        return None
    for each in splitting if what is not None else ():
        if what is not None and each not in _SPLITS.get(what, ()):
            written.fault(f"{what} cannot be told apart by {each}", "count per session, account or client")
            return None
    return known


def _amount_of(fields: Mapping[str, Written], what: Sum, terms: RuleTerms, around: Written) -> AmountOf | None:
    token, unit = fields.get("token"), fields.get("unit")
    if what not in _OF_ASSETS:
        for stray in (token, unit):
            if stray is not None:
                stray.fault_at_key(f"{what} has no token", "leave it out")
                return None
        return AmountOf(what)
    if (token is None) == (unit is None):
        around.fault(f"{what} needs either a token or unit: USD", "add token: USDC, or unit: USD")
        return None
    if unit is not None:
        return None if unit.one_of({USD: USD}) is None else AmountOf(what, usd=True)
    if token is None or (symbol := token.text()) is None:
        return None
    known = terms.scope.tokens.named(symbol)
    if known is None:
        cure = did_you_mean(symbol, [*terms.scope.tokens.by_symbol, NATIVE]) or "add it to tokens.yaml"
        token.fault(f"{shorten(symbol)} is not a token that the rules list", cure)
        return None
    return AmountOf(what, asset=known.symbol)


def _positive(written: Written, most: int = 2**256) -> int | None:
    """A limit that is a plain number."""
    if isinstance(written.value, str) and _NOT_POSITIVE.match(written.value):
        written.fault(*_NOTHING)
        return None
    return written.integer(1, most)


def _maximum(written: Written, amount: AmountOf, terms: RuleTerms) -> Mapping[int, int] | None:
    """The limit in base units: by chain where decimals differ, else under 0."""
    if amount.what not in (*_OF_ASSETS, *_IN_COINS):
        number = _positive(written)
        return None if number is None else {0: number}
    tokens = terms.scope.tokens
    symbol = USD if amount.usd else amount.asset or tokens.native.symbol
    if (text := written.text()) is None:
        return None
    bare = text.strip().replace("_", "").replace(".", "", 1).lstrip("-").isdigit()
    if bare and amount.what in _IN_COINS:
        written.fault(f"{shorten(text)} has no unit", f"write {text.strip()[:40]} {symbol}")
        return None
    parsed = parse_amount(f"{text.strip()} {symbol}" if bare else text, tokens)
    if isinstance(parsed, str):
        written.fault(parsed, f"write it in {symbol}")
        return None
    if parsed.symbol != symbol and not (parsed.symbol == NATIVE and symbol == tokens.native.symbol):
        written.fault(f"{shorten(text)} is not an amount of {symbol}", f"write it in {symbol}")
        return None
    if parsed.digits <= 0:
        written.fault(*_NOTHING)
        return None
    token = tokens.named(symbol)
    chains = [0] if token is None or token.native else list(token.places)
    return {chain: units for chain in chains if (units := parsed.on(chain, tokens)) is not None}


def read_limit(written: Written, terms: RuleTerms) -> Limit | None:
    """`limit`: sum, count, distinct, or each."""
    known = ("sum", "count", "distinct", "each", "token", "unit", "max", "per", "window", "zone")
    fields = written.fields(known, "limit", ("max",))
    kinds = [key for key in known[:4] if key in fields]
    if len(kinds) != 1:
        written.fault("a limit has one of sum, count, distinct or each", "write limit: {sum: spend, …}")
        return None
    kind = kinds[0]
    window = None
    if kind == "each":
        for key in ("per", "window", "zone"):
            if key in fields:
                fields[key].fault_at_key(f"each looks at one operation, so it has no {key}", "leave it out")
    elif "window" in fields:
        window = read_window(fields["window"], fields.get("zone"))
    else:
        written.fault(f"a limit on {kind} needs a window", "add window: 24h")
    if kind in ("sum", "each"):
        what = fields[kind].word(Sum)
        amount = None if what is None else _amount_of(fields, what, terms, written)
        maximum = None if amount is None or "max" not in fields else _maximum(fields["max"], amount, terms)
        per = () if kind == "each" else _per(fields, what)
        if amount is None or maximum is None or per is None or (kind == "sum" and window is None):
            return None
        name = "max" if kind == "each" else kind
        return Limit(kind=name, maximum=maximum, per=per, window=window, amount=amount)
    for key in ("token", "unit"):
        if key in fields:
            fields[key].fault_at_key(f"a limit on {kind} has no {key}", "leave it out")
    of = fields[kind].word(Of) if kind == "distinct" else None
    counted = fields[kind].one_of({"ops": True}) if kind == "count" else of
    most = _MOST_DIFFERENT if kind == "distinct" else _MOST_COUNT
    number, per = _positive(fields["max"], most) if "max" in fields else None, _per(fields)
    if counted is None or number is None or per is None or window is None:
        return None
    return Limit(kind=kind, maximum={0: number}, per=per, window=window, of=of)


def read_rate(written: Written, _terms: RuleTerms) -> Rate | None:
    """`rate`: requests, whatever becomes of them."""
    fields = written.fields(("max", "per", "window"), "rate", ("max", "window"))
    maximum = _positive(fields["max"], _MOST_COUNT) if "max" in fields else None
    seconds = read_duration(fields["window"]) if "window" in fields else None
    per = _per(fields)
    if maximum is None or seconds is None or per is None:
        return None
    return Rate(maximum=maximum, per=per, window=Sliding(seconds))


def _after(written: Written | None) -> tuple[int, int] | None:
    """Operations and seconds of history: `20 ops`, or `7d`."""
    if written is None:
        return 0, 0
    value = written.value
    if isinstance(value, str) and value.endswith(" ops"):
        number = value.removesuffix(" ops").strip()
        if number.isascii() and number.isdigit() and len(number) <= 9:
            return int(number), 0
        written.fault(f"{kind_of(value)} is no length of history", "write 20 ops, or 7d")
        return None
    if isinstance(value, str) and value.isdigit():
        written.fault(f"{shorten(value)} has no unit", f"write {value[:9]} ops, or 7d")
        return None
    seconds = read_duration(written)
    return None if seconds is None else (0, seconds)


def read_first_seen(written: Written, terms: RuleTerms) -> FirstSeen | None:
    """`first_seen`."""
    fields = written.fields(("of", "per", "after", "amount", "at_least", "known"), "first_seen", ("of",))
    of = fields["of"].word(Of) if "of" in fields else None
    per, after = _per(fields), _after(fields.get("after"))
    known = fields["known"].fields(("times", "over", "at_least"), "known") if "known" in fields else {}
    floors = {name: each for name, each in (("above", fields), ("learn_above", known)) if "at_least" in each}
    for each in floors.values() if of is not Of.RECIPIENT else ():
        each["at_least"].fault_at_key("only a recipient gets an amount", "leave it out, or write of: recipient")
    amounts = {each.value: each for each in _OF_ASSETS}
    what = fields["amount"].one_of(amounts) if "amount" in fields else Sum.SPEND
    if "amount" in fields and not floors:
        fields["amount"].fault_at_key("amount says of what at_least is, and there is none", "add at_least: 100 USD")
    read = {name: None if what is None else _floor(each["at_least"], what, terms) for name, each in floors.items()}
    times = known["times"].integer(1, MOST_LENGTH) if "times" in known else 1
    over = read_duration(known["over"]) if "over" in known else 0
    if of is None or per is None or after is None or times is None or over is None or None in read.values():
        return None
    return FirstSeen(
        of=of, per=per, after_operations=after[0], after_seconds=after[1], times=times, over_seconds=over, **read
    )


def _floor(written: Written, what: Sum, terms: RuleTerms) -> Floor | None:
    """`at_least: 250 USD`: an amount that carries its unit."""
    text = written.text()
    symbol = "" if text is None else text.strip().rpartition(" ")[2]
    token = terms.scope.tokens.named(symbol)
    if symbol != USD and token is None:
        known = [*terms.scope.tokens.by_symbol, NATIVE, USD]
        written.fault(
            f"{shorten(text or '')} has no unit that the rules know", did_you_mean(symbol, known) or "250 USD"
        )
        return None
    amount = AmountOf(what, usd=True) if token is None else AmountOf(what, asset=token.symbol)
    least = _maximum(written, amount, terms)
    return None if least is None else Floor(amount=amount, least=least)


def read_deviation(written: Written, terms: RuleTerms) -> Deviation | None:
    """`deviation`."""
    known = ("of", "token", "unit", "per", "factor", "after")
    fields = written.fields(known, "deviation", ("of", "factor", "after"))
    what = fields["of"].word(Sum) if "of" in fields else None
    amount = None if what is None else _amount_of(fields, what, terms, written)
    factor = fields["factor"].integer(1, MOST_FACTOR) if "factor" in fields else None
    per, after = _per(fields, what), _after(fields.get("after"))
    if after is not None and after[1]:
        fields["after"].fault("a deviation waits for operations, not for time", "write 20 ops")
        return None
    if amount is None or factor is None or per is None or after is None:
        return None
    return Deviation(amount=amount, per=per, factor=factor, after_operations=after[0])


def read_streak(written: Written, _terms: RuleTerms) -> Streak | None:
    """`streak`."""
    fields = written.fields(("of", "length", "per"), "streak", ("of", "length"))
    outcome = fields["of"].one_of({each: each for each in ("reverted", "rejected")}) if "of" in fields else None
    length = fields["length"].integer(1, MOST_LENGTH) if "length" in fields else None
    per = _per(fields)
    if outcome is None or length is None or per is None:
        return None
    return Streak(outcome=outcome, length=length, per=per)


CHECKS: Final[Mapping[str, Callable[[Written, RuleTerms], Check | None]]] = {
    "limit": read_limit,
    "rate": read_rate,
    "first_seen": read_first_seen,
    "deviation": read_deviation,
    "streak": read_streak,
    "schedule": lambda written, _terms: read_schedule(written),
}
"""By the key a check is written under."""
