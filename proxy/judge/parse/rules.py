"""Rules as they are written, overrides laid over them, and the rule each one comes to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from proxy.document import Place, did_you_mean
from proxy.judge.expression import Expression
from proxy.judge.parse.checks import CHECKS
from proxy.judge.parse.faults import RuleFault
from proxy.judge.parse.identity import identity_of
from proxy.judge.parse.matches import read_match
from proxy.judge.parse.terms import RuleTerms
from proxy.judge.parse.windows import read_until
from proxy.judge.parse.written import Word, Written
from proxy.judge.rule import Check, Deviation, Exemption, Fail, FirstSeen, Match, Per, Rule, Streak
from proxy.judge.verdict import Mode
from proxy.session.lint.findings import Severity
from proxy.written import kind_of, shorten

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,99}\Z", re.ASCII)
_TEXTS: Final = ("id", "description", "mode", "severity", "fail", "remedy", "tags", "match", "when", "learn")
_HEARD: Final = ("owner", "runbook", "notify")
RULE_KEYS: Final = (*_TEXTS, *_HEARD, *CHECKS, "except", "extends", "append")
_ADDING: Final = ("tags", "notify", "match", "except")


@dataclass(slots=True)
class Draft:
    """A rule as written: under each key the values that make it up, more than one where an override adds."""

    id: str
    place: Place
    found: list[RuleFault]
    fields: dict[str, list[Written]] = field(default_factory=dict)
    overridden: set[str] = field(default_factory=set)  # keys that an override gave

    def last(self, key: str) -> Written | None:
        """The value that counts for a key."""
        parts = self.fields.get(key)
        return None if parts is None else parts[-1]


def gather(entries: Iterable[Written]) -> tuple[dict[str, Draft], list[Draft]]:
    """Every rule of all files by id, in their order, overrides laid over them.

    Beside them what is no rule, reported already: it is to be read for its other faults only.
    """
    drafts: dict[str, Draft] = {}
    strays: list[Draft] = []
    for entry in entries:
        found = entry.reading.found
        before = len(found)
        fields = entry.fields(RULE_KEYS, "a rule")
        if not isinstance(entry.value, dict):
            continue
        named = fields.get("extends", fields.get("id"))
        checks = [key for key in CHECKS if key in fields]
        for stray in checks[1:]:
            fields.pop(stray).fault_at_key(f"a rule has one check, this one has {checks[0]} already", "make it two")
        missed = (_override if "extends" in fields else _begin)(entry, fields, drafts)
        if missed is not None:
            strays.append(missed)
        name = named.value if named is not None else None
        if len(found) > before and isinstance(name, str) and name in drafts:
            found[before:] = [replace(fault, rule=name) for fault in found[before:]]
    return drafts, strays


def _begin(entry: Written, fields: dict[str, Written], drafts: dict[str, Draft]) -> Draft | None:
    if "append" in fields:
        fields.pop("append").fault_at_key("append is for a rule that extends another", "leave it out")
    draft = Draft("", entry.place, entry.reading.found, {key: [value] for key, value in fields.items()})
    if "id" not in fields:
        entry.fault("a rule needs an id", "add id: a-name-of-its-own")
        return draft
    name = fields["id"].text()
    if name is None:
        return draft
    if not _ID.match(name):
        fields["id"].fault(f"{shorten(name)} is no id", "lower-case letters, digits and -, such as usdc-per-day")
        return draft
    draft.id, draft.place = name, fields["id"].place
    if name not in drafts:
        drafts[name] = draft
        return None
    first = drafts[name].place
    problem = f'the id "{name}" is taken by the rule at {first.path}:{first.line}'
    fields["id"].fault(problem, f"give it another id, or write extends: {name}")
    return draft


def _override(entry: Written, fields: dict[str, Written], drafts: dict[str, Draft]) -> Draft | None:
    if "id" in fields:
        fields.pop("id").fault_at_key("a rule that extends another keeps its id", "leave out id")
    name = fields.pop("extends").text()
    adds = "append" in fields and fields.pop("append").truth() is True
    draft = None if name is None else drafts.get(name)
    if draft is None:
        if name is not None:
            cure = did_you_mean(name, drafts) or "it must stand before this one"
            entry.child("extends").fault(f"there is no rule {shorten(name)} to extend", cure)
        return Draft("", entry.place, entry.reading.found, {key: [value] for key, value in fields.items()})
    if any(key in CHECKS for key in fields):
        for key in CHECKS:
            draft.fields.pop(key, None)
    for key, value in fields.items():
        draft.fields[key] = [*draft.fields.get(key, ()), value] if adds and key in _ADDING else [value]
    draft.overridden.update(fields)
    return None


def build(draft: Draft, order: int, terms: RuleTerms) -> Rule | None:
    """The rule a draft comes to; its faults are marked with its id."""
    found = draft.found
    before = len(found)
    rule = _build(draft, order, terms)
    if len(found) == before:
        return rule
    found[before:] = [replace(fault, rule=draft.id or None) for fault in found[before:]]
    return None


def _build(draft: Draft, order: int, terms: RuleTerms) -> Rule | None:
    described, whose = draft.last("description"), draft.last("id")
    if described is None and whose is not None and not _misspelt(whose, "description"):
        name = f"rule {draft.id}" if draft.id else "this rule"
        whose.fault(f"{name} has no description", "add description: what it is for, in a sentence")
    description = None if described is None else described.text()
    mode = _word(draft, "mode", Mode.SHADOW)
    severity = _word(draft, "severity", Severity.MEDIUM)
    fail = _word(draft, "fail", Fail.CLOSED if mode is Mode.ENFORCE else Fail.OPEN)
    match = read_match(draft.fields.get("match", ()), terms)
    when = None if (condition := draft.last("when")) is None else terms.expression(condition)
    check = _check(draft, match, terms)
    remedy, owner, runbook = (_text(draft, key) for key in ("remedy", "owner", "runbook"))
    learn = _learn(draft, check, terms)
    counts = when if learn is None else learn
    meanings: Mapping[str, object] = {} if counts is None else terms.meanings(counts.source)
    return Rule(
        id=draft.id,
        description=description or "",
        mode=mode,
        severity=severity,
        fail=fail,
        match=match,
        place=draft.place,
        order=order,
        identity=identity_of(terms.normal, draft.id, match, check, (counts, meanings)),
        when=when,
        learn=learn,
        check=check,
        exemptions=_exemptions(draft, terms),
        remedy=remedy,
        tags=_words(draft, "tags"),
        owner=owner,
        runbook=runbook,
        notify=_words(draft, "notify"),
    )


def _misspelt(sibling: Written, key: str) -> bool:
    """Whether a key beside this one was probably meant to be `key`: that one is reported as unknown."""
    around = None if sibling.around is None else sibling.around.value
    return isinstance(around, dict) and any(each not in RULE_KEYS and did_you_mean(each, [key]) for each in around)


def _word(draft: Draft, key: str, default: Word) -> Word:
    written = draft.last(key)
    word = None if written is None else written.word(type(default))
    return default if word is None else word


def _check(draft: Draft, match: Match, terms: RuleTerms) -> Check | None:
    for key, read in CHECKS.items():
        if key in draft.fields:
            written = draft.fields[key][-1]
            check = terms.once(key, written, partial(read, written, terms))
            if check is not None and match.session is False and Per.SESSION in getattr(check, "per", ()):
                written.child("per").fault("match.session is false, so there is no session", "count per account")
            return check
    return None


def _text(draft: Draft, key: str) -> str | None:
    return None if (written := draft.last(key)) is None else written.text()


def _words(draft: Draft, key: str) -> tuple[str, ...]:
    if key not in draft.fields:
        return ()
    entries = [entry for part in draft.fields.get(key, ()) for entry in part.each()]
    return tuple(dict.fromkeys(word for entry in entries if (word := entry.text()) is not None))


def _learn(draft: Draft, check: Check | None, terms: RuleTerms) -> Expression | None:
    """`learn`: which operations teach a history, apart from those that `when` asks about."""
    if (written := draft.last("learn")) is None:
        return None
    learn = terms.expression(written)
    if not isinstance(check, FirstSeen | Deviation | Streak):
        written.fault_at_key("learn is for first_seen, deviation and streak", "leave it out")
    elif learn is not None and learn.per_grant:
        written.fault("an operation teaches once, whatever it grants", "ask about op, not about grant")
    return learn


def _exemptions(draft: Draft, terms: RuleTerms) -> tuple[Exemption, ...]:
    if "except" not in draft.fields:
        return ()
    entries = [entry for part in draft.fields["except"] for entry in part.each()]
    read = (terms.once("except", entry, partial(_exemption, entry, terms)) for entry in entries)
    return tuple(found for found in read if found is not None)


def _exemption(entry: Written, terms: RuleTerms) -> Exemption | None:
    fields = entry.fields(("match", "when", "reason", "until"), "except")
    if not isinstance(entry.value, dict):
        return None
    if "match" not in fields and "when" not in fields:
        entry.fault(f"{kind_of(entry.value)} exempts everything", "add match or when to it")
        return None
    # what is exempt has come through the rule's own match: nothing is asked that is not written
    everything = Match(preview=None, verdicts=None)
    match = read_match([fields["match"]], terms, everything) if "match" in fields else everything
    when = terms.expression(fields["when"]) if "when" in fields else None
    reason = fields["reason"].text() if "reason" in fields else None
    until = read_until(fields["until"]) if "until" in fields else None
    return Exemption(match=match, when=when, reason=reason, until=until)
