"""Hands operations in by web3.py with its defaults; tasks on stdin, outcomes on stdout as `send.mjs` does."""

from __future__ import annotations

import json
import sys

from web3 import Web3


def main() -> None:
    print(json.dumps([outcome_of(task) for task in json.load(sys.stdin)]))


def outcome_of(task: dict[str, object]) -> dict[str, object]:
    provider = Web3.HTTPProvider(task["url"])
    try:
        answer = provider.make_request(task.get("method", "eth_sendUserOperation"), [task["op"], task["entryPoint"]])
    except Exception as error:  # whatever it makes of the answer is the outcome
        return {"failed": str(error)}
    return {"result": answer["result"]} if "result" in answer else {"failed": str(answer["error"])}


if __name__ == "__main__":
    main()
