"""What a bundler answered, as it is kept."""

from __future__ import annotations

from typing import Final

from proxy.record import record

LONGEST_SAID: Final = 8_192
"""Characters of a text of a bundler's that are kept: an error with 4 KiB of data, twice what the entry point passes on
of a revert."""


@record(kw_only=True)
class UpstreamAnswer:
    """What came back for a forwarded request: a hash, an error, or nothing at all. Nothing in it proves an operation
    (`proxy.userop.proofs`)."""

    result: str | None = None  # short text of the result: the hash of an accepted operation
    error_code: int | None = None
    error_message: str | None = None
    error_data: str | None = None  # a text beside the message, mostly what a contract reverted with
