"""What each parameter of a function or event means, and the values of one call or log by what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop import abi
from proxy.userop.budget import Budget
from proxy.userop.primitives import Hash32
from proxy.userop.prototype import Prototype, PrototypeFault, PrototypeParameter

IGNORED: Final = "_"
"""The name of a parameter that means nothing here."""


class ArgumentMeaning(StrEnum):
    """What a parameter may mean, by the name it is given."""

    ACCOUNT = "account"
    ID = "id"
    SESSION_KEY = "sessionKey"
    TARGET = "target"
    SELECTOR = "selector"
    MAX_VALUE = "maxValue"  # wei with each call
    MAX_TOTAL = "maxTotalValue"  # wei of all calls
    MAX_USES = "maxUses"
    VALID_AFTER = "validAfter"
    VALID_UNTIL = "validUntil"
    SIGNATURE = "signature"


_NUMBER: Final = ("a number", re.compile(r"uint\d+\Z"))
_ADDRESS: Final = ("an address", re.compile(r"address\Z"))
_WANTED: Final[Mapping[ArgumentMeaning, tuple[str, re.Pattern[str]]]] = {
    ArgumentMeaning.ACCOUNT: _ADDRESS,
    ArgumentMeaning.ID: ("an id: bytes32, a number or an address", re.compile(r"bytes\d+\Z|uint\d+\Z|address\Z")),
    ArgumentMeaning.SESSION_KEY: _ADDRESS,
    ArgumentMeaning.TARGET: _ADDRESS,
    ArgumentMeaning.SELECTOR: ("bytes4", re.compile(r"bytes4\Z")),
    ArgumentMeaning.SIGNATURE: ("bytes", re.compile(r"bytes\Z")),
}
"""The types that can mean it; everything else is a number."""

Suggest = Callable[[str, Collection[str]], str | None]
"""What to write instead of a name that is none of these."""
Values = Mapping[ArgumentMeaning, Any]  # Any: what the type of the parameter reads


Told = tuple[Values, tuple[Values, ...]]
"""What is told once, and of each item of the list."""


@record()
class Spot:
    """Where a value stands: the way to it through tuples, and its type."""

    meaning: ArgumentMeaning
    path: tuple[int, ...]
    type: str


@record(kw_only=True)
class MeaningPlan:
    """How a call or a log is read. `each` stand in the items of the one list at `list_path`, `whole` beside it.

    `arguments` is the type of all parameters together, `logged` of those that stand in a log's data.
    """

    parameters: tuple[PrototypeParameter, ...]
    arguments: abi.AbiType
    logged: abi.AbiType
    whole: tuple[Spot, ...]
    list_path: tuple[int, ...] | None = None
    each: tuple[Spot, ...] = ()

    @property
    def meanings(self) -> frozenset[ArgumentMeaning]:
        """All that it tells."""
        return frozenset(spot.meaning for spot in self.whole + self.each)

    def of(self, meaning: ArgumentMeaning) -> Spot | None:
        """Where that stands."""
        return next((spot for spot in self.whole + self.each if spot.meaning is meaning), None)

    def read_arguments(self, data: bytes, where: str, budget: Budget | None = None) -> Told:
        """Of a call, without its selector. Raises `Undecodable`."""
        return self._values(abi.decode(self.arguments, data, where, budget))

    def read_log(self, topics: Sequence[Hash32], data: bytes, where: str) -> Told:
        """The same of a log. An indexed value stands in a topic, after the event's own. Raises `Undecodable`."""
        indexed = [each for each in self.parameters if each.indexed]
        if len(topics) != 1 + len(indexed):
            raise Undecodable(where, f"it has {len(topics)} topics, {1 + len(indexed)} are declared")
        in_topics = iter(
            None if each.type.dynamic or each.type.head != 32 else abi.decode(abi.tuple_of(each.type), topic, where)[0]
            for each, topic in zip(indexed, topics[1:], strict=True)
        )
        in_data = iter(abi.decode(self.logged, data, where))
        return self._values([next(in_topics if each.indexed else in_data) for each in self.parameters])

    def _values(self, values: Sequence[Any]) -> Told:
        items = () if self.list_path is None else _at(values, self.list_path)
        once = {spot.meaning: _at(values, spot.path) for spot in self.whole}
        return once, tuple({spot.meaning: _at(item, spot.path) for spot in self.each} for item in items)


