"""What a bundler or the chain said of an operation, put into words: AA codes, ERC-7769's codes, errors of contracts.

Sources: `EntryPoint.sol` of eth-infinitism/account-abstraction v0.6 to v0.9 for the AA codes, ERC-7769 for the codes,
`proxy.session.revert` for the session module, ERC-6093 for tokens, Solidity for `Error` and `Panic`. Nothing here
judges: the texts are a stranger's, and only people read what is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from proxy.session.addresses import name_of_policy
from proxy.session.revert import SELECTOR_BY_ERROR, SIGNATURES
from proxy.userop.primitives import Address, keccak256, print_bytes, print_checksummed

_WORD: Final = 32
_SELECTOR: Final = 4
_LONGEST_DATA: Final = _SELECTOR + 32 * _WORD
_LONGEST_QUOTE: Final = 200

AA_CODES: Final = {
    "AA10": "the account is deployed already, and the operation deploys it: leave out factory and factoryData",
    "AA13": "the account's factory failed or ran out of gas: check factoryData, or raise verificationGasLimit",
    "AA14": "the factory made another account than sender: sender, factoryData and salt do not belong together",
    "AA15": "the factory returned without deploying the account: check factory and factoryData",
    "AA20": "the account is not deployed, and the operation does not deploy it: send factory and factoryData",
    "AA21": "deposit and balance of the account do not cover the most the gas may cost: fund it, or name a paymaster",
    "AA22": "outside the time in which the operation is valid: the session or an approval has expired, or is not "
    "due yet",
    "AA23": "the account's validation reverted: what it reverted with says why",
    "AA24": "the signature was checked and is wrong: another key, another userOpHash, chain or entry point, or another "
    "form than the validator takes",
    "AA25": "the nonce is used already, or skips one: read it again from the entry point",
    "AA26": "validation used more gas than verificationGasLimit: raise it",
    "AA30": "the paymaster is not deployed on this chain",
    "AA31": "the paymaster's deposit at the entry point is too low: its owner has to add to it",
    "AA32": "the paymaster's approval has expired, or is not due yet: ask for a new one",
    "AA33": "the paymaster's validation reverted: what it reverted with says why",
    "AA34": "the paymaster refuses the approval's signature: it was made for other fields; ask for it after all others "
    "are set",
    "AA36": "the paymaster's validation used more gas than paymasterVerificationGasLimit: raise it",
    "AA40": "validation used more gas than verificationGasLimit: raise it",
    "AA41": "too little gas was left for postOp: raise verificationGasLimit",
    "AA50": "the paymaster's postOp reverted",
    "AA51": "the operation costs more than was paid for: raise preVerificationGas",
    "AA90": "the bundler named no beneficiary: a fault of the bundler",
    "AA91": "the bundler's beneficiary does not take the fee: a fault of the bundler",
    "AA92": "somebody but the entry point called innerHandleOp",
    "AA93": "paymasterAndData is neither empty nor long enough",
    "AA94": "a gas field is larger than the entry point takes",
    "AA95": "the bundle had too little gas: a fault of the bundler, or gas limits far too high",
    "AA96": "the aggregator is none: leave it out",
}
"""By the code that the entry point's reasons begin with."""

ERC7769_CODES: Final = {
    -32500: "the entry point or the account refused the operation",
    -32501: "the paymaster refused the operation",
    -32502: "validation used an opcode or storage that bundlers forbid",
    -32503: "the operation expires too soon",
    -32504: "the bundler throttles or bans this paymaster or factory",
    -32505: "the stake of the paymaster, factory or aggregator is too low",
    -32506: "the bundler does not serve this aggregator",
    -32507: "the signature of the account or the paymaster is wrong",
    -32508: "the paymaster's balance does not cover what it has in the mempool",
    -32521: "the calls revert: the chain would mine the operation without success",
}

