"""Which session a log of a session module is about.

Source: erc7579/smartsessions, `ISmartSession.sol` and `ConfigLib.sol`. None of its events has an indexed field: one
topic, everything else in the data, each field a word. An event says only that something changed; what, the module's
views tell. A session that is enabled by its first operation emits no SessionCreated, so every event counts alike.

`onUninstall` removes the account's sessions one by one, so each of them emits SessionRemoved. What shows in no event
of the module, and so is not noticed by its logs:

- an account that drops the module without its `onUninstall` or swallows a revert of it, and one that changes its
  implementation: the module keeps the sessions, and the account refuses their operations. Of the first the account's
  own ModuleUninstalled tells (`dropped_module`);
- what a session uses through another bundler: policies count that in storage, and only some of them emit an event;
- ERC-7739 contents, which no user operation depends on;
- sessions of the emissary, which has other events and cannot be read whole (`proxy.chain.hydrate.is_readable`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from proxy.chain.logs import Log
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, Hash32, keccak256

# each event with the position of the account among its words; the permission id is always the first
_EVENTS: Final = (
    ("SessionCreated(bytes32,address)", 1),
    ("SessionRemoved(bytes32,address)", 1),
    ("PolicyEnabled(bytes32,uint8,address,address)", 3),
    ("PolicyDisabled(bytes32,uint8,address,address)", 3),
    ("ActionIdDisabled(bytes32,bytes32,address)", 2),
    ("SessionValidatorEnabled(bytes32,address,address)", 2),
    ("SessionValidatorDisabled(bytes32,address,address)", 2),
    ("NonceIterated(bytes32,address,uint256)", 1),
    ("PermissionIdPermit4337Paymaster(bytes32,address,bool)", 1),
)
_WORDS: Final = {
    keccak256(signature.encode()): (signature.count(",") + 1, account_word) for signature, account_word in _EVENTS
}
SESSION_TOPICS: Final = tuple(_WORDS)
"""The first topics of all events that tell of a change to a session."""
_CREATED: Final = keccak256(b"SessionCreated(bytes32,address)")


def is_grant(log: Log) -> bool:
    """Whether a log that tells of a session says that it was granted, by a call of its account."""
    return log.topics[:1] == (_CREATED,)


def session_touched(log: Log, chain_id: int, modules: Collection[Address]) -> SessionKey | None:
    """The session that a log tells of; `None` when it is no event of one of `modules`.

    Anyone can emit an event of the same shape from another address, and any account about sessions of its own: only
    chain, module, account and permission id together name a session. A log that a reorganisation removed tells of a
    change as well.
    """
    if log.address not in modules or len(log.topics) != 1:
        return None
    shape = _WORDS.get(log.topics[0])
    if shape is None:
        return None
    words, account_word = shape
    account = log.data[32 * account_word : 32 * (account_word + 1)]
    if len(log.data) != 32 * words or any(account[:12]):
        return None
    return SessionKey(chain_id, log.address, Address(account[12:]), Hash32(log.data[:32]))


MODULE_UNINSTALLED: Final = keccak256(b"ModuleUninstalled(uint256,address)")
"""An ERC-7579 account's own event, neither of its fields indexed."""
_A_VALIDATOR: Final = (1).to_bytes(32, "big") + bytes(12)


def dropped_module(log: Log, modules: Collection[Address]) -> Address | None:
    """The session module among `modules` that an account says it has dropped as a validator; `None` for other logs."""
    if log.topics != (MODULE_UNINSTALLED,) or len(log.data) != 64 or log.data[:44] != _A_VALIDATOR:
        return None
    module = Address(log.data[44:])
    return module if module in modules else None
