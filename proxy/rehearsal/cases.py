"""Case files read: every case in them, or every fault at once, each with its place. No file is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.document import Document, Location, read_yaml
from proxy.judge.facts import Facts
from proxy.judge.rule import Place
from proxy.judge.tokens import Tokens
from proxy.rehearsal.case import Case, CaseFault, Ending, Step
from proxy.rehearsal.steps import (
    STEP_KEYS,
    TAKEN_AS_WRITTEN,
    Sequence,
    Surroundings,
    read_ending,
    read_expectation,
    step_facts,
)
from proxy.rehearsal.written_fields import Desk, Fields, number_up_to, one_of, read_duration, read_moment, read_text
from proxy.userop.primitives import keccak256
from proxy.written import read_address, read_hash

START: Final = 1_772_442_000
"""2026-03-02T09:00:00Z, a Monday: the time of `at: 0s` in a file that names none."""
CHAINS: Final[Mapping[str, int]] = {"soneium": 1868}
"""The chains of a file that names none."""
CLIENT: Final = "dapp"
_MOST_REPEATS: Final = 10_000
_MOST_STEPS: Final = 100_000
"""Of one file, repeats included: far above what a rule needs, far below what exhausts the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """What came of reading one file: its cases, and what is wrong. Cases of a file with faults are not to be run."""

    path: str
    cases: tuple[Case, ...]
    faults: tuple[CaseFault, ...] = ()


def read_cases(text: str, path: str, tokens: Tokens) -> CaseFile:
    """The cases in `text`, which stands at `path`; amounts are of `tokens`."""
    document = Document()
    value = document.data = read_yaml(document, text, path)
    desk = Desk(document, tokens)
    cases = [] if value is None else _read_file(desk, value)
    told = [CaseFault(place=Place(each.path, each.line), problem=each.problem, suggestion=each.suggestion)
            for each in document.faults]  # fmt: skip
    if value is None and not told:
        told.append(CaseFault(place=Place(path, 1), problem="there are no cases in this file"))
    faults = sorted({*told, *desk.faults}, key=lambda each: (each.place, each.problem))
    return CaseFile(path=path, cases=tuple(cases), faults=tuple(faults))


def _read_file(desk: Desk, value: object) -> list[Case]:
    fields = desk.fields((), value, ("names", "defaults", "chains", "start", "cases"))
    desk.names = _names(fields)
    chains = _chains(fields)
    defaults = desk.fields(("defaults",), fields.values["defaults"], ("chain", "client")) if (
        fields.has("defaults")
    ) else Fields(desk, (), {})  # fmt: skip
    around = Surroundings(
        start=fields.get("start", read_moment, START),
        chain=defaults.get("chain", one_of(tuple(chains)), next(iter(chains))),
        client=defaults.get("client", read_text, CLIENT),
        chains=chains,
    )
    if not fields.has("cases") and not desk.faults:
        desk.fault((), "there are no cases in this file")
    left = _MOST_STEPS
    cases = []
    for at, item in fields.items("cases"):
        case = _case(desk, at, item, around, left)
        left -= len(case.steps)
        cases.append(case)
    return cases


def _names(fields: Fields) -> dict[str, bytes]:
    def read(value: object) -> bytes:
        is_hash = isinstance(value, str) and len(value) == 66
        return read_hash(value) if is_hash else read_address(value)

    if not fields.has("names"):
        return {}
    written = fields.values["names"]
    if not isinstance(written, dict):
        fields.desk.fault(("names",), "wanted names and what they stand for")
        return {}
    named = {name: fields.desk.read(("names", name), value, read, b"") for name, value in written.items()}
    return {name: value for name, value in named.items() if value}


def _chains(fields: Fields) -> dict[str, int]:
    if not fields.has("chains"):
        return dict(CHAINS)
    written = fields.values["chains"]
    if not isinstance(written, dict) or not written:
        fields.desk.fault(("chains",), "wanted names of chains and their ids")
        return dict(CHAINS)
    read = number_up_to(2**64 - 1, least=1)
    return {name: fields.desk.read(("chains", name), value, read, 1) for name, value in written.items()}


def _case(desk: Desk, at: Location, item: object, around: Surroundings, left: int) -> Case:
    fields = desk.fields(at, item, ("rule", "name", "steps"))
    rule = fields.need("rule", read_text, "")
    if not fields.has("steps") or not isinstance(fields.values["steps"], list):
        desk.fault(at, "steps is missing", "write a list of operations")
        return Case(rule=rule, name=fields.need("name", read_text, ""), place=desk.place(at), steps=())
    name = fields.need("name", read_text, "")
    sequence = Sequence(keccak256(repr((at, rule, name)).encode()))
    after, steps = -1, list[Step]()
    for number, (where, each) in enumerate(fields.items("steps"), start=1):
        written = desk.fields(where, each, STEP_KEYS)
        earliest = after
        after = written.get("at", read_duration, after + 1)
        if after < earliest:
            desk.fault((*where, "at"), "this step is before the one above it", "write steps in the order of time")
            after = earliest
        facts = step_facts(written, around, sequence, after)
        made = _steps(written, facts, around, sequence, number)
        if len(steps) + len(made) > left:
            desk.fault(where, f"the file has more than {_MOST_STEPS} steps, repeats included")
            break
        steps += made
        after = steps[-1].after
    return Case(rule=rule, name=name, place=desk.place(at), steps=tuple(steps))


def _steps(fields: Fields, facts: Facts, around: Surroundings, sequence: Sequence, number: int) -> list[Step]:
    desk, after = fields.desk, int(facts.unix_time) - around.start
    turns = fields.get("repeat", number_up_to(_MOST_REPEATS, least=1), 1)
    every = fields.get("every", read_duration, 1)
    if fields.has("every") and not fields.has("repeat"):
        desk.fault((*fields.at, "every"), "every without repeat means nothing", "add repeat, or remove it")
    fires = fields.need("expect", read_expectation, False)
    ending = fields.get("then", read_ending, Ending.SUCCEEDS)
    if fires and fields.has("then"):
        desk.fault((*fields.at, "then"), "an operation that fires does not go out", "remove then")
    first = Step(
        place=desk.place(fields.at),
        number=number,
        turn=1,
        turns=turns,
        after=after,
        facts=facts,
        fires=fires,
        ending=ending,
        as_written=tuple(key for key in TAKEN_AS_WRITTEN if fields.has(key)),
    )
    steps = [first]
    for turn in range(2, turns + 1):
        later = every * (turn - 1)
        # a grant ends so long after its own operation: it is made anew for each
        moved = (
            step_facts(fields, around, sequence, after + later)
            if facts.grants
            else _again(facts, later, sequence, again=fields.values.get("same_nonce") == "true")
        )
        steps.append(replace(first, turn=turn, after=after + later, facts=moved))
    return steps


def _again(facts: Facts, later: int, sequence: Sequence, *, again: bool) -> Facts:
    """The same operation once more: another nonce of the same key, later."""
    nonce = sequence.take(facts.account, facts.nonce >> 64, again=again)
    return facts._replace(unix_time=facts.unix_time + later, nonce=nonce, user_op_hash=sequence.name())
