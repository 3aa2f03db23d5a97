"""What the logs of declared modules tell, as the settings say they are to be read.

Anyone can emit an event of the same shape from another address: only the module's own count. Whoever emits it there,
an event is of the account that it names: the module answers for that.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from proxy.chain.blocks.events import BundledClaim
from proxy.chain.logs import Log
from proxy.chain.session_logs import SESSION_TOPICS
from proxy.chain.settlement.slices import BlockName, ChainPlace, OperationMined, SessionTold
from proxy.errors import Undecodable
from proxy.session.changes import Changes, UsedPastGate
from proxy.session.counters import SessionKey
from proxy.userop.acts import SessionsCleared
from proxy.userop.declared_acts import DeclaredGrant
from proxy.userop.declared_module import DeclaredModule, declared_in
from proxy.userop.execution import decode_execution
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed

_LOG: Final = logging.getLogger(__name__)


def topics_of(modules: Collection[Address]) -> Mapping[Address, tuple[Hash32, ...]]:
    """The first topics of the logs that are wanted of each module; without those of which none are."""
    wanted = {}
    for address in modules:
        declared = declared_in(modules, address)
        topics = SESSION_TOPICS if declared is None else tuple(declared.events)
        if topics:
            wanted[address] = topics
    return wanted


def told_by(log: Log, module: DeclaredModule, chain_id: int) -> tuple[SessionTold, ...]:
    """What a log of the module says, one for each account; nothing where it is none of those declared, or is not as
    it was declared."""
    try:
        news = module.news_of_log(log.topics, log.data)
    except Undecodable as error:
        module_name, topic = print_checksummed(module.address), print_bytes(log.topics[0])
        _LOG.warning("event %s of module %s cannot be read as it is declared: %s", topic, module_name, error)
        return ()
    place, block = ChainPlace(log.block, log.log_index), BlockName(log.block, log.block_hash)
    return tuple(
        SessionTold(
            place=place,
            block=block,
            changes=Changes(
                user_op_hash=log.transaction_hash, chain_id=chain_id, account=told.account, at_validation=(told.news,)
            ),
        )
        for told in news
    )


def dropped_at(log: Log, module: Address, chain_id: int) -> SessionTold:
    """What an account's word that it has dropped a declared module says of its sessions there."""
    changes = Changes(
        user_op_hash=log.transaction_hash,
        chain_id=chain_id,
        account=log.address,
        at_validation=(SessionsCleared(module),),
    )
    place, block = ChainPlace(log.block, log.log_index), BlockName(log.block, log.block_hash)
    return SessionTold(place=place, block=block, changes=changes)


def granted_in(told: SessionTold) -> tuple[SessionKey, ...]:
    """The sessions that it brings into force."""
    changes = told.changes
    return tuple(key for key, change in changes.granted() if isinstance(change, DeclaredGrant))


def used_past(mined: OperationMined, key: SessionKey, claim: BundledClaim) -> SessionTold:
    """What an operation of the session has used that did not come through here."""
    try:
        calls = decode_execution(claim.call_data()).calls
    except Undecodable:
        calls = ()  # no session could do that, so the module counted nothing that is known here
    changes = Changes(
        user_op_hash=mined.user_op_hash,
        chain_id=key.chain_id,
        account=key.account,
        at_validation=(UsedPastGate(key.module, key.permission_id, calls),),
    )
    return SessionTold(place=mined.place, block=mined.block, changes=changes)