_TOKENS: Final = (
    "ERC20InsufficientBalance(address,uint256,uint256)",
    "ERC20InvalidSender(address)",
    "ERC20InvalidReceiver(address)",
    "ERC20InsufficientAllowance(address,uint256,uint256)",
    "ERC20InvalidApprover(address)",
    "ERC20InvalidSpender(address)",
    "ERC721InvalidOwner(address)",
    "ERC721NonexistentToken(uint256)",
    "ERC721IncorrectOwner(address,uint256,address)",
    "ERC721InsufficientApproval(address,uint256)",
    "ERC1155InsufficientBalance(address,uint256,uint256,uint256)",
    "SafeERC20FailedOperation(address)",
)
_ERROR: Final = keccak256(b"Error(string)")[:_SELECTOR]
_FAILED_OPS: Final = {
    keccak256(text)[:_SELECTOR] for text in (b"FailedOp(uint256,string)", b"FailedOpWithRevert(uint256,string,bytes)")
}
_POST_OP: Final = keccak256(b"PostOpReverted(bytes)")[:_SELECTOR]
_BY_SELECTOR: Final = {
    **{keccak256(text.encode())[:_SELECTOR]: text for text in _TOKENS},
    **{SELECTOR_BY_ERROR[text.partition("(")[0]]: text for text in SIGNATURES},
}

ERRORS: Final = {
    "InvalidUserOpSender": "the session module was asked by another account than the operation's sender",
    "InvalidPermissionId": "the session is not enabled for this account: never granted, or removed",
    "PaymasterValidationNotEnabled": "the session permits no paymaster: send it without, or have the owner permit one",
    "NoPoliciesSet": "a call is outside the session: its target and selector are not among its actions",
    "PolicyViolation": "a policy of the session refuses the operation",
    "PolicyCheckReverted": "a policy of the session reverted when it was asked",
    "SignerNotFound": "the session has no signer any more: it was removed, or never granted",
    "UnsupportedExecutionType": "sessions take execute(bytes32,bytes) in its default mode only, no try mode",
    "UnsupportedCallType": "sessions take single and batch calls only, no delegatecall and no static call",
    "NoExecutionsInBatch": "the batch is empty",
    "InvalidSelfCall": "a session may not let the account call its own execute",
    "InvalidTarget": "the target of a call stands for the fallback action and cannot be called",
    "InvalidActionId": "the grant names an action whose target is the zero address or the session module",
    "InvalidISessionValidator": "the grant names no session validator",
    "UnsupportedPolicy": "the grant uses a policy in a way that it does not support",
    "ChainIdMismatch": "the grant's digest is of another chain",
    "HashMismatch": "the grant was signed for another session, account, mode or enable nonce; a grant enables once",
    "InvalidEnableSignature": "the account does not accept the owner's signature on the grant",
    "ValidatorNotInstalled": "the account has not installed this validator",
    "PolicyNotInitialized": "a policy holds no configuration for this session: its init data set none",
    "ValueLimitExceeded": "the calls send more native value than the session may",
    "InvalidTokenAddress": "the spending limit does not list this token",
    "ERC20InsufficientBalance": "the account has less of the token than it sends",
    "ERC20InsufficientAllowance": "the owner of the tokens allowed the caller less than it takes",
    "SafeERC20FailedOperation": "a call of the token failed",
}
"""By the name of a contract's error, where more can be said than its name."""

_PANICS: Final = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflowed",
    0x12: "divided by zero",
    0x21: "a value is outside its enum",
    0x32: "an index is out of range",
    0x41: "too much memory asked for",
}

_AA: Final = re.compile(r"\bAA[0-9]{2}\b", re.ASCII)
_HEX: Final = re.compile(r"0x([0-9a-fA-F]{8,})", re.ASCII)
_SAYS_REVERT: Final = re.compile(r"revert[a-z]*\W{1,3}(?:(?:with|reason|data)\W{1,3}){0,2}$", re.IGNORECASE)
_NAME: Final = re.compile(rf"\b({'|'.join(sorted(ERRORS, key=len, reverse=True))})\b", re.ASCII)


def in_words(message: str | None, code: int | None = None) -> str | None:
    """What is known of an error's text and code, in one sentence; `None` when that is nothing."""
    text = message or ""
    found = list(dict.fromkeys(_told_of(text)))
    if not found and code in ERC7769_CODES:
        found.append(ERC7769_CODES[code])
    return "; ".join(found) or None


def _told_of(text: str) -> Iterator[str]:
    for code in dict.fromkeys(_AA.findall(text)):
        if code in AA_CODES:
            yield f"{code}: {AA_CODES[code]}"
    told = []
    for digits in _HEX.findall(text):
        if len(digits) % 2 == 0 and (words := revert_in_words(bytes.fromhex(digits))) is not None:
            told.append(words)
            yield words
    for name in dict.fromkeys(_NAME.findall(text)):
        if not any(name in words for words in told):
            yield f"{name}: {ERRORS[name]}"


