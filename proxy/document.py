"""A YAML file of settings or rules as values that remember where they stand.

The file is YAML, but every scalar is read as the text that was written: what is a number is decided by the
setting it is for. So `0x…` never becomes a number, `v0.7` never a float and `no` never a boolean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.errors import ConfigFault
from proxy.plain_yaml import NULLS, NotPlainError, WrittenAt, read_lines

Location = tuple[str | int, ...]
"""The way to a value: `("chains", "soneium", "bundlers", 0)`."""


class Place(NamedTuple):
    """Where a key or a value was written: a file or the name of an environment variable, line and column from 1."""

    path: str
    line: int
    column: int = 1


@dataclass(slots=True)
class Document:
    """What one reading gathers: the values, where each stands, and every fault met on the way.

    `data` is made of dicts, lists, `None` and texts as they were written, references not replaced. `keys` holds
    the places of keys, `values` those of values, `texts` where the first letter of a text on one line stands. A
    location in `broken` has been reported already, so that nobody
    complains about it twice.
    """

    data: object = None
    keys: dict[Location, Place] = field(default_factory=dict)
    values: dict[Location, Place] = field(default_factory=dict)
    texts: dict[Location, Place] = field(default_factory=dict)
    broken: set[Location] = field(default_factory=set)
    faults: list[ConfigFault] = field(default_factory=list)

    def fault(self, place: Place, problem: str, suggestion: str | None = None) -> None:
        """Report what is wrong at `place`."""
        self.faults.append(ConfigFault(path=place.path, line=place.line, problem=problem, suggestion=suggestion))

    def spot_of(self, value: object, at: Location = ()) -> WrittenAt:
        """The places of a value that `read_yaml` read, and of all inside."""
        place, text = self.place_of(at), self.texts.get(at)
        key = self.keys.get(at, place)
        inside: Mapping[str, WrittenAt] | Sequence[WrittenAt] = ()
        if isinstance(value, dict):
            inside = {key: self.spot_of(item, (*at, key)) for key, item in value.items()}
        elif isinstance(value, list):
            inside = [self.spot_of(item, (*at, index)) for index, item in enumerate(value)]
        column = -1 if text is None else text.column - 1
        return WrittenAt(key.line - 1, key.column - 1, place.line - 1, place.column - 1, column, inside)

    def place_of(self, location: Location) -> Place:
        """Where the value at `location` stands, or the nearest thing around it that stands anywhere."""
        for length in range(len(location), -1, -1):
            if (place := self.values.get(location[:length])) is not None:
                return place
        return self.values[()]

    def written(self, location: Location) -> object:
        """The value at `location` as it was written; `None` when there is none."""
        value = self.data
        for step in location:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def is_broken(self, location: Location) -> bool:
        """Whether this value, or one around it, was reported already."""
        return any(location[:length] in self.broken for length in range(len(location) + 1))


def print_location(location: Iterable[str | int]) -> str:
    """`chains.soneium.bundlers[0]`, as people write it."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    by_fold = {fold(candidate): candidate for candidate in known}
    if (exact := by_fold.get(fold(name))) is not None:
        return exact
    matches = get_close_matches(fold(name), by_fold, n=1, cutoff=0.6)
    return by_fold[matches[0]] if matches else None


def fold(name: str) -> str:
    """A name without case and separators: `PERMISSION_ID`, `permissionId` and `permission-id` fold to the same."""
    return name.replace("_", "").replace("-", "").lower()


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The suggestion for a name nobody knows."""
    candidate = nearest(name, known)
    return None if candidate is None else f'did you mean "{candidate}"?'


class _Loader(yaml.SafeLoader):
    """Composes nodes and resolves no type: any tag that is not the default one was written by hand."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the base class declares it so


_PLAIN_TAGS = {
    ScalarNode: yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG,
    SequenceNode: yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG,
    MappingNode: yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
}


