"""An import of web3 without what reads key files.

web3 imports eth_account, that imports eth_keyfile, and that py_ecc, which works out pairings of a curve and raises the
interpreter's recursion limit: two thirds of what importing web3 costs a start, for files of private keys. The gate has
no keys. Stand-ins take the names while web3 is imported, and leave the place to the real one afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

_NAMES: Final = ("eth_keyfile", "eth_keyfile.keyfile")


class _StandIn(ModuleType):
    """Has a class of any name, which nobody makes anything of."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def no_key_files() -> Iterator[None]:
    """Within, eth_keyfile is not imported, unless it was before."""
    if _NAMES[0] in sys.modules:
        yield
        return
    for name in _NAMES:
        sys.modules[name] = _StandIn(name)
    try:
        yield
    finally:
        for name in _NAMES:
            del sys.modules[name]
