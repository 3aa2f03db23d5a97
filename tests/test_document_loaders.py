"""Both YAML readers say the same of a text: the fast one is believed only where it finds nothing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.document import Document, _compose, _compose_slowly, _read_events, read_plain, read_yaml
from proxy.plain_yaml import read_lines

ROOT = Path(__file__).parent.parent
SHIPPED = sorted([*ROOT.glob("rules/**/*.yaml"), ROOT / "sessiongate.example.yaml"])
PIECES = [
    "a",
    "b: ",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    '"x"',
    "'y'",
    "# z",
    "|\n",
    "&n ",
    "*n",
    "1",
    "é",
    "\t",
]


def told(node: yaml.Node | None) -> object:
    """A node with the places and tags of all in it."""
    if node is None:
        return None
    place = node.tag, node.start_mark.line, node.start_mark.column
    if isinstance(node, yaml.ScalarNode):
        return (*place, node.value, node.style or None, node.end_mark.line)
    if isinstance(node, yaml.SequenceNode):
        return (*place, [told(item) for item in node.value])
    return (*place, [(told(key), told(value)) for key, value in node.value])


def outcomes(text: str) -> Iterator[object]:
    for compose in (_compose, _compose_slowly):
        try:
            yield told(compose(text))
        except yaml.YAMLError as error:
            yield str(error)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_are_read_alike_to_the_place_of_each_word(path: Path) -> None:
    fast, slow = outcomes(path.read_text(encoding="utf-8"))
    assert fast == slow


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_a_text_that_both_read_is_read_alike_and_faults_are_told_in_the_same_words(text: str) -> None:
    fast, slow = outcomes(text)
    if not isinstance(slow, str):
        assert fast == slow
    else:
        # what the slow reader refuses the fast one may read; it never words a fault of its own
        assert fast == slow or not isinstance(fast, str)


def test_nesting_without_end_is_a_fault_and_no_crash() -> None:
    with pytest.raises((yaml.YAMLError, RecursionError)):
        _compose("[" * 100_000)


def read_twice(text: str) -> tuple[object, object, bool]:
    """What the plain reader makes of a text, what the careful one does, and whether that one finds a fault."""
    document = Document()
    value = read_yaml(document, text, "f.yaml")
    return read_plain(text), (value, document.spot_of(value)), bool(document.faults)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_are_plain_and_each_value_and_key_stands_where_the_careful_reader_finds_it(path: Path) -> None:
    plain, careful, _ = read_twice(path.read_text(encoding="utf-8"))
    assert plain == careful


@given(
    st.lists(st.sampled_from([*PIECES, "${x}", "a?b", "!t ", "~", '"\\ud800"', ">\n  a\n"]), max_size=30).map("".join)
)
def test_what_is_read_plainly_is_read_alike_and_has_no_fault(text: str) -> None:
    plain, careful, faulty = read_twice(text)
    assert plain is None or (plain == careful and not faulty)


MOST = 50
LINES = [
    "a: ",
    "b: 1",
    "c:",
    "- ",
    "- d",
    "- e: f",
    "\n",
    "\n  ",
    "\n    ",
    "\n",
    "\n  ",
    "x y",
    "x:y",
    "{g: h, i: [j, k]}",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "l: m",
    '"n: o"',
    "'p # q'",
    "''",
    " # r",
    "#",
    ":",
    "~",
    "null",
    "?",
    "-",
    "---",
    "...",
    "${z}",
    "ü",
    "|",
    "%",
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_most_files_are_read_line_by_line(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = read_lines(text, MOST)
    assert lines == read_plain(text) or lines is None


@given(st.lists(st.sampled_from([*LINES, *PIECES]), max_size=30).map("".join))
def test_what_is_read_line_by_line_is_read_as_libyaml_reads_it(text: str) -> None:
    lines = read_lines(text, MOST)
    assert lines is None or lines == _read_events(text)
    plain, careful, faulty = read_twice(text)
    assert plain is None or (plain == careful and not faulty)


def _printed(value: object, indent: int) -> str:
    """Plain YAML: entries of lists on a line, what stands under keys below them."""
    space = "  " * indent
    if isinstance(value, list):
        return "".join(f"{space}- {_flow(item)}\n" for item in value)
    assert isinstance(value, dict)
    return "".join(f"{space}{key}:{_below(item, indent)}" for key, item in value.items())


def _below(value: object, indent: int) -> str:
    return "\n" + _printed(value, indent + 1) if value and not isinstance(value, str) else f" {_flow(value)}\n"


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(_flow, value)) + "]" if isinstance(value, list) else str(value)


WORDS = st.sampled_from(["a", "0xab", "x y", "spend(USDC) > 5", '"q: r"', "'s # t'", "24h", "$list", "ümlaut", "null"])
VALUES = st.recursive(
    WORDS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), inside, max_size=4),
    max_leaves=20,
)


@given(st.lists(VALUES, min_size=1, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), VALUES, min_size=1))
def test_what_is_written_plainly_is_read_line_by_line(value: object) -> None:
    text = _printed(value, 0)
    lines = read_lines(text, MOST)
    assert lines is not None
    assert lines == _read_events(text)
