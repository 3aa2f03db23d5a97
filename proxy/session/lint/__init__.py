"""What a careful reviewer says of a session when it is granted: short of the least privilege, or not what was meant.

A review is a value: findings with severity, sentence and remedy, the gravest first. It never raises, whatever the
session holds. `KINDS` is the table of everything that is looked for. Unknown contracts are not counted on; what could
not be read is said (`not_judged`) and not held against the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from proxy.session.addresses import MODULE_KINDS, SMART_SESSION, ModuleKind, name_of_policy
from proxy.session.granted import is_granted
from proxy.session.lint.enabling import review_enabling, review_listing
from proxy.session.lint.findings import (
    DEFAULT_THRESHOLDS,
    GRANT_REVERTS,
    KINDS,
    LEADING,
    LEADING_OF_ALL,
    WHOLE_SESSION,
    Finding,
    Kind,
    Part,
    Severity,
    Thresholds,
    Where,
    finding,
)
from proxy.session.lint.grant import Grant
from proxy.session.lint.granted import review_grant, review_granted
from proxy.session.lint.limits import review_limits
from proxy.session.lint.reading import Addition, read_addition, read_session, read_state
from proxy.session.lint.scope import review_scope
from proxy.session.lint.signing import review_claims, review_salt, review_signing, review_validator
from proxy.session.lint.tokens import review_tokens
from proxy.session.lint.usable import review_usable
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED, Contracts
from proxy.userop.declared_acts import DeclaredGrant
from proxy.userop.emissary_abi import EMISSARY, EmissaryEnable
from proxy.userop.primitives import Address
from proxy.userop.session_data import EnableSession, PolicyData, SessionData
from proxy.userop.signature import SessionMode

__all__ = [
    "DEFAULT_THRESHOLDS",
    "GRANT_REVERTS",
    "KINDS",
    "NOT_READ",
    "Addition",
    "Finding",
    "Kind",
    "Part",
    "Severity",
    "Thresholds",
    "Where",
    "lint",
    "lint_addition",
    "lint_enable",
    "lint_grant",
    "lint_state",
]

NOT_READ: Final = finding(
    "not_judged",
    WHOLE_SESSION,
    "nothing but the permission id of this session is known here",
    "review the grant itself, or have the session read from the chain",
)


def lint(
    session: SessionData,
    *,
    now: int,
    account: Address | None = None,
    module: Address | None = None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    contracts: Contracts = PUBLISHED,
    claim_policies: tuple[PolicyData, ...] = (),
) -> tuple[Finding, ...]:
    """Review a session as it is granted, at unix time `now`.

    Without `account` a target cannot be told to be the account itself; without `module` the published one is assumed.
    `claim_policies` are those of a session of the emissary.
    """
    grant = read_session(session, account, module, contracts, claim_policies)
    found = [*review_listing(session), *_review(grant, now, thresholds)]
    if any(each.id in GRANT_REVERTS for each in found):
        # a session that never comes into being does not last for ever
        found = [each for each in found if each.id != "no_expiry"]
    return _sorted(found)


def lint_enable(
    enable: EnableSession | EmissaryEnable,
    mode: SessionMode,
    *,
    now: int,
    account: Address | None = None,
    module: Address | None = None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    contracts: Contracts = PUBLISHED,
) -> tuple[Finding, ...]:
    """Review the session that an enable signature (or `setConfig`) grants, and the signature's own doing."""
    module = module or (EMISSARY if isinstance(enable, EmissaryEnable) else SMART_SESSION)
    session = lint(
        enable.session,
        now=now,
        account=account,
        module=module,
        thresholds=thresholds,
        contracts=contracts,
        claim_policies=enable.claim_policies if isinstance(enable, EmissaryEnable) else (),
    )
    return _sorted([*_review_envelope(enable, mode, MODULE_KINDS.get(module)), *session])


def lint_state(
    state: SessionState,
    *,
    now: int,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    contracts: Contracts = PUBLISHED,
) -> tuple[Finding, ...]:
    """Review a session as the chain is known to store it; what is not known of it is told."""
    if is_granted(state):
        return _sorted(review_granted(state, now, thresholds))
    return _sorted([*_review(read_state(state, contracts), now, thresholds), *_unknown_of(state)])


def lint_grant(grant: DeclaredGrant, *, now: int, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> tuple[Finding, ...]:
    """Review what a declared module is told to grant."""
    return _sorted(review_grant(grant, now, thresholds))


def lint_addition(
    addition: Addition,
    *,
    now: int,
    account: Address | None = None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    contracts: Contracts = PUBLISHED,
) -> tuple[Finding, ...]:
    """Review what is added to a session of which nothing else is known."""
    return _sorted(_review(read_addition(addition, account, contracts), now, thresholds))


def _review(grant: Grant, now: int, thresholds: Thresholds) -> Iterator[Finding]:
    yield from review_enabling(grant)
    yield from review_usable(grant)
    yield from review_scope(grant, thresholds)
    yield from review_tokens(grant, thresholds)
    yield from review_limits(grant, now, thresholds)
    yield from review_validator(grant)
    yield from review_salt(grant)
    yield from review_signing(grant)
    yield from review_claims(grant)
    yield from _not_judged(grant)


def _review_envelope(
    enable: EnableSession | EmissaryEnable, mode: SessionMode, kind: ModuleKind | None
) -> Iterator[Finding]:
    where = Where(Part.ENVELOPE)
    if mode is SessionMode.UNSAFE_ENABLE:
        yield finding(
            "unsafe_enable",
            where,
            "UNSAFE_ENABLE: this module keeps no registry of attested policies; an older one would not be asked"
            if kind is ModuleKind.V2
            else "UNSAFE_ENABLE: a module that keeps a registry of attested policies does not ask it",
            "sign and send the session in ENABLE mode",
        )
    chains = len({digest.chain_id for digest in enable.digests})
    if chains > 1:
        yield finding(
            "multichain_enable",
            where,
            f"the owner's signature grants sessions on {chains} chains; the others are not in here",
            "review the session of each chain",
        )


def _not_judged(grant: Grant) -> Iterator[Finding]:
    for policy in grant.all_policies():
        if policy.contract is not None and policy.is_unread and policy.revert is None:
            yield _unread(policy.where, f"the configuration of {name_of_policy(policy.address)} is not known")
    for action in grant.actions:
        if action.target is None and not action.is_fallback and not action.is_module_call:
            yield _unread(action.where, "of this action only the id is known, not its target and function")
    if not grant.is_whole:
        yield _unread(Where(Part.USER_OP_POLICIES), "the policies that already bind every operation are not known")


def _unknown_of(state: SessionState) -> Iterator[Finding]:
    if state.session_validator is None:
        yield _unread(Where(Part.VALIDATOR), "the session validator is not known")
    if state.permits_paymaster is None:
        yield _unread(WHOLE_SESSION, "whether paymasters are permitted is not known")
    if state.erc1271_policies:
        yield _unread(Where(Part.CONTENTS), "which contents may be signed is not known")


def _unread(where: Where, sentence: str) -> Finding:
    return finding("not_judged", where, sentence, "have the session read from the chain, or review the grant itself")


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, and before those what makes the session useless; among equals in the order of the session."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda found: (not _leads(found), -found.severity.rank)))


def _leads(found: Finding) -> bool:
    return found.id in LEADING or (found.id in LEADING_OF_ALL and found.where == WHOLE_SESSION)
