"""What SECURITY.md promises is held by tests that are run and can fail."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_FAILS_BY = {"raises", "fail"}
"""What pytest fails by, beside an assertion."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def promises() -> dict[str, list[str]]:
    """Each promise, with the tests that it names."""
    text = (ROOT / "SECURITY.md").read_text().partition("## What is promised")[2].partition("\n## ")[0]
    rows = [
        line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ") and "| test |" not in line
    ]
    assert all(len(row) == 2 for row in rows)
    return {promise.strip(): re.findall(r"`(test_\w+)`", tests) for promise, tests in rows}


NAMED = sorted({name for names in promises().values() for name in names})


def functions() -> Iterator[tuple[Path, Function]]:
    """Every function of the suite, and where it is."""
    for path in (ROOT / "tests").rglob("*.py"):
        if "node_modules" not in path.parts:
            tree = ast.parse(path.read_text())
            yield from ((path, node) for node in ast.walk(tree) if isinstance(node, Function))


def fails_by_itself(function: Function) -> bool:
    """Whether it can: by an assertion that is no constant, or by an exception that is wanted or raised."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Attribute) and node.attr in _FAILS_BY):
            return True
    return False


def called_by(function: Function) -> set[str]:
    """The names of what it calls."""
    called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    plain = {each.id for each in called if isinstance(each, ast.Name)}
    return plain | {each.attr for each in called if isinstance(each, ast.Attribute)}


def able_to_fail(suite: list[Function]) -> set[str]:
    """The names of functions that fail by themselves, or by others that they call."""
    calls = [(each.name, called_by(each)) for each in suite]
    able = {each.name for each in suite if fails_by_itself(each)}
    while more := {name for name, called in calls if name not in able and called & able}:
        able |= more
    return able


def test_every_promise_names_its_tests_and_is_made_once() -> None:
    assert len(promises()) > 50
    for promise, names in promises().items():
        assert names, promise
        assert len(names) == len(set(names)), promise


def test_each_of_them_is_there_once_can_fail_and_is_left_out_nowhere() -> None:
    suite = list(functions())
    of_name = {name: [(path, each) for path, each in suite if each.name == name] for name in NAMED}
    assert {name: len(found) for name, found in of_name.items() if len(found) != 1} == {}
    tests = [each for ((_, each),) in of_name.values()]
    able = able_to_fail([each for _, each in suite])
    assert [each.name for each in tests if each.name not in able] == []
    assert [each.name for each in tests if re.search(r"\bskip|\bxfail", ast.unparse(each))] == []


def test_each_of_them_is_collected() -> None:
    files = sorted({str(path) for path, each in functions() if each.name in NAMED})
    asked = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *files]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    collected = Counter(re.findall(r"::(test_\w+)", told))
    assert [name for name in NAMED if not collected[name]] == []


@pytest.mark.parametrize(
    ("body", "able"),
    [
        ("pass", False),
        ("assert True", False),
        ("told = 1 == 2", False),
        ("helps_nobody()", False),
        ("assert told", True),
        ("with pytest.raises(ValueError): told()", True),
        ("checks()", True),
        ("await line.checks_too()", True),
    ],
)
def test_what_cannot_fail_is_told_from_what_can(body: str, able: bool) -> None:
    helpers = "def helps_nobody(): ...\ndef checks(): assert told\nasync def checks_too(self): checks()\n"
    tree = ast.parse(f"{helpers}async def test_it():\n {body}\n")
    assert ("test_it" in able_to_fail([each for each in tree.body if isinstance(each, Function)])) is able