def _at(value: Any, path: Sequence[int]) -> Any:  # see `Values`
    for step in path:
        value = value[step]
    return value


def plan_of(prototype: Prototype, allowed: Collection[ArgumentMeaning], suggest: Suggest) -> MeaningPlan:
    """The plan by which `prototype` is read; `suggest` helps who mistyped a name.

    Raises `PrototypeFault` with everything that is wrong with its names and their types.
    """
    reading = _Naming(frozenset(allowed), suggest)
    reading.walk(prototype.parameters, (), indexed=False)
    if reading.problems:
        cure = "name each parameter by what it means, or _ : " + ", ".join(
            each for each in ArgumentMeaning if each in allowed
        )
        raise PrototypeFault("; ".join(reading.problems), reading.cure or cure)
    return MeaningPlan(
        parameters=prototype.parameters,
        arguments=abi.tuple_of(*(each.type for each in prototype.parameters)),
        logged=abi.tuple_of(*(each.type for each in prototype.parameters if not each.indexed)),
        whole=tuple(reading.whole),
        list_path=reading.list_path,
        each=tuple(reading.each),
    )


class _Naming:
    """Goes through the parameters and notes what each means."""

    def __init__(self, allowed: frozenset[ArgumentMeaning], suggest: Suggest) -> None:
        self._allowed = allowed
        self._suggest = suggest
        self.whole: list[Spot] = []
        self.each: list[Spot] = []
        self.list_path: tuple[int, ...] | None = None
        self.problems: list[str] = []
        self.cure: str | None = None
        self._seen: set[str] = set()

    def walk(self, parameters: Sequence[PrototypeParameter], path: tuple[int, ...], *, indexed: bool) -> None:
        for index, parameter in enumerate(parameters):
            at = (*path, index)
            if not parameter.members:
                self._leaf(parameter, at, indexed=indexed or parameter.indexed)
            elif not _tells(parameter):
                continue
            elif parameter.dimensions:
                self._list(parameter, at, indexed=indexed or parameter.indexed)
            else:
                self.walk(parameter.members, at, indexed=indexed or parameter.indexed)

    def _list(self, parameter: PrototypeParameter, at: tuple[int, ...], *, indexed: bool) -> None:
        if self.list_path is not None or parameter.dimensions > 1:
            self.problems.append(f"{parameter.name or 'a list'}: one list is read, not several or lists of lists")
            return
        self.list_path = at
        before, self.whole = self.whole, self.each
        self.walk(parameter.members, (), indexed=indexed)
        self.whole, self.each = before, self.whole

    def _leaf(self, parameter: PrototypeParameter, at: tuple[int, ...], *, indexed: bool) -> None:
        name, kind = parameter.name, parameter.type.name
        if name == IGNORED:
            return
        if not name:
            self.problems.append(f"a parameter {kind} is not named by what it means")
        elif name not in self._allowed:
            self.problems.append(f"{name} means nothing here")
            self.cure = self.cure or self._suggest(name, sorted(self._allowed))
        elif name in self._seen:
            self.problems.append(f"{name} is named twice")
        else:
            self._seen.add(name)
            meaning = ArgumentMeaning(name)
            what, wanted = _WANTED.get(meaning, _NUMBER)
            if not wanted.match(kind):
                self.problems.append(f"{name} is {kind}, and must be {what}")
            elif indexed and parameter.type.dynamic:
                self.problems.append(f"{name} is indexed, and of {kind} that leaves a hash only")
            self.whole.append(Spot(meaning, at, kind))


def _tells(parameter: PrototypeParameter) -> bool:
    """Whether anything in a tuple is named; `_` before or in it ignores it."""
    if parameter.name == IGNORED:
        return False
    return any(_tells(each) if each.members else each.name != IGNORED for each in parameter.members)


def id_of(spot: Spot, value: Any) -> Hash32:  # see `Values`
    """A value that names a session, as 32 bytes: numbers and addresses at the end of them, bytes at the beginning."""
    if isinstance(value, int):
        return Hash32(value.to_bytes(32, "big"))
    return Hash32(value.rjust(32, b"\0") if spot.type == "address" else value.ljust(32, b"\0"))


def missing_from(plan: MeaningPlan, wanted: Collection[ArgumentMeaning]) -> Iterator[ArgumentMeaning]:
    """What has to be told and is not, in order."""
    told = plan.meanings
    yield from (each for each in ArgumentMeaning if each in wanted and each not in told)
