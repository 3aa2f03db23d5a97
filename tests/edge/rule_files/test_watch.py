"""A change of the rule files is seen, whatever it is, and not before it has come to rest."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from proxy.edge.rule_files.watch import Watch, look


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "one.yaml").write_text("rules: []\n")
    return rules


@pytest.fixture
def watch(folder: Path) -> Watch:
    look_here = partial(look, [str(folder / "*.yaml")])
    watch = Watch(look_here)
    watch.read(look_here())
    return watch


def test_nothing_is_due_while_nothing_changes(watch: Watch) -> None:
    assert [watch.is_due() for _ in range(3)] == [False, False, False]


def test_a_change_is_due_once_it_stayed_the_same_for_a_look(watch: Watch, folder: Path) -> None:
    (folder / "one.yaml").write_text("rules: [a]\n")
    assert [watch.is_due(), watch.is_due()] == [False, True]


def test_a_file_that_grows_from_look_to_look_is_not_due(watch: Watch, folder: Path) -> None:
    with (folder / "one.yaml").open("a") as file:
        for _ in range(4):
            file.write("# still writing\n")
            file.flush()
            assert not watch.is_due()
    assert watch.is_due()


def test_a_file_that_comes_goes_or_is_replaced_by_one_as_long_is_due(watch: Watch, folder: Path) -> None:
    def due() -> bool:
        watch.is_due()
        found = watch.is_due()
        watch.read(look([str(folder / "*.yaml")]))
        return found

    (folder / "two.yaml").write_text("rules: []\n")
    assert due()
    (folder / "two.yaml").unlink()
    assert due()
    before = (folder / "one.yaml").stat()
    (folder / "new").write_text("rules: 12\n")
    os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "new").rename(folder / "one.yaml")
    assert (folder / "one.yaml").stat().st_size == before.st_size
    assert due()
    assert not due()


def test_tokens_count_wherever_they_are_looked_for_and_cases_do_not(watch: Watch, folder: Path) -> None:
    (folder / "one.cases.yaml").write_text("cases: []\n")
    assert [watch.is_due(), watch.is_due()] == [False, False]
    (folder.parent / "tokens.yaml").write_text("tokens: {}\n")
    assert [watch.is_due(), watch.is_due()] == [False, True]


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As a mounted configuration changes: by one link."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.yaml").write_text("rules: []\n")
    (tmp_path / "data").symlink_to("v1")
    look_here = partial(look, [str(tmp_path / "data" / "*.yaml")])
    before = look_here()
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "data")
    assert look_here() != before
