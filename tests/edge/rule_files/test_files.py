"""Patterns become texts: what is named is read once and in order, and what cannot be read is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.edge.rule_files.files import MOST_BYTES, read_rule_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with rules/b.yaml, rules/a.yaml, cases, tokens, and a profile one folder down."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.yaml", "a.yaml", "a.cases.yaml", "tokens.yaml", "profiles/one.yaml"):
        path = tmp_path / "rules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n", encoding="utf-8")
    return tmp_path


def _read(*patterns: str, base: Path | None = None) -> tuple[list[str], list[str], list[str]]:
    sources, tokens, faults = read_rule_files(patterns, base or Path())
    return [each.path for each in sources], [each.path for each in tokens], [str(each) for each in faults]


def test_a_pattern_gives_its_files_by_name_without_cases_and_tokens(folder: Path) -> None:
    assert _read("rules/*.yaml") == (["rules/a.yaml", "rules/b.yaml"], ["rules/tokens.yaml"], [])


def test_patterns_keep_their_order_and_a_file_named_twice_is_read_once(folder: Path) -> None:
    (folder / "link.yaml").symlink_to(folder / "rules" / "b.yaml")
    names, _, faults = _read("rules/b.yaml", "rules/*.yaml", "rules/../rules/a.yaml", "link.yaml")
    assert (names, faults) == (["rules/b.yaml", "rules/a.yaml"], [])


def test_stars_reach_into_folders_and_tokens_are_found_one_folder_up_and_read_once(folder: Path) -> None:
    assert _read("rules/**/*.yaml")[:2] == (
        ["rules/a.yaml", "rules/b.yaml", "rules/profiles/one.yaml"],
        ["rules/tokens.yaml"],
    )
    assert _read("rules/profiles/one.yaml") == (["rules/profiles/one.yaml"], ["rules/tokens.yaml"], [])


def test_tokens_one_folder_up_are_found_from_inside_the_folder_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "rules" / "profiles")
    assert _read("one.yaml") == (["one.yaml"], [str(folder / "rules" / "tokens.yaml")], [])


def test_paths_start_at_the_base_and_are_told_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _read("*.yaml", base=folder / "rules")[0] == ["rules/a.yaml", "rules/b.yaml"]
    assert _read(str(folder / "rules" / "*.yaml"), base=Path("/elsewhere"))[0] == ["rules/a.yaml", "rules/b.yaml"]
    monkeypatch.chdir(folder / "rules" / "profiles")
    assert _read("a.yaml", base=folder / "rules")[0] == [str(folder / "rules" / "a.yaml")]


def test_brackets_in_names_of_folders_and_files_are_no_pattern(folder: Path) -> None:
    odd = folder / "[x]"
    odd.mkdir()
    (odd / "[1].yaml").write_text("", encoding="utf-8")
    assert _read("*.yaml", base=odd)[0] == ["[x]/[1].yaml"]
    assert _read("[1].yaml", base=odd)[0] == ["[x]/[1].yaml"]


@pytest.mark.parametrize("pattern", ["rules/*.yml", "rules/none.yaml", "rules", "rules/*.cases.yaml"])
def test_a_pattern_without_a_rule_file_is_a_fault_with_a_cure(folder: Path, pattern: str) -> None:
    names, _, faults = _read(pattern)
    assert names == []
    assert faults == [f"{pattern}:1:1: {pattern} matches no rule file; correct the path, or remove it from the list"]


@pytest.mark.parametrize("pattern", ["rules/tokens.yaml", "rules/*.yaml"])
def test_a_folder_may_have_tokens_and_no_rules(folder: Path, pattern: str) -> None:
    for path in (folder / "rules").glob("*.yaml"):
        if path.name != "tokens.yaml":
            path.unlink()
    assert _read(pattern) == ([], ["rules/tokens.yaml"], [])


def test_one_pattern_without_a_file_is_a_fault_beside_others_that_have_some(folder: Path) -> None:
    names, _, faults = _read("rules/*.yaml", "more/*.yaml")
    assert len(names) == 2
    assert [fault.split(":")[0] for fault in faults] == ["more/*.yaml"]


def test_case_and_token_files_named_beside_rules_as_a_shell_does_are_left_out(folder: Path) -> None:
    written_out = [str(path.relative_to(folder)) for path in sorted((folder / "rules").glob("*.yaml"))]
    assert _read(*written_out) == (["rules/a.yaml", "rules/b.yaml"], ["rules/tokens.yaml"], [])


def test_what_is_no_text_is_told_with_its_line(folder: Path) -> None:
    (folder / "rules" / "a.yaml").write_bytes(b"rules:\n# caf\xe9\n")
    (folder / "rules" / "tokens.yaml").write_bytes(b"\xff")
    names, tokens, faults = _read("rules/*.yaml")
    assert (names, tokens) == (["rules/b.yaml"], [])
    assert faults == [
        "rules/a.yaml:2:1: not UTF-8 text; save the file as UTF-8",
        "rules/tokens.yaml:1:1: not UTF-8 text; save the file as UTF-8",
    ]


def test_a_file_of_4_mib_is_read_and_one_byte_more_is_a_fault(folder: Path) -> None:
    (folder / "rules" / "a.yaml").write_bytes(b"#" * MOST_BYTES)
    assert _read("rules/a.yaml")[2] == []
    (folder / "rules" / "a.yaml").write_bytes(b"#" * (MOST_BYTES + 1))
    assert _read("rules/a.yaml")[2] == ["rules/a.yaml:1:1: larger than 4 MiB; split it into several files"]


def test_a_file_that_may_not_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # whoever runs as root may read everything
    monkeypatch.setattr(Path, "open", refuse)
    names, _, faults = _read("rules/a.yaml")
    assert names == []
    assert faults[0].startswith("rules/a.yaml:1:1: cannot be read: Permission denied; check the path")


def test_a_mark_at_the_beginning_of_a_text_is_left_out(folder: Path) -> None:
    (folder / "rules" / "a.yaml").write_bytes(b"\xef\xbb\xbfrules: []\n")
    assert read_rule_files(["rules/a.yaml"], Path())[0][0].text == "rules: []\n"
