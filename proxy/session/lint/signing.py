"""Who may sign for a session, and what the session may sign off chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from proxy.errors import Undecodable
from proxy.session.addresses import POLICIES, VALIDATOR_KINDS, ValidatorKind
from proxy.session.lint.findings import WHOLE_SESSION, Finding, Part, Where, finding
from proxy.session.lint.grant import Grant
from proxy.session.signers import fault_of_passkeys
from proxy.userop import abi
from proxy.userop.primitives import ZERO_ADDRESS, Address, print_checksummed
from proxy.userop.session_data import ERC7739Context

_OWNERS: Final = abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS))
_VALIDATOR: Final = Where(Part.VALIDATOR)
_TOKEN_CONTENTS: Final = ("permit", "transferwithauthorization", "receivewithauthorization", "order", "safetx")
"""How the names of contents start that let somebody else move tokens; compared in lower case."""


def review_validator(grant: Grant) -> Iterator[Finding]:
    """The session validator and the keys it takes."""
    validator = grant.session_validator
    if validator is None or validator == ZERO_ADDRESS or validator in POLICIES:
        return
    init_data = grant.session_validator_init_data
    match VALIDATOR_KINDS.get(validator):
        case ValidatorKind.OWNABLE:
            yield from _ownable(init_data)
        case ValidatorKind.ECDSA:
            yield from _ecdsa(init_data)
        case ValidatorKind.WEBAUTHN:
            if (fault := fault_of_passkeys(init_data)) is not None:
                yield _nobody_signs(fault)
        case ValidatorKind.WEBAUTHN_V0:
            if not init_data:
                yield _nobody_signs("it names no key")
        case ValidatorKind.MULTI_SIGNER:
            yield from _multi_signer(init_data)
        case _:
            yield finding(
                "unknown_validator",
                _VALIDATOR,
                f"the rules of session validator {print_checksummed(validator)} are not known here:"
                " it may take any signature",
                "review that contract, or use a published validator",
            )


def _ownable(init_data: bytes) -> Iterator[Finding]:
    try:
        threshold, owners = abi.decode(_OWNERS, init_data, "sessionValidatorInitData")
    except Undecodable:
        yield _nobody_signs("its init data are not abi.encode(uint256 threshold, address[] owners)")
        return
    if ZERO_ADDRESS in owners:
        yield _zero_owner()
    if (fault := _fault_of_owners(threshold, owners)) is not None:
        yield _nobody_signs(fault)
    elif threshold == 1 and len(owners) > 1:
        yield finding(
            "any_one_key_signs",
            _VALIDATOR,
            f"any one of {len(owners)} keys can use the session",
            "keep to one key, or raise the threshold",
        )


def _fault_of_owners(threshold: int, owners: Sequence[Address]) -> str | None:
    if not owners:
        return "it names no key"
    if threshold == 0:
        return "its threshold is 0"
    if threshold > len(owners):
        return f"its threshold is {threshold} and it names {len(owners)} keys"
    if any(owners[index] >= owners[index + 1] for index in range(len(owners) - 1)):
        return "its keys are not in ascending order without repetition"
    return None


def _ecdsa(init_data: bytes) -> Iterator[Finding]:
    if len(init_data) != 20:
        yield _nobody_signs("its init data are not the 20 bytes of one key's address")
    elif init_data == ZERO_ADDRESS:
        yield _zero_owner()


def _multi_signer(init_data: bytes) -> Iterator[Finding]:
    """A count in one byte, then the signers, who must all sign."""
    if not init_data:
        yield _nobody_signs("it names no key")
    elif init_data[0] == 0:
        yield finding(
            "anyone_signs",
            _VALIDATOR,
            "the session validator is configured with no signer, and is content with no signature",
            "name the session keys",
        )


def _nobody_signs(fault: str) -> Finding:
    return finding(
        "validator_never_signs",
        _VALIDATOR,
        f"no signature satisfies the session validator: {fault}",
        "encode the init data as this validator reads them",
    )


def _zero_owner() -> Finding:
    return finding(
        "anyone_signs",
        _VALIDATOR,
        "the zero address is among the session keys: it stands for every signature that recovers to nothing",
        "name the addresses of the session keys",
    )


def review_salt(grant: Grant) -> Iterator[Finding]:
    """A permission id commits to validator, key and salt, and grants under one id add up."""
    if grant.salt == bytes(32):
        yield finding(
            "shared_permission_id",
            WHOLE_SESSION,
            "the salt is zero: every session of this key without a salt has the same permission id, and what is"
            " granted to one adds to what stands already",
            "give each session a salt of its own, and revoke the old one first",
        )


def review_claims(grant: Grant) -> Iterator[Finding]:
    """What the emissary lets a key sign besides operations; the policies on it are not judged here."""
    if grant.claim_policies:
        count = len(grant.claim_policies)
        yield finding(
            "claim_policies",
            WHOLE_SESSION,
            f"the key may sign claims on locked tokens within {count} claim polic{'y' if count == 1 else 'ies'}:"
            " claims cross no bundler, and are not judged here",
            "leave claim policies out unless the session is to move tokens across chains",
        )


def review_signing(grant: Grant) -> Iterator[Finding]:
    """ERC-1271: contents and policies together decide what the key may sign off chain."""
    if not grant.erc1271_policies:
        if grant.contexts:
            yield finding(
                "contents_without_policies",
                Where(Part.CONTENTS),
                "contents to sign are listed, but no ERC-1271 policy: nothing can be signed",
                "add an ERC-1271 policy, or take the contents out",
            )
        return
    yield finding(
        "signs_off_chain",
        Where(Part.ERC1271_POLICIES),
        "the key may sign for the account off chain; no bundler sees such a signature, and no limit counts it",
        "leave ERC-1271 policies out unless the app needs such signatures",
    )
    for index, context in enumerate(grant.contexts or ()):
        yield from _context(context, Where(Part.CONTENTS, index))


def _context(context: ERC7739Context, where: Where) -> Iterator[Finding]:
    if context.app_domain_separator == bytes(32) or any(not name.strip() for name in context.content_names):
        yield finding(
            "signs_anything",
            where,
            "a domain separator of zero or an empty content name: releases that read it as a wildcard sign anything",
            "name the domain and the contents that the app lets the key sign",
        )
    tokens = [name for name in context.content_names if name.strip().lower().startswith(_TOKEN_CONTENTS)]
    if tokens:
        named = ", ".join(name.partition("(")[0].strip()[:40] for name in tokens)
        yield finding(
            "signs_permits",
            where,
            f"the key may sign {named!a}, by which others can take the account's tokens without an operation",
            "leave contents that approve or transfer tokens to the owner",
        )
