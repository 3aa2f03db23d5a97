"""References to the environment and to secret files, inside any text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config.variables import expand
from proxy.document import Document, read_yaml


def read(text: str, environ: Mapping[str, str]) -> tuple[object, list[str]]:
    document = Document()
    document.data = read_yaml(document, text, "file.yaml")
    value = expand(document, environ)
    return value, [str(fault) for fault in document.faults]


@pytest.mark.parametrize(
    "text",
    [
        "url: https://host/${KEY}/rpc?k=${KEY}",
        "url: 'https://host/${KEY}/rpc?k=${KEY}'",
        "{url: https://host/${KEY}/rpc?k=${KEY}}",
        "url: >-\n  https://host/${KEY}/rpc?k=${KEY}",
    ],
)
def test_a_reference_is_replaced_wherever_yaml_lets_a_text_stand(text: str) -> None:
    assert read(text, {"KEY": "a-key"}) == ({"url": "https://host/a-key/rpc?k=a-key"}, [])


def test_a_list_of_references_needs_no_quotes() -> None:
    assert read("[${A}, x${B}?y]", {"A": "1", "B": "2"}) == (["1", "x2?y"], [])


def test_a_value_is_never_read_again_as_yaml_or_as_a_reference() -> None:
    assert read("a: ${A}", {"A": "${B}: [1"}) == ({"a": "${B}: [1"}, [])


def test_two_dollar_signs_are_one_and_a_lone_one_stays() -> None:
    assert read("a: $${A} $5", {"A": "1"}) == ({"a": "${A} $5"}, [])


def test_a_missing_variable_names_its_line_and_a_cure() -> None:
    value, faults = read("a: 1\nb: x${MISSING}y", {})
    assert value == {"a": "1", "b": None}
    assert faults == [
        "file.yaml:2: the variable MISSING is not set; "
        "export MISSING=… first, or refer to a file: ${file:/run/secrets/missing}"
    ]


def test_a_variable_with_a_similar_name_is_suggested_without_its_value() -> None:
    _, faults = read("a: ${BUNDLER_KEI}", {"BUNDLER_KEY": "hush"})
    assert 'did you mean "BUNDLER_KEY"?' in faults[0]
    assert "hush" not in faults[0]


def test_an_empty_variable_is_as_good_as_none() -> None:
    _, faults = read("a: ${EMPTY}", {"EMPTY": ""})
    assert "the variable EMPTY is set but empty" in faults[0]


@pytest.mark.parametrize("text", ["a: '${A'", "a: '${A B}'", "a: '${}'", "a: '${1}'"])
def test_what_only_looks_like_a_reference_is_a_fault(text: str) -> None:
    _, faults = read(text, {"A": "1"})
    assert len(faults) == 1


def test_two_missing_variables_in_one_text_are_two_faults() -> None:
    assert len(read("a: ${A}${B}", {})[1]) == 2


def test_a_secret_file_gives_its_content_without_the_last_line_break(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"hush \r\n")
    assert read(f"a: '${{file:{secret}}}'", {}) == ({"a": "hush "}, [])


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not UTF-8 text"), (b"x" * 65_537, "is longer than")],
)
def test_a_secret_file_that_holds_no_secret_is_a_fault(tmp_path: Path, content: bytes, told: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    _, faults = read(f"a: '${{file:{secret}}}'", {})
    assert told in faults[0]


def test_a_secret_file_that_is_not_there_is_a_fault() -> None:
    _, faults = read("a: ${file:/nowhere/at/all}", {})
    assert faults == [
        "file.yaml:1: '/nowhere/at/all' cannot be read: No such file or directory; check the path and who may read it"
    ]