class _FastLoader(yaml.CSafeLoader):
    """The same by libyaml, ten times as fast."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the base class declares it so

    def resolve(self, kind: type[Node], _value: object, _implicit: object) -> str:
        """The tag of a node without one: without resolvers it hangs on the kind alone."""
        return _PLAIN_TAGS[kind]


_DEEPEST = 50
"""Nesting up to which anything is read. libyaml's binding composes by recursion that nothing bounds, and PyYAML's
scanner looks at every open bracket for each token."""


def _compose(text: str) -> Node | None:
    """The nodes of a text. Raises what PyYAML raises, with its words: libyaml is believed only where it has no fault
    to find, and `RecursionError` for what is nested deeper than anything is read."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_FastLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEEPEST:
                    raise RecursionError
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return yaml.compose(text, Loader=_FastLoader)
    except (yaml.YAMLError, ValueError, OverflowError):
        return _compose_slowly(text)


def _compose_slowly(text: str) -> Node | None:
    return yaml.compose(text, Loader=_Loader)


# Inside [ ] and { } YAML ends a plain text at a brace, and PyYAML at a question mark too. References and URLs
# contain both: they stand aside while the text is composed.
_ASIDE = re.compile(r"\$\{([^{}\n]*)\}|(?<=\S)\?(?=\S)")
_STAND_INS = ("\ue0f0", "\ue0f1", "\ue0f2")


def _set_aside(text: str) -> str:
    if "${" not in text and "?" not in text:
        return text
    opened, closed, question = _STAND_INS
    return _ASIDE.sub(lambda match: question if match[0] == "?" else opened + match[1] + closed, text)


def _bring_back(text: str) -> str:
    opened, closed, question = _STAND_INS
    return text.replace(opened, "${").replace(closed, "}").replace(question, "?")


def read_yaml(document: Document, text: str, path: str, at: Location = ()) -> object:
    """The values in `text` as written; places and faults go into `document`, locations begin with `at`.

    Returns `None` when the text is no YAML at all, which is reported.
    """
    try:
        node = _compose(_set_aside(text))
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        _report_syntax(document, error, text, path, at)
        return None
    document.values[at] = Place(path, 1)
    if node is None:
        return None
    return _Reader(document, path).read(node, at, ())


def _report_syntax(document: Document, error: Exception, text: str, path: str, at: Location) -> None:
    document.broken.add(at)
    document.values[at] = Place(path, 1)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        problem = _bring_back(" ".join(part for part in (error.context, error.problem) if part))
        written = text.splitlines()[line - 1 : line]
        document.fault(Place(path, line, column), f"not YAML: {problem}", _syntax_cure(error, "".join(written)))
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        document.fault(Place(path, line), "not YAML: a control character", "remove it")
    elif isinstance(error, RecursionError):
        document.fault(Place(path, 1), "not YAML as this gate reads it: nested too deeply")
    else:
        document.fault(Place(path, 1), "not YAML: an escape that stands for no character", "write the character itself")


def _syntax_cure(error: yaml.MarkedYAMLError, written: str) -> str | None:
    problem = error.problem or ""
    if "'\\t'" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem and "memory:" in written:
        return "write memory without its colon"
    if "mapping values are not allowed" in problem:
        return "check the indentation, or quote the text if it contains a colon and a space"
    if "but found another document" in problem:
        return "keep one document in the file: remove the --- in the middle"
    return None


_Events = Callable[[], Any]


def read_plain(text: str) -> tuple[object, WrittenAt] | None:
    """What `read_yaml` makes of a text without faults, tags and anchors, and where it stands, at a fifth of the work;
    `None` of any other, also of an empty one."""
    return read_lines(text, _DEEPEST) or _read_events(text)


def _read_events(text: str) -> tuple[object, WrittenAt] | None:
    events = yaml.parse(_set_aside(text), Loader=_FastLoader)
    try:
        if not isinstance(next(events), yaml.StreamStartEvent) or not isinstance(next(events), yaml.DocumentStartEvent):
            return None
        value, spot = _plain_value(next(events), events.__next__, None, _DEEPEST)
        whole = isinstance(next(events), yaml.DocumentEndEvent) and isinstance(next(events), yaml.StreamEndEvent)
    except (NotPlainError, yaml.YAMLError, ValueError, OverflowError):
        return None
    return (value, spot._replace(key_line=0, key_column=0, line=0, column=0)) if whole else None  # a file begins there


