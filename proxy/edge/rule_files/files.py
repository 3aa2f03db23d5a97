"""Rule files from disk: patterns into texts, and the token files beside them. What they mean is read elsewhere."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from proxy.document import Place
from proxy.judge.parse import Beside, RuleFault, SourceFile

MOST_BYTES: Final = 4 * 1024 * 1024
TOKENS: Final = "tokens.yaml"
_CASES: Final = (".cases.yaml", ".cases.yml")


def read_rule_files(
    patterns: Sequence[str], base: Path
) -> tuple[tuple[SourceFile, ...], tuple[SourceFile, ...], tuple[RuleFault, ...]]:
    """The rule files that the patterns name, relative to `base`, the token files of their folders and of the folders
    around those, and a fault for every pattern without a file and every file that cannot be read.

    Files come in the order of the patterns, those of one pattern by name, each once whatever it is called. Case files
    are left out; token files alone are no fault: limits are told in their units where nobody has rules. Names are those
    from the working directory where the file lies below it.
    """
    faults: list[RuleFault] = []
    paths: dict[Path, Path] = {}
    found = {pattern: _matching(base, pattern) for pattern in patterns}
    for path in (each for named in found.values() for each in named if _is_rule_file(each)):
        paths.setdefault(path.resolve(), path)
    named_tokens = [each for named in found.values() for each in named if each.name == TOKENS]
    for pattern, named in found.items():
        # a shell writes *.yaml out, so case files are named along with the rules: but not they alone
        if not named or not (paths or named_tokens):
            problem = f"{pattern} matches no rule file"
            cure = "correct the path, or remove it from the list"
            faults.append(RuleFault(place=Place(pattern, 1), problem=problem, suggestion=cure))
    sources = _read_all(paths.values(), faults)
    # of the path as it is named, not of what a link points to: that is where people put the tokens
    places = [path.absolute().parent for path in paths.values()]
    beside = [folder / TOKENS for place in places for folder in (place.parent, place)] + named_tokens
    tokens = {path.resolve(): path for path in beside if path.is_file()}
    return sources, _read_all(tokens.values(), faults), tuple(faults)


def read_beside(source: str, name: str) -> Beside:
    """A file that a rule or token file names, relative to the folder of that one."""
    path = Path(source).parent / name
    if not path.is_file():  # a pipe would be waited for
        return Beside(_shown(path), None, "there is no such file")
    text = _read(path)
    return Beside(_shown(path), None, text.problem) if isinstance(text, RuleFault) else Beside(_shown(path), text)


def _matching(base: Path, pattern: str) -> list[Path]:
    literal = base / pattern
    if literal.is_file():  # also one whose name holds what would be a wildcard
        return [literal]
    # an absolute pattern stays what it is; Path.glob would not take it
    whole = os.path.join(glob.escape(str(base)), pattern)  # noqa: PTH118  # Path.glob takes no absolute pattern
    named = sorted(glob.glob(whole, recursive=True))  # noqa: PTH207  # likewise
    return [path for path in map(Path, named) if path.is_file()]


def _shown(path: Path) -> str:
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _is_rule_file(path: Path) -> bool:
    return path.name != TOKENS and not path.name.endswith(_CASES)


def _read_all(paths: Iterable[Path], faults: list[RuleFault]) -> tuple[SourceFile, ...]:
    sources = []
    for path in paths:
        text = _read(path)
        if isinstance(text, RuleFault):
            faults.append(text)
        else:
            sources.append(SourceFile(_shown(path), text))
    return tuple(sources)


def _read(path: Path) -> str | RuleFault:
    place = Place(_shown(path), 1)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        return RuleFault(
            place=place, problem=f"cannot be read: {error.strerror}", suggestion="check the path and who may read it"
        )
    if len(data) > MOST_BYTES:
        return RuleFault(
            place=place, problem=f"larger than {MOST_BYTES >> 20} MiB", suggestion="split it into several files"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return RuleFault(place=Place(place.path, line), problem="not UTF-8 text", suggestion="save the file as UTF-8")
