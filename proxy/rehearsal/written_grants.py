"""The grants of a step: sessions that the operation's signature or its calls bring, read back as the gate reads them.

What a rule sees of a grant is what the gate's own review finds in the bytes that an SDK would send for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.document import Location
from proxy.errors import Undecodable
from proxy.judge.facts import GrantFacts
from proxy.judge.reading import grants_in
from proxy.rehearsal.written_acts import Scene, call_that_grants, enabled_at_the_emissary
from proxy.rehearsal.written_fields import Fields, one_of, read_duration
from proxy.rehearsal.written_sessions import SESSIONS_WITH, Ground, session_granted
from proxy.session.lint.findings import KINDS
from proxy.userop.administration import acts_of
from proxy.userop.decode import SessionClaim
from proxy.userop.emissary import decode_envelope
from proxy.userop.emissary_abi import EMISSARIES, EmissaryEnable
from proxy.userop.execution import Call
from proxy.userop.nonce import NonceLayout
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import ChainDigest, EnableSession, PolicyData, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope

GRANT_KEYS: Final = ("session", "module", "how", "findings", "valid_for", "targets", "policies")
"""Every key of a grant."""
MODES: Final = tuple(mode.label for mode in SessionMode)
"""What `mode` may say; a grant comes by one of them that enables, or by a call."""
_CALL: Final = "call"
_ENABLING: Final = {mode.label: mode for mode in SessionMode if mode is not SessionMode.USE}
_SIGNATURE: Final = bytes(65)
_AROUND: Final = {
    "unsafe_enable": "write how: unsafe_enable",
    "multichain_enable": "write how: enable, for a call grants on one chain",
    "claim_policies": "name the emissary as the module and write how: enable, for others have no claim policies",
    "not_judged": "write acts: [action_policies_enabled], for a whole session is judged",
}
"""Findings about what stands around a session, and how to write a grant that has them."""


@dataclass(slots=True)
class GrantsOfStep:
    """The grants that a step writes: the claim that its signature makes where it brings one, and calls that grant.

    `promised` are the facts of each grant by itself, with the place at which it is written.
    """

    mode: str
    claim: SessionClaim | None = None
    calls: list[Call] = field(default_factory=list)
    promised: list[tuple[Location, GrantFacts]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """One grant as it is written."""

    fields: Fields
    how: str
    module: Address
    session: SessionData
    until: int | None
    findings: tuple[str, ...]


def modules_of_grants(fields: Fields) -> list[Address]:
    """The session modules that grants name."""
    desk = fields.desk
    return [
        desk.read((*at, "module"), item["module"], desk.address, Address(bytes(20)))
        for at, item in fields.items("grants")
        if isinstance(item, dict) and item.get("module") is not None
    ]


def read_grants(fields: Fields, scene: Scene, *, session: bool) -> GrantsOfStep:
    """The grants of a step, `session` being whether it is signed by a session key; what cannot be brought so is a
    fault of the case."""
    desk = fields.desk
    said = fields.get("mode", one_of(MODES), None)
    if said is not None and not session:
        desk.fault((*fields.at, "mode"), "an operation of the owner has no mode", "remove it, or name a session")
    by_default = _CALL if not session or said == SessionMode.USE.label else said or SessionMode.ENABLE.label
    written = [
        _written(desk.fields(at, item, GRANT_KEYS), fields, scene, by_default) for at, item in fields.items("grants")
    ]
    brought = [each for each in written if each.how in _ENABLING]
    found = GrantsOfStep(said or (brought[0].how if brought and session else SessionMode.USE.label))
    for number, each in enumerate(brought):
        if not session:
            each.fields.fault("an operation of the owner brings no grant in its signature", "write how: call")
        elif number:
            each.fields.fault("a signature brings one grant", "write how: call")
        elif each.how != found.mode:
            problem = f"the signature of an operation of mode {found.mode} brings no grant by {each.how}"
            each.fields.fault(problem, f"write mode: {each.how}, or how: call")
        elif each.module != scene.module:
            cure = "write module beside mode, or how: call"
            each.fields.fault("a signature grants sessions of the module that it is for", cure)
    if session and (mode := _ENABLING.get(found.mode)) is not None:
        # an operation of such a mode always brings a grant
        own = brought[0] if brought else _written(Fields(desk, fields.at, {}), fields, scene, found.mode)
        if (claim := _claim(own, scene, mode)) is not None:
            found.claim = claim
            _note(found, own, grants_in((), claim, scene.account, scene.now))
    for each in written:
        if each.how == _CALL:
            call = call_that_grants(each.session, each.module, scene)
            found.calls.append(call)
            acts = acts_of([call], scene.account, scene.modules)
            _note(found, each, grants_in(acts, None, scene.account, scene.now))
    return found


def _written(fields: Fields, step: Fields, scene: Scene, by_default: str) -> _Written:
    desk = fields.desk
    how = fields.get("how", one_of((*_ENABLING, _CALL)), by_default)
    findings = tuple(desk.read(each, name, one_of(tuple(KINDS)), "") for each, name in fields.items("findings"))
    valid_for = fields.get("valid_for", read_duration, None)
    module = fields.get("module", desk.address, scene.module)
    until = None if valid_for is None else scene.now + valid_for
    targets = _addresses(fields, "targets")
    ground = Ground(account=scene.account, module=module, now=scene.now, until=until, targets=targets)
    name = fields.get("session", desk.session_name, None)
    if name is None:
        # a signature is of the session that it grants
        name = step.get("session", desk.session_name, "session") if how in _ENABLING else "granted"
    session = session_granted(
        name,
        [each for each in findings if each in SESSIONS_WITH],
        ground,
        _addresses(fields, "policies"),
    )
    return _Written(fields=fields, how=how, module=module, session=session, until=until, findings=findings)


def _addresses(fields: Fields, key: str) -> tuple[Address, ...]:
    desk = fields.desk
    return tuple(desk.read(at, item, desk.address, Address(bytes(20))) for at, item in fields.items(key))


def _claim(written: _Written, scene: Scene, mode: SessionMode) -> SessionClaim | None:
    """What the signature claims, as the module reads it; `None`, and a fault, where it does not take it."""
    chains = (scene.chain_id, *((scene.chain_id ^ 1,) if "multichain_enable" in written.findings else ()))
    digests = tuple(ChainDigest(chain, Hash32(bytes(32))) for chain in chains)
    enable: EnableSession | EmissaryEnable
    if scene.module in EMISSARIES:
        policy = PolicyData(Address(written.session.permission_id[:20]), b"")
        claims = (policy,) if "claim_policies" in written.findings else ()
        enable = enabled_at_the_emissary(written.session, claims, digests)
    else:
        enable = EnableSession(
            chain_digest_index=0, digests=digests, session=written.session, permission_enable_signature=_SIGNATURE
        )
    permission_id = written.session.permission_id
    envelope = SessionEnvelope(mode=mode, permission_id=permission_id, signature=_SIGNATURE, enable=enable)
    try:
        read = decode_envelope(scene.module, encode_session_envelope(envelope))
    except Undecodable as problem:
        written.fields.fault(f"the gate reads no grant in this signature: {problem}", "write how: call")
        return None
    return SessionClaim(module=scene.module, layout=NonceLayout.VALIDATOR_FIRST, envelope=read)


def _note(found: GrantsOfStep, written: _Written, read: tuple[GrantFacts, ...]) -> None:
    """Hold what is read of a grant against what is written of it."""
    if not read:
        written.fields.fault("the gate reads no grant in this call", "write fewer targets or policies")
        return
    (facts,) = read
    found.promised.append((written.fields.at, facts))
    if missing := [each for each in written.findings if each and each not in facts.findings]:
        seen = ", ".join(facts.findings) or "nothing"
        cure = _AROUND.get(missing[0], "leave it out, or write it in a grant of its own")
        written.fields.fault(f"no grant was made in which the gate finds {missing[0]}: it finds {seen}", cure)
    if written.until is not None and facts.valid_until != written.until:
        written.fields.fault("this grant does not end after valid_for", "leave out the finding that says when it ends")
