"""No secret is in the project's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {"node_modules", "__pycache__", "build", "run", "dist"}
SHAPES = {
    "a private key in PEM": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
    "a token of Slack": r"\bxox[abeoprs]-[0-9A-Za-z-]{20,}",
    "a hook of Slack": r"hooks\.slack\.com/services/T[0-9A-Z]{6,}/B[0-9A-Z]{6,}/[0-9A-Za-z]{20,}",
    "a live key of Stripe": r"\b[rs]k_live_[0-9A-Za-z]{20,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of PyPI": r"\bpypi-AgEI[0-9A-Za-z_-]{50,}",
    "a token of npm": r"\bnpm_[A-Za-z0-9]{36}\b",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
    "a key of a bundler or node": r"\b(?:pim|alch)_[A-Za-z0-9]{20,}|/v[23]/[0-9a-f]{32}\b",
}
FOUND = re.compile("|".join(f"(?P<s{number}>{shape})" for number, shape in enumerate(SHAPES.values())))


def secrets_in(text: str) -> list[str]:
    """What in a text has the shape of a secret."""
    names = list(SHAPES)
    return [names[int(str(match.lastgroup)[1:])] for match in FOUND.finditer(text)]


def _files(folder: Path = ROOT) -> Iterator[Path]:
    """The project's own: no folder that tools make, and of those with a dot only the one that CI reads."""
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in MADE and (not path.name.startswith(".") or path.name == ".ci"):
                yield from _files(path)
        elif path.stat().st_size < 2_000_000:
            yield path


def test_no_file_holds_what_has_the_shape_of_a_secret() -> None:
    found = {str(path.relative_to(ROOT)): secrets_in(path.read_text(errors="replace")) for path in _files()}
    assert len(found) > 500
    assert {path: kinds for path, kinds in found.items() if kinds} == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("a private key in PEM", "-----BEGIN " + "EC PRIVATE KEY-----\n" + "MHcCAQEEI" * 6),
        ("a key of AWS", "AK" + "IAIOSFODNN7EXAMPLE"),
        ("a token of GitHub", "ghp" + "_" + "a1B2" * 9),
        ("a key of a bundler or node", "https://node.example/v3/" + "0a1b2c3d" * 4),
        ("a JSON web token", "ey" + "JhbGciOiJIUzI1NiIsInR5c.ey" + "JzdWIiOiIxMjM0NTY3ODkw.SflKxwRJSMeKKF2QT4fw"),
    ],
)
def test_a_secret_is_known_by_its_shape(kind: str, text: str) -> None:
    assert secrets_in(f"key: {text}\n") == [kind]