def revert_in_words(data: bytes) -> str | None:
    """What a contract reverted with, by name, with arguments; `None` for data that is of no known error."""
    selector, rest = data[:_SELECTOR], data[_SELECTOR:]
    if selector == _ERROR:
        text = _string_at(rest, 0)
        return None if text is None else f'reverted with "{text}"'
    if selector in _FAILED_OPS:
        reason, behind = _string_at(rest, 1), revert_in_words(_inner_of(rest, 2))
        return None if reason is None else "; ".join(filter(None, (in_words(reason), behind))) or None
    if selector == _POST_OP:
        behind = revert_in_words(_inner_of(rest, 0))
        return f"{AA_CODES['AA50']}{'' if behind is None else f'; {behind}'}"
    signature = _BY_SELECTOR.get(selector)
    if signature is None:
        return None
    name, _, types = signature.rstrip(")").partition("(")
    kinds = types.split(",") if types else []
    if len(rest) != _WORD * len(kinds):
        return None
    words = [rest[place : place + _WORD] for place in range(0, len(rest), _WORD)]
    if name == "Panic":
        return f"Panic: {_PANICS.get(int.from_bytes(words[0]), f'code {int.from_bytes(words[0])}')}"
    told = ", ".join(_printed(name, kind, word) for kind, word in zip(kinds, words, strict=True))
    said = f": {ERRORS[name]}" if name in ERRORS else ""
    return f"{name}({told}){said}{_behind(name, words)}"


def _behind(name: str, words: list[bytes]) -> str:
    """The module passes on the first word of what a policy reverted with: its selector."""
    if name != "PolicyCheckReverted":
        return ""
    inner = _BY_SELECTOR.get(words[0][:_SELECTOR])
    return "" if inner is None else f" ({inner.partition('(')[0]})"


def _printed(name: str, kind: str, word: bytes) -> str:
    if kind == "address":
        address = Address(word[-20:])
        return name_of_policy(address) if name == "PolicyViolation" else print_checksummed(address)
    if kind.startswith("uint"):
        return str(int.from_bytes(word))
    return print_bytes(word[: int(kind.removeprefix("bytes"))])


def _inner_of(data: bytes, index: int) -> bytes:
    """The bytes that argument `index` is, of a revert inside of another; empty where there is none, or one like it."""
    offset = int.from_bytes(data[_WORD * index : _WORD * (index + 1)])
    start = offset + _WORD
    if len(data) < _WORD * (index + 1) or start > len(data):
        return b""
    inner = data[start : start + int.from_bytes(data[offset:start])]
    return b"" if inner[:_SELECTOR] in _FAILED_OPS or inner[:_SELECTOR] == _POST_OP else inner


def _string_at(data: bytes, index: int) -> str | None:
    """The string that argument `index` is, made fit for a line; `None` where there is none."""
    offset = int.from_bytes(data[_WORD * index : _WORD * (index + 1)])
    if len(data) < _WORD * (index + 1) or offset + _WORD > len(data):
        return None
    length = int.from_bytes(data[offset : offset + _WORD])
    if offset + _WORD + length > len(data):
        return None
    text = data[offset + _WORD : offset + _WORD + min(length, _LONGEST_QUOTE)].decode("utf-8", "replace")
    return "".join(each if each.isprintable() else " " for each in text)


def says_revert(text: str, at: int) -> bool:
    """Whether a text says of the hex digits that begin there that a contract reverted with them."""
    return _SAYS_REVERT.search(text, max(at - 32, 0), at) is not None


def unknown_errors_in(text: str) -> Iterator[str]:
    """What contracts reverted with, as a text says, where nothing is known of it: as it stands there, whole."""
    for found in _HEX.finditer(text):
        digits = found[1][: len(found[1]) // 2 * 2]
        if says_revert(text, found.start()) and revert_in_words(bytes.fromhex(digits)) is None:
            yield found[0]


def is_known_error(digits: str) -> bool:
    """Whether hex digits are the data of an error that is known here, by selector and shape: no signature, no call
    data."""
    if len(digits) % 2 or len(digits) > 2 * _LONGEST_DATA or (len(digits) // 2 - _SELECTOR) % _WORD:
        return False
    return revert_in_words(bytes.fromhex(digits)) is not None
