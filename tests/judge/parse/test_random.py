"""Whatever is done to rule files, reading them ends in rules or in faults, and each fault stands inside its file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.judge.parse import SourceFile, parse_rules

RULES = Path(__file__).parents[3] / "rules"
FILES = [
    path
    for path in sorted(RULES.rglob("*.yaml"))
    if not path.name.endswith(".cases.yaml") and path.name != "tokens.yaml"
]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in FILES}
TOKENS = (RULES / "tokens.yaml").read_text(encoding="utf-8")
TREES = {name: yaml.load(text, Loader=yaml.BaseLoader) for name, text in TEXTS.items()}  # every scalar a text
BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML takes for the end of a line
NAMES = st.sampled_from(sorted(TEXTS))
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.text(max_size=8),
    st.sampled_from(
        ["0", "-1", "1e9", "0x", "$x", "any", "none", "session", "24h", "9" * 99, "²", "5 USDC", "::", "op."]
    ),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


def _look(text: str, tokens: str = TOKENS) -> None:
    parsed = parse_rules(
        [SourceFile("a.yaml", text)], [SourceFile("tokens.yaml", tokens)], chains={"soneium": 1868}, clients=["dapp"]
    )
    assert (parsed.ruleset is None) == bool(parsed.faults)
    lines = {"a.yaml": BREAKS.split(text), "tokens.yaml": BREAKS.split(tokens)}
    for fault in (*parsed.faults, *parsed.warnings):
        own = lines[fault.place.path]
        assert 1 <= fault.place.line <= len(own), str(fault)
        assert 1 <= fault.place.column <= len(own[fault.place.line - 1]) + 1, str(fault)


def _mutated(data: st.DataObject, text: str) -> str:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from((0, 1, 1, 2, 7, 40))))
        written = data.draw(
            st.one_of(st.just(""), st.text(max_size=3), st.sampled_from(list("{}[]:#-&*!|>'\"%@\t\n$.,?")))
        )
        text = text[:start] + written + text[end:]
    return text


@settings(max_examples=150, deadline=None)
@given(st.data(), NAMES)
def test_letters_changed_in_a_rule_file(data: st.DataObject, name: str) -> None:
    # a part of a pack is enough, and quicker to read
    whole = TEXTS[name]
    start = whole.rfind("\n  - id:", 0, data.draw(st.integers(0, len(whole)))) + 1
    part = whole[start : start + 1_500] if start else whole[:1_500]
    _look(_mutated(data, f"rules:\n{part}" if start else part))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_letters_changed_in_a_token_file(data: st.DataObject) -> None:
    _look("rules: [{id: a, description: It is., match: {moves: USDC}}]\n", _mutated(data, TOKENS))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_that_are_text(data: bytes) -> None:
    _look(data.decode("utf-8", errors="replace"))


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inside for path in _paths(item, (*at, key)))]


def _replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    if isinstance(value, dict):
        return {key: _replaced(item, at[1:], new) if key == at[0] else item for key, item in value.items()}
    return [_replaced(item, at[1:], new) if index == at[0] else item for index, item in enumerate(value)]


@settings(max_examples=200, deadline=None)
@given(st.data(), NAMES)
def test_values_changed_in_a_rule_file(data: st.DataObject, name: str) -> None:
    tree = TREES[name]
    some = data.draw(st.lists(st.sampled_from(tree["rules"]), min_size=1, max_size=3))
    tree = {**tree, "rules": some}
    for _ in range(data.draw(st.integers(1, 2))):
        paths = _paths(tree)
        at = data.draw(st.sampled_from(paths))
        found = tree
        for step in data.draw(st.sampled_from(paths)):
            found = found[step]
        # something odd, or what stands elsewhere in the file
        tree = _replaced(tree, at, data.draw(st.one_of(ODD, st.just(found))))
    _look(yaml.safe_dump(tree, allow_unicode=True, width=100))
