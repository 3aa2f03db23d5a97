"""What the image is built by, done here: the wheel of the files it copies, in an environment of its own.

Dependencies come from the lock, by hash; that a registry still has them is not asked here. They are lent instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY

ROOT = DEPLOY.parent
HOME = "/opt/sessiongate"


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, comments gone and continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for line in filter(str.strip, re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()):
        instruction, arguments = line.split(None, 1)
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, arguments))
    return found


def copied(context: Path, arguments: str) -> None:
    *sources, target = arguments.split()
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, context / target, ignore=ignored, dirs_exist_ok=True)
        else:
            (context / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, context / target)


def commands(arguments: str) -> list[str]:
    return [each.strip() for each in arguments.split("&&")]


def done(arguments: Sequence[str | Path], cwd: Path, **environ: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SESSIONGATE", "PIP"))}
    ran = subprocess.run(arguments, cwd=cwd, env={**clean, **environ}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the build stage leaves, made by its own commands."""
    folder = tmp_path_factory.mktemp("image")
    context, home, wheels = folder / "src", folder / "opt", folder / "wheels"
    context.mkdir()
    for instruction, arguments in stages()[0]:
        if instruction == "COPY":
            copied(context, arguments)
        for command in commands(arguments) if instruction == "RUN" else ():
            if "--require-hashes" in command:
                lent = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
                (lent / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
                continue
            # the interpreter of the image is the one that runs this
            here = re.sub(r"^(python|pip)\b", lambda word: f"{sys.executable}{' -m pip' * (word[1] == 'pip')}", command)
            done(["sh", "-ec", here.replace(HOME, str(home)).replace("/wheels", str(wheels))], context)
    return home


def test_the_image_has_the_gate_itself_and_nothing_of_the_checkout(image: Path, tmp_path: Path) -> None:
    where = done([image / "bin" / "python", "-c", "import proxy; print(proxy.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(image)


def test_it_brings_rules_example_settings_and_unit_as_they_are_here(image: Path) -> None:
    share = image / "share" / "sessiongate"
    brought = {str(path.relative_to(share)): path.read_bytes() for path in share.rglob("*") if path.is_file()}
    rules = {str(path.relative_to(ROOT)): path.read_bytes() for path in (ROOT / "rules").rglob("*") if path.is_file()}
    assert brought == {
        **rules,
        "sessiongate.example.yaml": (ROOT / "sessiongate.example.yaml").read_bytes(),
        "systemd/sessiongate.service": (DEPLOY / "systemd" / "sessiongate.service").read_bytes(),
    }


def test_its_command_takes_the_rules_and_the_smallest_settings(image: Path, tmp_path: Path) -> None:
    bundler = "https://bundler.example/rpc"
    rules = image / "share" / "sessiongate" / "rules"
    (tmp_path / "sessiongate.yaml").write_text(
        f"mode: shadow\nchains: {{soneium: {{chain_id: 1868, bundlers: [{bundler}]}}}}\nrules: [{rules}/*.yaml]\n"
    )
    gate = image / "bin" / "sessiongate"
    assert "set " in done([gate, "rules", "check"], tmp_path)
    done([gate, "check"], tmp_path)
