"""The session modules of the gate that is weighed: the published ones, and two that settings declare."""

from __future__ import annotations

from functools import cache
from typing import Final

from proxy.session.changes import Changes
from proxy.session.known import KnownSession
from proxy.session.registry import Registry
from proxy.session.state import ToldAt
from proxy.session.told import MOST_NAMES, tell
from proxy.userop.declared_acts import DeclaredGrant, GrantedCall, GrantedTerms
from proxy.userop.declared_module import MOST_CALLS, SessionModules, key_id
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.primitives import Address, Hash32
from tests.admission.builders import SESSION_KEY_ADDRESS
from tests.bypass_list import desk
from tests.bypass_list.desk import CHAIN_ID
from tests.session.builders import ACCOUNT, NOW, TOKEN, TRANSFER, word
from tests.session.declared_modules import GUIDE, LEDGER_OF_IDS, NAMED, PLAIN

MODULES: Final = SessionModules.of(desk.MODULES | EMISSARIES, (GUIDE, LEDGER_OF_IDS), CHAIN_ID)
NAMED_ID: Final = Hash32(b"\x4e" * 32)
"""The key's session at `NAMED`."""

_TERMS: Final = GrantedTerms(max_value=0)
_PAYS: Final = GrantedCall(target=TOKEN, selector=TRANSFER, terms=_TERMS)
_OTHER_CALLS: Final = tuple(
    GrantedCall(target=Address(word(number)[12:]), selector=TRANSFER, terms=_TERMS) for number in range(MOST_CALLS - 1)
)
_OTHER_KEYS: Final = tuple(Address(b"\x9e" + word(number)[13:]) for number in range(2 * MOST_NAMES))


@cache
def told() -> tuple[KnownSession, ...]:
    """What the declared modules told of: a session of the key at each, of many calls at one; and of other keys more
    than those that a preview is held against which does not say whose it is."""
    grants = [
        _grant(PLAIN, SESSION_KEY_ADDRESS, MESSAGE_KEY, key_id(SESSION_KEY_ADDRESS), (_PAYS,)),
        _grant(NAMED, SESSION_KEY_ADDRESS, PLAIN_KEY, NAMED_ID, (*_OTHER_CALLS, _PAYS)),
        *(_grant(PLAIN, key, MESSAGE_KEY, key_id(key), _OTHER_CALLS) for key in _OTHER_KEYS),
    ]
    changes = Changes(user_op_hash=Hash32(bytes(32)), chain_id=CHAIN_ID, account=ACCOUNT, at_validation=tuple(grants))
    return tuple(after for _, _, after in tell(Registry(), changes, ToldAt(7, 1), float(NOW)))


def _grant(
    module: Address, key: Address, signer: Address, name: Hash32, calls: tuple[GrantedCall, ...]
) -> DeclaredGrant:
    return DeclaredGrant(
        module=module, account=ACCOUNT, permission_id=name, session_key=key, signer=signer, calls=calls
    )
