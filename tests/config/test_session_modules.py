"""A module of one's own is described in the settings, and whatever is wrong with that is told at once, at its line."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest

from proxy.config import Config, load_config
from proxy.config.session_modules import DeclaredModuleSettings
from proxy.errors import ConfigErrors
from proxy.session.addresses import SESSION_MODULES
from proxy.userop.declared_acts import DeclaredGrant
from proxy.userop.declared_module import key_id
from proxy.userop.execution import Call
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.meanings import ArgumentMeaning
from proxy.userop.primitives import Address
from proxy.userop.prototype import parse_prototype

OWN = "0x1111111111111111111111111111111111111111"
GOOD = f"""\
chains:
  a:
    chain_id: 1
    bundlers: [http://b]
    session_modules:
      - default
      - kind: declared
        address: {OWN}
        grants:
          - createSession(address sessionKey, address target, bytes4 selector, uint256 maxValue, uint48 validUntil)
          - event Created(address indexed account, address indexed sessionKey, address target, uint _)
        revokes:
          - revokeSession(address sessionKey)
          - revokeAll()
"""


def load(folder: Path, text: str) -> Config:
    path = folder / "sessiongate.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {})


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, text)
    return [f"{fault.line}: {fault.problem}; {fault.suggestion}" for fault in caught.value.faults]


def with_module(**lines: str) -> str:
    """The good settings with these keys of the module put in place of its own, or beside them."""
    head = GOOD[: GOOD.index("        grants:")]
    return head + "".join(f"        {key}: {value}\n" for key, value in lines.items())


def test_a_module_of_ones_own_stands_beside_the_published_ones(tmp_path: Path) -> None:
    chain = load(tmp_path, GOOD).chains["a"]
    own = Address(bytes.fromhex(OWN[2:]))
    assert chain.modules == SESSION_MODULES | {own}
    assert set(chain.module_addresses) == chain.modules
    (module,) = chain.modules.declared.values()
    assert (module.address, module.signer, module.envelope, module.adds) == (own, MESSAGE_KEY, None, False)
    assert (len(module.functions), len(module.events)) == (3, 1)
    assert chain.modules.chain_id == 1


def test_signatures_may_carry_the_name_of_the_session(tmp_path: Path) -> None:
    for written, name in (
        ("packed(address sessionKey, bytes signature)", ArgumentMeaning.SESSION_KEY),
        ("abi(bytes32 id, bytes signature)", ArgumentMeaning.ID),
        ("packed(bytes1 _, bytes signature)", ArgumentMeaning.SESSION_KEY),
    ):
        grant = f"f(address sessionKey, address target{', bytes32 id' if name is ArgumentMeaning.ID else ''})"
        config = load(tmp_path, with_module(signature=written, key_signs="hash", grants=f"['{grant}']"))
        (module,) = config.chains["a"].modules.declared.values()
        assert (module.named_by, module.signer) == (name, PLAIN_KEY)


def test_what_uses_up_a_limit_is_what_the_settings_say(tmp_path: Path) -> None:
    for written, operations in ((None, False), ("calls", False), ("operations", True)):
        lines = {} if written is None else {"counts": written}
        lines["grants"] = "['f(address sessionKey, address target, uint32 maxUses)']"
        (module,) = load(tmp_path, with_module(**lines)).chains["a"].modules.declared.values()
        assert module.counts_operations is operations
        data = parse_prototype("f(address sessionKey, address target, uint32 maxUses)").selector
        call = Call(module.address, 0, data + bytes(95) + b"\x05")
        (grant,) = module.news_of_call(call, Address(b"\x11" * 20))
        assert isinstance(grant, DeclaredGrant)
        assert [(each.terms.max_uses, each.terms.per_operation) for each in grant.calls] == [(5, operations)]


def test_the_declaration_in_the_example_file_is_good(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "sessiongate.example.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("    # session_modules:"))
    shown = [line.replace("# ", "", 1) for line in takewhile(lambda line: line.startswith("    #"), lines[first:])]
    head = GOOD[: GOOD.index("    session_modules:")]
    chain = load(tmp_path, head + "\n".join(shown) + "\n").chains["a"]
    (module,) = chain.modules.declared.values()
    assert (len(module.functions), len(module.events), module.from_block) == (2, 2, 4711)
    settings = DeclaredModuleSettings.model_validate({"kind": "declared", "address": OWN})
    (entry,) = [each for each in chain.session_modules if isinstance(each, DeclaredModuleSettings)]
    for name in set(DeclaredModuleSettings.model_fields) - {"address", "grants", "revokes", "from_block"}:
        assert getattr(entry, name) == getattr(settings, name), name


def test_the_same_declaration_read_again_is_no_change(tmp_path: Path) -> None:
    first, again = (load(tmp_path, text).chains["a"].session_modules for text in (GOOD, GOOD))
    assert first == again
    other = load(tmp_path, GOOD.replace("uint48 validUntil", "uint64 validUntil")).chains["a"].session_modules
    assert first != other


EVERYTHING = f"""\
chains:
  a:
    chain_id: 1
    bundlers: [http://b]
    session_modules:
      - kind: declared
        address: 0x12
        signature: naked
        grants:
          - createSession(address sessionKey, address targt)
          - createSession(address sessionKey, address sessionKey, uint target)
          - createSession(address sessionKey)
          - event Created(address sessionKey, address target)
          - createSession(Session s)
          - createSession(address, address target, address sessionKey)
        revokes:
          - revokeSession(address _)
          - revokeSession(address sessionKey, uint maxValue)
          - event Revoked(string indexed sessionKey, address account)
        regrant: merge
        counts: bundles
        unlimited_at_zero: [validAfter]
        from_blok: 1
      - kind: declard
        address: {OWN}
"""


def test_every_fault_of_a_declaration_is_told_at_once_with_its_line_and_a_cure(tmp_path: Path) -> None:
    found = faults(tmp_path, EVERYTHING)
    wanted = [
        (7, "address", "'0x12' is not an address", "wanted 40"),
        (8, "signature", "'naked': it is no function", "write it up to"),
        (10, "grants[0]", "targt means nothing here", 'did you mean "target"?'),
        (11, "grants[1]", "sessionKey is named twice; target is uint256, and must be an address", "account"),
        (12, "grants[2]", "does not tell target", "createSession(address sessionKey"),
        (13, "grants[3]", "does not tell account", "event Granted(address indexed account"),
        (14, "grants[4]", "begins with no type of the ABI", "write structs out as tuples"),
        (15, "grants[5]", "a parameter address is not named by what it means", "or _ :"),
        (17, "revokes[0]", "does not tell which session ends", "sessionKey or id"),
        (18, "revokes[1]", "maxValue means nothing here", ""),
        (19, "revokes[2]", "sessionKey is string, and must be an address", ""),
        (20, "regrant", "'merge' is not one of replace, add", ""),
        (21, "counts", "'bundles' is not one of calls, operations", ""),
        (22, "unlimited_at_zero[0]", "'validAfter' is not one of selector", ""),
        (23, "from_blok", "unknown key", 'did you mean "from_block"?'),
        (24, "kind", "'declard' is not one of declared", 'did you mean "declared"?'),
    ]
    assert len(found) == len(wanted)
    for fault, (line, where, problem, cure) in zip(found, wanted, strict=True):
        assert fault.startswith(f"{line}: ")
        for part in (where, problem, cure):
            assert part in fault


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ({"signature": "packed(bytes signature, bytes sessionKey)"}, "sessionKey is bytes"),
        ({"signature": "packed(string _, bytes signature)"}, "have a fixed size"),
        ({"signature": "wrapped(bytes signature)"}, "no form of a signature"),
        ({"signature": "abi(bytes32 id)"}, "does not tell signature"),
        ({"signature": "abi((bytes32 id, bytes signature)[] s)"}, "no form of a signature"),
        ({"grants": "['f((address sessionKey, (address target)[] c)[] s)']"}, "one list is read"),
        ({"grants": "['f((address target)[] c, (bytes4 selector)[] s, address sessionKey)']"}, "one list is read"),
        ({"grants": "['f(address[] sessionKey, address target)']"}, "sessionKey is address[]"),
        ({"grants": "['f(address sessionKey, address target, bytes32 id)']"}, "no signature carries one"),
        (
            {"signature": "abi(bytes32 id, bytes signature)", "grants": "['f(address sessionKey, address target)']"},
            "does not tell id",
        ),
        (
            {"grants": "['f(address sessionKey, address target)']", "revokes": "['f(address sessionKey, address _)']"},
            "once more",
        ),
        ({"grants": "7"}, "wanted a list"),
        ({"grants": "[7]"}, "no function and no event"),
        ({"grants": "[[]]"}, "wanted a function or an event"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, lines: dict[str, str], problem: str) -> None:
    (found,) = faults(tmp_path, with_module(**lines))
    assert problem in found


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (f"[{OWN}, {{kind: declared, address: {OWN}}}]", "is in session_modules[0] already"),
        ("[{kind: declared, address: 0x00000000008bDABA73cD9815d79069c247Eb4bDA}]", "is a published session module"),
        ("[default, 0x00000000008bDABA73cD9815d79069c247Eb4bDA]", "is in session_modules[0] already"),
        ("[]", "too short"),
    ],
)
def test_a_module_stands_once(tmp_path: Path, entries: str, problem: str) -> None:
    text = GOOD[: GOOD.index("    session_modules:")] + f"    session_modules: {entries}\n"
    (found,) = faults(tmp_path, text)
    assert problem in found


SESSION = f"""\
sessions:
  - account: 0x2222222222222222222222222222222222222222
    chain: a
    sessionKey: 0x3333333333333333333333333333333333333333
    module: {OWN}
    actions: [{{target: {OWN}}}]
"""


def test_a_session_of_the_settings_is_named_by_its_key_where_its_module_says_so(tmp_path: Path) -> None:
    (session,) = load(tmp_path, GOOD + SESSION).declared_sessions()
    assert session.permission_id == key_id(Address(b"\x33" * 20))
    assert session.validator == MESSAGE_KEY


def test_elsewhere_a_session_of_the_settings_needs_its_name(tmp_path: Path) -> None:
    (found,) = faults(
        tmp_path, GOOD + SESSION.replace(f"module: {OWN}", "maxValue: 0").replace("    maxValue: 0\n", "")
    )
    assert "needs permissionId" in found
    named = SESSION.replace("    chain: a", f"    permissionId: 0x{'12' * 32}\n    chain: a")
    (found,) = faults(tmp_path, GOOD + named)
    assert "named by its key" in found
