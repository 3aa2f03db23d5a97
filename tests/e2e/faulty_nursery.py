"""Starts gates as `tests.chaos.nursery` does, with a fault of their own: whatever they judge, something breaks."""

from __future__ import annotations

from typing import NoReturn

from proxy.admission import Admission
from tests.chaos.nursery import main


def broken(*_: object, **__: object) -> NoReturn:
    raise ZeroDivisionError


if __name__ == "__main__":
    Admission.judge_at_once = broken  # type: ignore[method-assign]  # that is the fault
    main()
