"""What a bundler's answer to a send means for what the operation holds.

An error is not a refusal: the bundle may be out, or the operation in the mempool already. One table says what is known
of which answer; what is not in it is unknown, and what is unknown is held and looked for. A template is matched whole:
the text of a revert is the attacker's, and none of the rows that refuse under a code reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from proxy.errors import InvalidParams
from proxy.jsonrpc import Reply
from proxy.record import record
from proxy.userop.primitives import Hash32, parse_hash


class Meaning(StrEnum):
    """What an answer to a send says of the operation. A closed set, fit for a metric label."""

    ACCEPTED = "accepted"  # taken now, or there already
    REFUSED = "refused"  # not taken: it holds nothing
    UNKNOWN = "unknown"  # it may be on its way


TOOK_NOTHING: Final = frozenset({401, 403, 429})
"""HTTP statuses by which a gateway turns a request away before anything reads it (RFC 9110, 15.5.2 and 15.5.4; RFC
6585, 4), whatever the body says, JSON or not."""

_SERVER_ERROR: Final = 500
_NO_CODE: Final = None


@record()
class AnswerRow:
    """One line of the table. `message` is matched whole, `None` matches any; `codes` may hold `None` for "no code"."""

    meaning: Meaning
    codes: frozenset[int | None]
    message: re.Pattern[str] | None = None
    under_500_only: bool = False

    def matches(self, code: int | None, message: str | None, status: int) -> bool:
        """Whether this line speaks of such an error."""
        if code not in self.codes or (self.under_500_only and status >= _SERVER_ERROR):
            return False
        return self.message is None or (message is not None and self.message.fullmatch(message) is not None)


def _row(
    meaning: Meaning, codes: int | range | None, message: str | None = None, *, under_500: bool = False
) -> AnswerRow:
    known = frozenset(codes) if isinstance(codes, range) else frozenset({codes})
    return AnswerRow(meaning, known, None if message is None else re.compile(message, re.ASCII), under_500)


_ADDRESS: Final = "0x[0-9a-fA-F]{40}"
_INVALID_FIELDS: Final = -32602
_PRECHECK: Final = -32000  # rundler: jsonrpsee's CALL_EXECUTION_FAILED_CODE

TABLE: Final = (
    # --- it is there ------------------------------------------------------------------------------------------
    # rundler crates/rpc/src/eth/error.rs, OperationAlreadyKnown; asked by hash before anything else is checked
    _row(Meaning.ACCEPTED, _INVALID_FIELDS, "already known"),
    # alto src/store/createMempoolStore.ts, checkDuplicatesAndConflicts: in the outstanding or the processing pool by
    # hash; with the prefix as gateways in front of it print it
    _row(Meaning.ACCEPTED, _INVALID_FIELDS, "(?:Invalid fields, reason: )?Already known"),
    # --- nobody can tell --------------------------------------------------------------------------------------
    # alto src/rpc/methods/pimlico_sendUserOperationNow.ts: the executor gave no transaction back; where its wallet was
    # short of funds the operation went to the mempool all the same (src/executor/executorManager.ts, "resubmit")
    _row(Meaning.UNKNOWN, _INVALID_FIELDS, "unhandled error during bundle submission"),
    # eth-infinitism packages/bundler/src/modules/MempoolManager.ts, checkReplaceUserOp: looks by sender and nonce
    # only, so the one before may be this very operation unless its fee is another (then: refused, below); Biconomy and
    # Particle print the same
    _row(
        Meaning.UNKNOWN,
        _INVALID_FIELDS,
        r"Replacement UserOperation must have higher max(?:Priority)?FeePerGas \(old=([0-9]+) new=\1\) ?",
    ),
    # eth-infinitism, the same place in 2023
    _row(Meaning.UNKNOWN, _INVALID_FIELDS, "Replacement UserOperation must have higher gas"),
    # skandha packages/executor/src/services/MempoolService/service.ts, validateReplaceability: likewise
    _row(Meaning.UNKNOWN, _INVALID_FIELDS, "User op cannot be replaced: fee too low"),
    # voltaire voltaire_bundler/mempool/sender_mempool.py, try_replace_user_operation: likewise; what it says of fields
    # that are wrong is longer. The second as of its pull request 41
    _row(Meaning.UNKNOWN, _INVALID_FIELDS, r"invalid UserOperation struct/fields(?: \(can't replace useroperation\))?"),
    _row(
        Meaning.UNKNOWN,
        _INVALID_FIELDS,
        "invalid UserOperation struct/fields: a UserOperation with nonce 0x[0-9a-f]+ is already in the mempool "
        rf"for sender {_ADDRESS} [^\n]+",
    ),
    # stackup pkg/modules/checks/pendingops.go, ErrReplacementOpUnderpriced: likewise
    _row(
        Meaning.UNKNOWN,
        _INVALID_FIELDS,
        "pending ops: replacement op must increase maxFeePerGas and MaxPriorityFeePerGas by >= 10%",
    ),
    # in whatever plain letters a bundler or gateway that is not known here says that it is there: not believed, and not
    # taken for a refusal. What quotes a revert is none of it
    _row(
        Meaning.UNKNOWN,
        _INVALID_FIELDS,
        "(?i:(?!.*revert)[a-z ,:-]*\\balready (?:known|pending|submitted|(?:exists )?in (?:the )?(?:mem ?)?pool)[.!]?)",
    ),
    # --- refused ----------------------------------------------------------------------------------------------
    # ERC-7769, "Error Codes" of eth_sendUserOperation: answered before an operation is put into the mempool; whatever
    # the message, a revert's text, and whatever the HTTP status (gateways wrap a bundler's verdict into 400 and 500)
    _row(Meaning.REFUSED, range(-32508, -32499)),
    _row(Meaning.REFUSED, -32521),
    # ERC-7769 likewise: invalid struct or fields. "replacement underpriced" (rundler) and "AA25 …: User operation
    # already present in mempool, bump the gas price by minimum 10%" (alto) are among them: both have looked by hash
    # first, so the one before is another operation, and it stands
    _row(Meaning.REFUSED, _INVALID_FIELDS),
    # JSON-RPC 2.0, 5.1: not read, no request, no such method. alto answers -32600 to fields its schema refuses, skandha
    # to an unknown entry point. Under HTTP 5xx those two are a proxy's words, not a bundler's; who does not know the
    # method has handed the operation to nobody
    _row(Meaning.REFUSED, -32700, under_500=True),
    _row(Meaning.REFUSED, -32600, under_500=True),
    _row(Meaning.REFUSED, -32601),
    # rundler crates/types/src/pool/error.rs, PrecheckViolation, as error.rs prints it: before the mempool. Numbers and
    # addresses of ours only, no word of a contract
    *(
        _row(Meaning.REFUSED, _PRECHECK, f"precheck failed: {violation}", under_500=True)
        for violation in (
            f"sender {_ADDRESS} is not a contract and initCode is empty",
            f"sender {_ADDRESS} is an existing contract, but initCode is nonempty",
            f"initCode indicates factory with no code: {_ADDRESS}",
            "total gas limit is [0-9]+ but must be at most [0-9]+",
            "verificationGasLimit is [0-9]+ but must be at most [0-9]+",
            "preVerificationGas is [0-9]+ but must be at least [0-9]+",
            f"paymasterAndData indicates paymaster with no code: {_ADDRESS}",
            "paymaster deposit is [0-9]+ but must be at least [0-9]+ to pay for this operation",
            "sender balance and deposit together is [0-9]+ but must be at least [0-9]+ to pay for this operation",
            "maxPriorityFeePerGas is [0-9]+ but must be at least [0-9]+",
            "maxFeePerGas is [0-9]+ but must be at least [0-9]+",
            "callGasLimit is [0-9]+ but must be at least [0-9]+",
            "Factory must be empty when authorization contract is set",
        )
    ),
    # alto src/rpc/methods/boost_sendUserOperation.ts, validateUserOp: an RpcError without a code, under HTTP 200
    *(
        _row(Meaning.REFUSED, _NO_CODE, refusal, under_500=True)
        for refusal in (
            "maxFeePerGas and maxPriorityFeePerGas must be 0 for a boosted user operation",
            "Paymaster is not supported for boosted user operations[.] paymasterAndData must be '0x'",
            "Paymaster is not supported for boosted user operations[.] All paymaster fields must be empty",
        )
    ),
)
"""The first line that matches decides. Not in it, and so unknown: -32603, any other -32000, no code at all (alto
answers HTTP 500 without one when its wait for a receipt timed out, the bundle being out), anything else under 5xx."""


def meaning_of_error(code: int | None, message: str | None, status: int) -> Meaning:
    """What a JSON-RPC error that came under an HTTP status says of the operation."""
    found = next((row.meaning for row in TABLE if row.matches(code, message, status)), Meaning.UNKNOWN)
    return Meaning.REFUSED if found is Meaning.UNKNOWN and status in TOOK_NOTHING else found


def hash_named_by(reply: Reply) -> Hash32 | None:
    """The operation's hash in the answer to a send, be it that alone or a receipt; `None` where there is none."""
    result = reply.result.get("userOpHash") if isinstance(reply.result, Mapping) else reply.result
    try:
        return None if reply.is_error else parse_hash(result, "result")
    except InvalidParams:
        return None


def meaning_of_answer(reply: Reply, status: int, user_op_hash: str | None) -> Meaning:
    """What the reply to a send says of the operation with this hash, printed as bundlers do; `None` is no name.

    A receipt (`pimlico_sendUserOperationNow` waits for one) counts like the hash; `null` or another hash tells nothing.
    """
    if reply.is_error:
        return meaning_of_error(reply.error_code, reply.error_message, status)
    named = reply.result.get("userOpHash") if isinstance(reply.result, Mapping) else reply.result
    return Meaning.ACCEPTED if isinstance(named, str) and named.lower() == user_op_hash else Meaning.UNKNOWN
