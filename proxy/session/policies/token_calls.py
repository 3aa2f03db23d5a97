"""The calls of an ERC-20 token that spend or allow an amount of it (ERC-20; increaseAllowance is OpenZeppelin's)."""

from __future__ import annotations

from typing import Final

APPROVE: Final = bytes.fromhex("095ea7b3")
INCREASE_ALLOWANCE: Final = bytes.fromhex("39509351")
TRANSFER: Final = bytes.fromhex("a9059cbb")
TRANSFER_FROM: Final = bytes.fromhex("23b872dd")

VERBS: Final = {
    APPROVE: "approval",
    INCREASE_ALLOWANCE: "allowance increase",
    TRANSFER: "transfer",
    TRANSFER_FROM: "transferFrom",
}
"""What each is called in a sentence."""

AMOUNT_OFFSETS: Final = {APPROVE: 32, INCREASE_ALLOWANCE: 32, TRANSFER: 32, TRANSFER_FROM: 64}
"""Where the amount stands, in bytes after the selector."""
