"""A client asks what it may ask: its methods, its accounts, its sessions; in doubt it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.clients.licence import Guest, Licence
from proxy.errors import MethodNotFound, NotLicensed
from proxy.methods import METHODS, PREVIEWS, MethodClass, classify
from proxy.session.addresses import SESSION_MODULES
from proxy.userop.declared_module import key_id
from proxy.userop.key_forms import MESSAGE_KEY
from proxy.userop.primitives import Address, print_bytes, print_checksummed
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import TWICE
from tests.bypass_list.desk import STRANGERS_KEY, V07, an_operation
from tests.gate_parts import GOOD, STUB
from tests.session.builders import STRANGER
from tests.session.declared_modules import MODULES, PLAIN
from tests.session.signing import SESSION_KEY, nonce_at, signed

MINE = print_checksummed(GOOD.sender)
OTHER = print_checksummed(Address(b"\x77" * 20))
NAME = print_bytes(TWICE.permission_id)


def guest(**licence: Any) -> Guest:
    return Guest("dapp", Licence(**licence))


def admit(guest: Guest, method: str, *params: object) -> None:
    guest.admit(method, classify(method), list(params))


def test_without_a_licence_that_says_so_nothing_is_refused() -> None:
    for method in METHODS:
        admit(guest(), method)
    guest().admit_operation(GOOD, V07, SESSION_MODULES)


def test_only_the_methods_named_may_be_used() -> None:
    bound = guest(methods=frozenset({"eth_chainId"}))
    admit(bound, "eth_chainId")
    for method in METHODS.keys() - {"eth_chainId"}:
        with pytest.raises(MethodNotFound, match="client dapp may not use"):
            admit(bound, method)


NAMING = [
    name for name, method in METHODS.items() if method.names[:1] in (("userOperation",), ("sender",), ("account",))
]
"""Every method that names an account, whatever is done with it."""


def params_for(method: str, account: str) -> list[object]:
    first: object = account
    if METHODS[method].names[0] == "userOperation":
        first = {**print_user_operation(GOOD), "sender": account}
    return [first, NAME]


@pytest.mark.parametrize("method", NAMING)
def test_no_method_names_an_account_that_is_not_the_clients(method: str) -> None:
    bound = guest(accounts=frozenset({GOOD.sender}))
    if classify(method) in {MethodClass.SUBMIT, *PREVIEWS}:  # judged, and held to the licence with what is read of them
        bound.admit_operation(GOOD, V07, SESSION_MODULES)
        with pytest.raises(NotLicensed, match=f"may not act for account {print_checksummed(STRANGER)}"):
            bound.admit_operation(replace(GOOD, sender=STRANGER), V07, SESSION_MODULES)
        return
    admit(bound, method, *params_for(method, MINE))
    for params in (params_for(method, OTHER), [None, NAME], ["0x", NAME], [[MINE], NAME], [{}, NAME]):
        with pytest.raises(NotLicensed):
            admit(bound, method, *params)


def test_a_session_is_asked_about_under_either_way_of_naming_it() -> None:
    bound = guest(permission_ids=frozenset({TWICE.permission_id}))
    admit(bound, "sessiongate_getSession", MINE, NAME)
    admit(bound, "sessiongate_getSession", {"account": MINE, "permissionId": NAME})
    other = "0x" + "11" * 32
    for params in ([MINE, other], [{"account": MINE, "permissionId": other}], [MINE], [{"account": MINE}]):
        with pytest.raises(NotLicensed):
            admit(bound, "sessiongate_getSession", *params)


def test_a_client_bound_to_sessions_sends_theirs_alone() -> None:
    bound = guest(permission_ids=frozenset({TWICE.permission_id}))
    for op in (GOOD, STUB):
        bound.admit_operation(op, V07, SESSION_MODULES)
    owners = replace(GOOD, nonce=0)
    unreadable = replace(GOOD, signature=b"\x07" + b"\x5e" * 64)
    anothers = replace(STUB, signature=b"\0" + b"\x33" * 32 + b"\xff" * 65)
    for op, problem in ((owners, "claims none"), (unreadable, "none can be read"), (anothers, "may not use session")):
        with pytest.raises(NotLicensed, match=problem):
            bound.admit_operation(op, V07, SESSION_MODULES)


def test_a_client_bound_to_sessions_sends_theirs_where_only_the_signature_names_them() -> None:
    bound = guest(permission_ids=frozenset({key_id(SESSION_KEY)}))
    op = an_operation(b"", nonce=nonce_at(PLAIN))
    bound.admit_operation(signed(op, MESSAGE_KEY), V07, MODULES)
    with pytest.raises(NotLicensed, match="may not use session"):
        bound.admit_operation(signed(op, MESSAGE_KEY, key=STRANGERS_KEY), V07, MODULES)
    stub = replace(op, signature=b"\xff" * 65)
    bound.admit_operation(stub, V07, MODULES, preview=True)
    with pytest.raises(NotLicensed, match="none can be read"):
        bound.admit_operation(stub, V07, MODULES)
