"""Records of which many are made for every operation.

`dataclass(frozen=True)` lets `object.__setattr__` set each field, which makes a record cost three times as much: of all
that judging an operation took, that was a fifth. That nobody writes to one of these is what the type checker sees to
(it reads them as frozen), and nothing at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, kw_only: bool = False) -> Callable[[type[_T]], type[_T]]:
    """A data class with slots, equal and hashed by its fields, that is frozen for whoever reads the code."""
    return dataclass(slots=True, kw_only=kw_only, unsafe_hash=True)
