"""Heads of the trail that were told elsewhere, read again: one JSON object a line, as `heads` tells them."""

from __future__ import annotations

import json

from proxy.edge.audit.appending import Head
from proxy.edge.audit.chain import HASH_BYTES


def read_heads(text: str) -> tuple[Head, ...]:
    """The heads in such lines, oldest first. Raises `ValueError` that names the line."""
    heads = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            head = Head(told["id"], bytes.fromhex(told["hash"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError(f"line {number} is no head") from None
        if type(head.id) is not int or head.id < 1 or len(head.hash) != HASH_BYTES:
            raise ValueError(f"line {number} is no head")
        heads.append(head)
    return tuple(heads)
