"""One target under atheris, which counts the branches of everything imported here."""

from __future__ import annotations

import sys

import atheris  # only in the environment that `make fuzz` makes

with atheris.instrument_imports(include=["proxy"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
