"""emissary.json: the newer sessions of the Rhinestone SDK, as its npm package encodes, grants and removes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.errors import Undecodable
from proxy.session.emissary_grant import emissary_multichain_digest, emissary_session_digest
from proxy.userop.acts import EmissaryConfigRemoved, EmissaryConfigSet
from proxy.userop.administration_sessions import session_module_acts
from proxy.userop.emissary import decode_envelope, without_emissary_prefix
from proxy.userop.emissary_abi import EmissaryConfig, EmissaryEnable
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import ChainDigest, SessionData
from proxy.userop.signature import SessionEnvelope, encode_session_envelope
from tests.vectors.fields import read_actions, read_erc7739, read_hex, read_int, read_policies
from tests.vectors.registry import Finding


def check_emissary(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        problem = _CHECKS[vector["kind"]](vector)
        yield vector["id"], problem is None, problem or ""


def _module(vector: Mapping[str, Any]) -> Address:
    return Address(read_hex(vector["module"]))


def _problem_of_envelope(vector: Mapping[str, Any]) -> str | None:
    packed, expected = read_hex(vector["packed"]), vector["expected"]
    try:
        envelope = decode_envelope(_module(vector), packed)
    except Undecodable as error:
        return f"refused: {error}"
    if decode_envelope(_module(vector), encode_session_envelope(envelope)) != envelope:
        return "encoding is not the inverse of decoding"
    if envelope.enable is None and encode_session_envelope(envelope) != packed:
        return "encoded otherwise than the SDK does"
    return _problem_of_content(envelope, expected) or _problem_of_digest(envelope, vector)


def _problem_of_content(envelope: SessionEnvelope, expected: Mapping[str, Any]) -> str | None:
    if (envelope.mode, envelope.permission_id) != (expected["mode"], read_hex(expected["permissionId"])):
        return "another mode or permission id"
    if envelope.signature != read_hex(expected["signature"]):
        return "another session signature"
    claim_policy_data = read_hex(expected["claimPolicyData"]) if "claimPolicyData" in expected else None
    if envelope.claim_policy_data != claim_policy_data:
        return "another form, or other claim policy data"
    if "enable" in expected and envelope.enable != read_emissary_enable(expected["enable"]):
        return "another grant"
    return None


def _problem_of_digest(envelope: SessionEnvelope, vector: Mapping[str, Any]) -> str | None:
    if (digest := vector.get("digest")) is None:
        return None
    grant = envelope.enable
    assert isinstance(grant, EmissaryEnable)
    of_session = emissary_session_digest(
        grant,
        account=Address(read_hex(digest["account"])),
        emissary=Address(read_hex(digest["emissary"])),
        nonce=read_int(digest["nonce"]),
    )
    signed = grant.digests[grant.chain_digest_index]
    if signed != ChainDigest(digest["chainId"], of_session):
        return "another session digest"
    if emissary_multichain_digest(grant.digests) != read_hex(digest["multichainDigest"]):
        return "another multichain digest"
    return None


def _problem_of_prefixed(vector: Mapping[str, Any]) -> str | None:
    prefixed = without_emissary_prefix(read_hex(vector["packed"]))
    if prefixed is None or prefixed[0] != _module(vector):
        return "the emissary in front is not seen"
    try:
        envelope = decode_envelope(*prefixed)
    except Undecodable as error:
        return f"refused: {error}"
    return _problem_of_content(envelope, vector["expected"])


def _problem_of_malformed(vector: Mapping[str, Any]) -> str | None:
    try:
        decode_envelope(_module(vector), read_hex(vector["packed"]))
    except Undecodable:
        return None
    return "read, though the emissary refuses it or could mean something else"


def _problem_of_set(vector: Mapping[str, Any]) -> str | None:
    account = Address(read_hex(vector["account"]))
    wanted = EmissaryConfigSet(_module(vector), account, read_emissary_enable(vector["expected"]["enable"]))
    acts = session_module_acts(Call(_module(vector), 0, read_hex(vector["data"])))
    if acts != (wanted,):
        return f"seen as {acts}"
    if wanted.permission_id != read_hex(vector["expected"]["permissionId"]):
        return "another permission id"
    return None


def _problem_of_removal(vector: Mapping[str, Any]) -> str | None:
    account, permission_id = (read_hex(vector["account"]), read_hex(vector["expected"]["permissionId"]))
    wanted = EmissaryConfigRemoved(_module(vector), Address(account), Hash32(permission_id))
    acts = session_module_acts(Call(_module(vector), 0, read_hex(vector["data"])))
    return None if acts == (wanted,) else f"seen as {acts}"


def read_emissary_enable(entry: Mapping[str, Any]) -> EmissaryEnable:
    """A grant as the SDK spells it."""
    config, session = entry["config"], entry["session"]
    return EmissaryEnable(
        config=EmissaryConfig(
            scope=config["scope"],
            reset_period=config["resetPeriod"],
            allocator=Address(read_hex(config["allocator"])),
            permission_id=Hash32(read_hex(config["permissionId"])),
        ),
        chain_digest_index=entry["chainDigestIndex"],
        digests=tuple(
            ChainDigest(each["chainId"], Hash32(read_hex(each["sessionDigest"]))) for each in entry["hashesAndChainIds"]
        ),
        session=SessionData(
            session_validator=Address(read_hex(session["sessionValidator"])),
            session_validator_init_data=read_hex(session["sessionValidatorInitData"]),
            salt=Hash32(read_hex(session["salt"])),
            erc7739_policies=read_erc7739(session["erc7739Policies"]),
            actions=read_actions(session["actions"]),
        ),
        claim_policies=read_policies(session["claimPolicies"]),
        expires=read_int(entry["expires"]),
        user_signature=read_hex(entry["userSig"]),
        allocator_signature=read_hex(entry["allocatorSig"]),
    )


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "use": _problem_of_envelope,
    "notarized": _problem_of_envelope,
    "enable": _problem_of_envelope,
    "prefixed": _problem_of_prefixed,
    "malformed": _problem_of_malformed,
    "setConfig": _problem_of_set,
    "removeConfig": _problem_of_removal,
}

CHECKERS = {"emissary/1": check_emissary}
