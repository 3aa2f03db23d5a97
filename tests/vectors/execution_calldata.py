"""execution_calldata.json: the calls inside `execute`, and how the module refuses what it cannot read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.errors import Undecodable
from proxy.userop.execution import Call, DecodingError, decode_execution
from proxy.userop.primitives import Address
from tests.vectors.fields import read_hex
from tests.vectors.registry import Finding

DECODING_ERROR = "0xba597e7e"
MARKS_OTHER_CALL_TYPE = "OtherCallType"


def check_executions(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        problem = _problem_of(vector)
        yield vector["id"], problem is None, problem or ""


def _problem_of(vector: Mapping[str, Any]) -> str | None:
    decoded = vector["decoded"]
    try:
        execution = decode_execution(read_hex(vector["callData"]))
    except Undecodable as error:
        data = DECODING_ERROR if isinstance(error, DecodingError) else "0x"
        wanted = (decoded["status"], decoded.get("data"), vector["smartSession"].get("data"))
        return None if wanted == ("revert", data, data) else f"refused: {error}"
    if not execution.is_execute:
        return None if decoded["status"] == "not-execute" else "not seen as execute"
    if (execution.call_type, execution.exec_type) != (
        int(vector["callType"], 16),
        int(vector["execType"], 16),
    ):
        return "another mode"
    if decoded["status"] != "ok":
        other = decoded["error"] == MARKS_OTHER_CALL_TYPE and execution.calls == ()
        return None if other else "read, though the chain refuses it"
    calls = tuple(
        Call(Address(read_hex(each["target"])), int(each["value"], 16), read_hex(each["callData"]))
        for each in decoded["calls"]
    )
    return None if execution.calls == calls else "other calls"


CHECKERS = {"execution-calldata/1": check_executions}
