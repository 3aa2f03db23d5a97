"""A settings file is read whole, and every fault in it is told at once, at its line, with a cure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Config, LedgerPlace, load_config
from proxy.config.loading import rule_patterns
from proxy.edge.rule_files.watch import matches
from proxy.errors import ConfigErrors
from proxy.session.addresses import SESSION_MODULES
from proxy.session.declared import DeclaredAction
from proxy.userop.primitives import Address
from proxy.userop.session_data import VALUE_SELECTOR

FILES = Path(__file__).parent / "files"
EXAMPLE = Path(__file__).parents[2] / "sessiongate.example.yaml"
SECRETS = {"BUNDLER_KEY": "hush-bundler", "DAPP_KEY": "hush-dapp"}


def faults_of(path: Path | str, environ: Mapping[str, str] = {}) -> list[str]:  # never changed
    """Every fault as `line: text`."""
    with pytest.raises(ConfigErrors) as caught:
        load_config(FILES / path, environ)
    return [f"{fault.line}: {fault.problem}; {fault.suggestion}" for fault in caught.value.faults]


def load(path: Path | str, environ: Mapping[str, str] = SECRETS) -> Config:
    return load_config(FILES / path, environ)


def write(folder: Path, text: str) -> Path:
    path = folder / "sessiongate.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reports_an_unknown_key_a_bad_address_a_missing_variable_and_a_bad_url_all_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_config(FILES / "four_faults_at_once.yaml", {})
    path = FILES / "four_faults_at_once.yaml"
    assert str(caught.value).splitlines() == [
        f"{path}:3: unknown key 'previevs'; did you mean \"previews\"?",
        f"{path}:7: chains.soneium.bundlers[0]: the URL's scheme is 'htps', not http, https, ws or wss; "
        'did you mean "https"?',
        f"{path}:8: the variable NODE_KEY is not set; "
        "export NODE_KEY=… first, or refer to a file: ${file:/run/secrets/node_key}",
        f"{path}:9: chains.soneium.session_modules[0]: '0x8bDABA73cD9815d79069c247Eb4bDA' is not an address; "
        "it has 30 digits after 0x, wanted 40",
    ]


def test_takes_an_unquoted_address_as_an_address_and_never_as_a_number() -> None:
    config = load("good.yaml")
    module = Address(bytes.fromhex("00000000008bdaba73cd9815d79069c247eb4bda"))
    assert config.chains["soneium"].session_modules == (module,)


def test_an_address_of_decimal_digits_only_stays_an_address() -> None:
    session = load("good.yaml").sessions[0]
    assert session.account == Address(b"\x11" * 20)


def test_the_commented_example_loads_and_shows_every_setting(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-dapp-key\n", encoding="utf-8")
    text = EXAMPLE.read_text(encoding="utf-8").replace("/run/secrets/trading_dapp_key", str(key))
    config = load_config(write(tmp_path, text), SECRETS)
    assert config.clients[0].api_key is not None
    assert config.clients[0].api_key.get_secret_value() == "a-dapp-key"
    missing = [
        name
        for model in (Config, *(field.annotation for field in Config.model_fields.values()))
        for name in getattr(model, "model_fields", ())
        if f"{name}:" not in text
    ]
    assert missing == []


def test_what_the_example_calls_a_default_is_the_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("${file:/run/secrets/trading_dapp_key}", "a-dapp-key")
    shown = load_config(write(tmp_path, text), SECRETS)
    bare = load_config(write(tmp_path, "chains: {soneium: {chain_id: 1868, bundlers: [https://bundler.example]}}"), {})
    for name in ("listen", "admin_listen", "mode", "previews", "limits", "audit", "rules"):
        assert getattr(shown, name) == getattr(bare, name), name
    for name in set(type(bare.chains["soneium"]).model_fields) - {"bundlers", "node"}:
        assert getattr(shown.chains["soneium"], name) == getattr(bare.chains["soneium"], name), name


def test_the_default_modules_are_every_published_one(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, "chains: {a: {chain_id: 1, bundlers: [http://b], session_modules: default}}"), {}
    )
    assert set(config.chains["a"].session_modules) == SESSION_MODULES


def test_a_declared_session_becomes_what_is_judged() -> None:
    (session,) = load("good.yaml").declared_sessions()
    assert session.chain_id == 1868
    assert session.actions == (
        DeclaredAction(target=Address(b"\x22" * 20), selector=bytes.fromhex("a9059cbb"), max_uses=3),  # type: ignore[arg-type]  # a selector is four bytes
        DeclaredAction(target=Address(b"\x33" * 20), selector=VALUE_SELECTOR, max_value=1000 * 10**18),
    )


def test_a_declared_session_may_be_written_in_snake_case(tmp_path: Path) -> None:
    text = (FILES / "good.yaml").read_text(encoding="utf-8")
    for camel, snake in (("permissionId", "permission_id"), ("sessionKey", "session_key"), ("maxUses", "max_uses")):
        text = text.replace(camel, snake)
    assert load_config(write(tmp_path, text), SECRETS).sessions == load("good.yaml").sessions


def test_a_relative_ledger_starts_at_the_folder_of_the_file(tmp_path: Path) -> None:
    chains = "chains: {a: {chain_id: 1, bundlers: [http://b]}}"
    config = load_config(write(tmp_path, f"ledger: sqlite:kept/ledger.db\n{chains}"), {})
    assert config.ledger == LedgerPlace(tmp_path / "kept/ledger.db")
    config = load_config(write(tmp_path, f"ledger: sqlite:///var/lib/ledger.db\n{chains}"), {})
    assert config.ledger == LedgerPlace(Path("/var/lib/ledger.db"))


def test_a_misspelled_required_key_is_reported_once_with_the_right_name() -> None:
    assert faults_of("misspelled_key.yaml") == [
        "4: unknown key 'bundelrs' in chains.soneium; did you mean \"bundlers\"?"
    ]


def test_a_key_in_the_wrong_place_is_told_where_it_belongs() -> None:
    assert faults_of("key_in_the_wrong_place.yaml") == [
        '1: unknown key \'node\'; did you mean "mode"? Otherwise "node" belongs under chains.<name>'
    ]


def test_a_key_written_twice_is_a_fault_and_not_the_last_one_wins() -> None:
    assert faults_of("duplicate_key.yaml") == ['4: "mode" is written twice, first on line 1; keep one of the two']


def test_what_is_no_yaml_is_reported_at_its_line() -> None:
    (fault,) = faults_of("not_yaml.yaml")
    assert fault.startswith("3: not YAML: while parsing a flow sequence")


def test_a_tag_makes_nothing_and_is_a_fault() -> None:
    assert "1: the tag 'tag:yaml.org,2002:python/name:os.system' means nothing here; remove it" in faults_of("tag.yaml")


def test_an_alias_of_itself_is_a_fault_and_no_endless_loop() -> None:
    assert any("an alias that contains itself" in fault for fault in faults_of("alias_of_itself.yaml"))


def test_two_documents_in_one_file_are_a_fault() -> None:
    (fault,) = faults_of("two_documents.yaml")
    assert fault.startswith("3: ")
    assert fault.endswith("remove the --- in the middle")


def test_an_empty_file_needs_chains() -> None:
    assert faults_of("empty.yaml") == ["1: the file needs chains; add chains: {soneium: {chain_id: 1868, …}}"]


def test_a_file_that_is_not_there_is_a_fault() -> None:
    assert faults_of("absent.yaml") == [
        "1: cannot be read: No such file or directory; check the path and who may read it"
    ]


def test_values_of_the_wrong_kind_are_told_what_was_wanted() -> None:
    assert faults_of("wrong_kinds.yaml") == [
        "1: mode: a list is not one of off, shadow, alert, enforce; None",
        "2: limits: wanted a mapping of keys, got '5'; write key: value, indented below",
        "5: chains.soneium.chain_id: wanted a whole number, got 'eighteen'; None",
        "6: chains.soneium.bundlers: wanted a list, got 'https://bundler.example'; "
        "write it as a list: [https://bundler.example]",
        "7: chains.soneium.entry_points[1]: 'v1.0' is no entry point this gate can read; "
        "known are v0.6, v0.7, v0.8, v0.9",
        "8: chains.soneium.session_modules: 'all' is no list of modules; write default, or a list: [0x…]",
        "9: chains.soneium.allow_methods[0]: 'eth_sendRawTransaction' cannot be allowed: "
        'it can submit or sign without a verdict and is never served; did you mean "eth_sendUserOperation"?',
        "10: chains.soneium.poll_seconds: '0' is out of bounds; it must be at least 0.05",
        "11: clients[0].name: 'a b' is not allowed here; letters, digits, dot, - and _, at most 64",
    ]


def test_settings_that_contradict_one_another_are_faults() -> None:
    faults = faults_of("contradictions.yaml")
    assert [fault.partition(";")[0] for fault in faults] == [
        "2: admin_listen 0.0.0.0:9090 is reachable from other machines without a token",
        "7: unknown_policy: ask has nobody to ask, chain one has no node",
        "8: nonce_gap has nobody to ask, chain one has no node",
        "10: chains one and two have the same chain_id 1868",
        '14: there is no chain "three"',
        '14: two clients are called "dapp"',
        '14: clients "dapp" and "dapp" have the same api_key',
        '15: client "nobody" cannot be recognised',
        "21: sessions[0].validator is none that checks one ECDSA signature",
        "23: sessions[0].actions[0] ends before it begins",
        "24: sessions[0].actions[1] repeats target and selector of actions[0]",
    ]


def test_a_client_is_held_against_what_there_is(tmp_path: Path) -> None:
    digest = sha256(b"a-long-random-key").hexdigest()
    text = "\n".join(
        [
            "chains: {one: {chain_id: 1, bundlers: [http://b], allow_methods: [eth_getLogs]}}",
            "clients:",
            "  - {name: a, api_key: a-long-random-key, methods: [eth_getLogs, eth_sendUserOperatio]}",
            f"  - {{name: b, api_key: 'sha256:{digest}'}}",
            f"  - {{name: c, api_keys: ['sha256:{digest[:-1]}']}}",
            "  - {name: d, api_keys: [another-long-key, another-long-key]}",
            "  - {name: e, api_keys: [one-more-long-key], networks: [10.0.0.1/8], rates: {operation: 3}}",
            "cors: {headers: [X-Own, traceparent]}",
        ]
    )
    assert [fault.partition(";")[0] for fault in faults_of(write(tmp_path, text))] == [
        "7: clients[4].networks[0]: '10.0.0.1/8' is an address inside a network",
        "7: unknown key 'operation' in clients[4].rates",
        "8: cors.headers[0]: 'X-Own' cannot name a header",
    ]
    mended = text.replace("10.0.0.1/8", "10.0.0.0/8").replace("operation: 3", "operations: 3").replace("X-Own, ", "")
    assert [fault.partition(";")[0] for fault in faults_of(write(tmp_path, mended))] == [
        "3: no chain serves eth_sendUserOperatio",
        '4: clients "a" and "b" have the same api_key',
        '5: client "c" has a hash of a key that is none',
        '6: client "d" has the same key twice',
    ]
    assert "long" not in " ".join(faults_of(write(tmp_path, mended)))


def test_a_client_may_be_bound_to_reads_of_the_node_where_one_of_its_chains_serves_them(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "chains:",
            "  one: {chain_id: 1, bundlers: [http://b], node: http://n, node_reads: true, allow_methods: [eth_x]}",
            "  two: {chain_id: 2, bundlers: [http://b], node: http://n}",
            "clients:",
            "  - {name: a, api_key: a-long-random-key, methods: [eth_call, eth_x]}",
            "  - {name: b, api_key: b-long-random-key, chains: [one], methods: [eth_call, zd_sponsorUserOperation]}",
            "  - {name: c, api_key: c-long-random-key, chains: [two], methods: [eth_call, eth_x]}",
        ]
    )
    assert [fault.removesuffix("; None") for fault in faults_of(write(tmp_path, text))] == [
        "7: no chain serves eth_call; set node_reads: true for its chain",
        "7: no chain serves eth_x",
    ]


def test_a_reference_to_a_chain_is_checked_although_other_things_are_faulty(tmp_path: Path) -> None:
    text = "mod: off\nchains: {soneium: {chain_id: 1, bundlers: [http://b]}}\nclients: [{name: a, chains: [sonieum]}]"
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, text), {})
    assert [fault.line for fault in caught.value.faults] == [1, 3]


def test_no_secret_is_in_the_repr_of_the_configuration() -> None:
    shown = repr(load("good.yaml"))
    assert "hush" not in shown
    assert "0123456789abcdef" not in shown
    assert "https://bundler.example/v2/…/rpc" in shown


def test_no_fault_shows_a_secret(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "admin_token: hush",
            "chains:",
            "  a:",
            "    chain_id: ${SECRET}",
            "    bundlers: ['htps://user:hush@host/hush?k=hush', 'https://ho st/hush', 'https://h:hush/']",
            "clients: [{name: a, api_key: hush}, {name: b, api_key: [hush]}]",
        ]
    )
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, text), {"SECRET": "hush-hush"})
    assert len(caught.value.faults) == 7
    assert "hush" not in str(caught.value)


def test_a_secret_put_where_something_else_belongs_is_not_shown(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "listen: ${SECRET}",
            "ledger: ${SECRET}",
            "chains:",
            "  a:",
            "    chain_id: 1",
            "    bundlers: ['${SECRET}']",
            "    session_modules: ['${SECRET}']",
            "    entry_points: ['${SECRET}']",
            "    allow_methods: ['${SECRET}']",
            "cors: {origins: ['https://${SECRET}/']}",
        ]
    )
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, text), {"SECRET": "0Xhush-hush-hush"})
    assert len(caught.value.faults) == 7
    assert "hush" not in str(caught.value)
    assert "listen: what '${SECRET}' stands for is refused; check what it is set to" in str(caught.value)


def test_an_error_of_the_library_cannot_reach_the_caller_for_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"

    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        with pytest.raises(ConfigErrors) as caught:
            load_config(path, {})
        assert all(fault.line >= 1 for fault in caught.value.faults)

    check()


_KEYS = sorted(
    {"chains", "a", "mode", "listen", "limits", "clients", "sessions", "actions", "bundlers", "node", "chain_id"}
    | {"target", "selector", "maxValue", "validAfter", "account", "ledger", "cors", "origins", "max_batch", "x"}
)
_SCALARS = st.one_of(
    st.none(),
    st.text(alphabet="0x8aF:/.-${}()[]*, \n'\"#", max_size=12),
    st.sampled_from(["0x" + "11" * 20, "default", "enforce", "${X}", "v0.7", "a", "1", "https://a", "127.0.0.1:1"]),
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=12,
)


def test_any_tree_of_settings_is_a_configuration_or_a_list_of_faults(tmp_path: Path) -> None:
    import json

    path = tmp_path / "any.yaml"

    @given(st.dictionaries(st.sampled_from(_KEYS), _TREES, max_size=6))
    def check(tree: dict[str, object]) -> None:
        # JSON is YAML: every text in it is quoted
        path.write_text(json.dumps(tree), encoding="utf-8")
        faults: tuple[object, ...] = ()
        config = None
        try:
            config = load_config(path, {})
        except ConfigErrors as errors:
            faults = errors.faults
        assert (config is None) is bool(faults)

    check()


def test_rule_files_start_at_the_folder_of_the_settings_and_stay_where_they_are_absolute(tmp_path: Path) -> None:
    folder = tmp_path / "with [brackets]"
    folder.mkdir()
    text = (FILES / "good.yaml").read_text(encoding="utf-8") + "\nrules: [rules/*.yaml, /etc/rules/own.yaml]\n"
    (folder / "rules").mkdir()
    (folder / "rules" / "a.yaml").write_text("rules: []\n")
    config = load_config(write(folder, text), SECRETS)
    assert matches(config.rules[0]) == [str(folder / "rules" / "a.yaml")]
    assert config.rules[1] == "/etc/rules/own.yaml"


def test_the_places_of_rule_files_are_told_although_other_settings_are_faulty(tmp_path: Path) -> None:
    path = write(tmp_path, "mod: off\nrules:\n  - rules/*.yaml\n  - {a: b}\n  - own.yaml\n")
    found = rule_patterns(path, {})
    assert [(each.pattern, each.place.line) for each in found] == [
        (str(tmp_path / "rules/*.yaml"), 3),
        (str(tmp_path / "own.yaml"), 5),
    ]
    assert rule_patterns(tmp_path / "absent.yaml", {}) == ()


def test_an_empty_text_names_no_rule_file(tmp_path: Path) -> None:
    text = (FILES / "good.yaml").read_text(encoding="utf-8") + "\nrules: [' ']\n"
    with pytest.raises(ConfigErrors, match=r"rules\[0\]: an empty text names no rule file"):
        load_config(write(tmp_path, text), SECRETS)


# without secrets

UNSET = """
admin_listen: 0.0.0.0:9090
admin_token: ${ADMIN_TOKEN}
chains:
  soneium:
    chain_id: 1868
    bundlers: ["${BUNDLER_URL}", "https://bundler.example/rpc?apikey=${BUNDLER_KEY}"]
    node: ${NODE_URL}
  other:
    chain_id: 1
    bundlers: ["https://${HOST}/rpc"]
    node: ["${NODE_URL}", "wss://node.example/${NODE_KEY}"]