def _plain_value(event: Any, take: _Events, key: Any, deeper: int) -> tuple[object, WrittenAt]:
    """The value that an event begins, under a key that stands at this mark."""
    kind, at = type(event), event.start_mark
    line, column = at.line, at.column
    key_line, key_column = (line, column) if key is None else (key.line, key.column)
    if kind is yaml.AliasEvent or event.anchor is not None or event.tag is not None:
        raise NotPlainError
    if kind is yaml.ScalarEvent:
        text, style = event.value, event.style
        first = column + bool(style) if style not in _BLOCK and event.end_mark.line == line else -1
        if not text.isascii():
            if _SURROGATE.search(text):
                raise NotPlainError
            text = _bring_back(text)
        value = None if not style and text in NULLS else text
        return value, WrittenAt(key_line, key_column, line, column, first)
    if not deeper:
        raise NotPlainError
    if kind is yaml.SequenceStartEvent:
        read = []
        while type(event := take()) is not yaml.SequenceEndEvent:
            read.append(_plain_value(event, take, None, deeper - 1))
        return [value for value, _ in read], WrittenAt(
            key_line, key_column, line, column, -1, [spot for _, spot in read]
        )
    values: dict[str, object] = {}
    spots: dict[str, WrittenAt] = {}
    while type(event := take()) is not yaml.MappingEndEvent:
        if type(event) is not yaml.ScalarEvent or event.anchor is not None or event.tag is not None:
            raise NotPlainError
        name = event.value if event.value.isascii() else _bring_back(event.value)
        if name in values:
            raise NotPlainError
        values[name], spots[name] = _plain_value(take(), take, event.start_mark, deeper - 1)
    return values, WrittenAt(key_line, key_column, line, column, -1, spots)


_BLOCK = ("|", ">")
_MOST_VALUES = 200_000  # aliases of aliases can write out far more than the file holds
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class _Reader:
    document: Document
    path: str
    count: int = 0

    def read(self, node: Node, at: Location, around: tuple[Node, ...]) -> object:
        place = self._place(node)
        self.document.values.setdefault(at, place)
        self.count += 1
        if self.count > _MOST_VALUES:
            if self.count == _MOST_VALUES + 1:
                self._break(at, place, f"more than {_MOST_VALUES} values, aliases written out", "use fewer aliases")
            return None
        if any(node is outer for outer in around):
            self._break(at, place, "an alias that contains itself", "write the value out")
            return None
        if not self._has_default_tag(node):
            self._break(at, place, f"the tag {node.tag!r} means nothing here", "remove it")
            return None
        if isinstance(node, MappingNode):
            return self._read_mapping(node, at, (*around, node))
        if isinstance(node, SequenceNode):
            items = enumerate(node.value)
            return [self.read(item, (*at, index), (*around, node)) for index, item in items]
        if _SURROGATE.search(node.value):
            self._break(at, place, "an escape that stands for half a character", "write the character itself")
            return None
        style = (node.style or None) if isinstance(node, ScalarNode) else None  # libyaml writes "" for plain
        is_plain = isinstance(node, ScalarNode) and style is None
        if style in (None, "'", '"') and node.start_mark.line == node.end_mark.line:
            self.document.texts[at] = Place(place.path, place.line, place.column + (style is not None))
        return None if is_plain and node.value in NULLS else _bring_back(node.value)

    def _has_default_tag(self, node: Node) -> bool:
        kind = "map" if isinstance(node, MappingNode) else "seq" if isinstance(node, SequenceNode) else "str"
        return bool(node.tag == f"tag:yaml.org,2002:{kind}")

    def _read_mapping(self, node: MappingNode, at: Location, around: tuple[Node, ...]) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, ScalarNode):
                self.document.fault(place, "a key is a single word, this one is a list or a mapping")
                continue
            key = _bring_back(key_node.value)
            if key in values:
                first = self.document.keys[(*at, key)].line
                problem = f'"{key}" is written twice, first on line {first}'
                self.document.fault(place, problem, "keep one of the two")
                continue
            self.document.keys[(*at, key)] = place
            values[key] = self.read(value_node, (*at, key), around)
        return values

    def _break(self, at: Location, place: Place, problem: str, cure: str) -> None:
        self.document.broken.add(at)
        self.document.fault(place, problem, cure)

    def _place(self, node: Node) -> Place:
        return Place(self.path, node.start_mark.line + 1, node.start_mark.column + 1)
