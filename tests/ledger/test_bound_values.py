"""What is given to a statement is what stands in the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from proxy.ledger.bound_values import bind_as_they_are


@pytest.mark.parametrize("value", [b"", b"\0\xff" * 16, None, 7, 1.5, "text", "", True, False])
def test_a_value_is_written_as_it_stands(value: object) -> None:
    bind_as_they_are()
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute("SELECT ?1, typeof(?1)", (value,)).fetchone() == (value, _kind(value))


@pytest.mark.parametrize("value", [b"\x01" * 20, b"", None])
def test_nobody_is_asked_to_make_something_else_of_it(value: object) -> None:
    bind_as_they_are()
    assert sqlite3.adapt(value, sqlite3.PrepareProtocol) is value


def _kind(value: object) -> str:
    kinds = {bytes: "blob", type(None): "null", int: "integer", bool: "integer", float: "real", str: "text"}
    return kinds[type(value)]