clients:
  - {name: one, api_key: "${ONE_KEY}"}
  - {name: two, api_key: "${file:/nowhere/two}"}
audit: {key: "${AUDIT_KEY}"}
"""


def test_who_needs_no_secrets_reads_the_settings_without_any_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, UNSET)
    with pytest.raises(ConfigErrors):
        load_config(path, {})
    config = load_config(path, {}, secrets=False)
    assert list(config.chains) == ["soneium", "other"]
    assert config.ledger.path == tmp_path / "sessiongate.db"


def test_secrets_that_are_there_are_read_all_the_same(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, UNSET), {"ADMIN_TOKEN": "hush-sixteen-letters"}, secrets=False)
    assert config.admin_token is not None
    assert config.admin_token.get_secret_value() == "hush-sixteen-letters"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mode: ${MODE}", "the variable MODE is not set"),
        ("ledger: ${LEDGER}", "the variable LEDGER is not set"),
        ("admin_token: ${NOT A NAME}", "${NOT A NAME} names no variable"),
        ("admin_token: ${OPEN", "${ without its closing }"),
        ("mode: shadowy", "'shadowy' is not a mode"),
    ],
)
def test_what_is_no_secret_is_needed_by_everybody(tmp_path: Path, line: str, problem: str) -> None:
    text = f"{line}\nchains: {{soneium: {{chain_id: 1868, bundlers: [https://bundler.example/rpc]}}}}\n"
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, text), {}, secrets=False)
    assert problem.partition(" is not a")[0] in str(caught.value)
