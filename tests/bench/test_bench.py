"""The benchmark runs, and what it measures is what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from proxy.chain.blocks.events import read_claims, read_executed
from proxy.chain.blocks.header import covers, parse_header
from proxy.chain.logs import LogReader
from proxy.edge.storage.store import Store
from proxy.session.addresses import SESSION_MODULES
from tests.bench import scenes
from tests.bench.corpus import KINDS, Corpus, recorded_methods, write_corpus
from tests.bench.decision import decision_parts
from tests.bench.fake_chain import FakeChain
from tests.bench.fixed_rate import percentile
from tests.bench.ledger import CALLERS, rates, weigh
from tests.bench.load import Figures
from tests.bench.measure import Measured, check_all_arrived, check_all_went_through, middle, taken
from tests.bench.operations import ENTRY_POINT, distinct_uses
from tests.bench.packs import STAGES, packs_cost, shapes
from tests.bench.policies import operation_costs, policy_costs, signature_costs
from tests.bench.report import UNTOLD, WHOLE, Report, packs_ratio, plot, ratios, told_share, write_kept
from tests.bench.rules import KINDS as RULE_KINDS
from tests.bench.rules import crowd_cost, facts_cost, rule_costs
from tests.bench.scenes import QUICK, Plan, by_depth, by_known, few_rounds
from tests.bench.servers import GATES, YARDSTICKS, Server
from tests.bench.start import start, write_ledger
from tests.bench.told import Clocked, cost_between, told_in_place
from tests.bench.upstream import World, read_known
from tests.e2e.children import Child

_IS_ENABLED = "adbc532f"  # isPermissionEnabled(bytes32,address)
FIGURES = Figures(per_second=10, p50=1, p99=2, p999=3, requests=4, failed=0)
MEASURED = Measured(
    per_second=10,
    p50=1,
    p99=2,
    p999=3,
    cpu=4,
    settled_cpu=5,
    own_cpu=5,
    resident=6,
    settle_seconds=1,
    asked=7,
    requests=8,
)


_FASTER = {"enable": 600, "estimate": 10_000, "receipt": 40_000, "mix": 12_000}
"""Requests a second of a gate half as fast again as it is; of the rest 6,500."""


@pytest.mark.parametrize("plan", [QUICK, Plan()], ids=["quick", "whole"])
def test_a_faster_gate_runs_out_of_nothing_that_is_laid_out_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan
) -> None:
    def laid_out_only(_folder: Path, amounts: dict[str, int], **_: object) -> Corpus:
        return Corpus(tmp_path, bodies={kind: [b""] * amount for kind, amount in amounts.items()})

    def at_full_speed(
        server: Server,
        corpus: Corpus,
        _folder: Path,
        *,
        kind: str = "use",
        connections: int = 32,
        seconds: float = 1,
        rate: float | None = None,
        **_: bool,
    ) -> Measured:
        a_second = _FASTER.get(kind, 6_500) if rate is None else rate
        amount = round(seconds * a_second)
        assert len(taken(server, corpus, kind, amount)) == amount
        server.taken[kind] = server.taken.get(kind, 0) + amount + 2 * connections
        return replace(MEASURED, per_second=a_second)

    def servers(_stack: object, _folder: Path, _known: Path, names: tuple[str, ...] = (), **_: float) -> object:
        child = _no_child(tmp_path)
        return {name: Server(name, "", "", child, remembers=name in GATES) for name in names or (*YARDSTICKS, *GATES)}

    monkeypatch.setattr(scenes, "write_corpus", laid_out_only)
    monkeypatch.setattr(scenes, "measure", at_full_speed)
    monkeypatch.setattr(scenes, "stack_of_servers", servers)
    monkeypatch.setattr(scenes, "grant", lambda *_: None)
    monkeypatch.setattr(scenes, "drive_at", lambda *_, **__: FIGURES)
    faults: list[str] = []
    _, halves, kinds, connections = scenes.side_by_side(tmp_path, plan, faults)
    assert faults == []
    assert list(kinds) == list(KINDS)
    assert list(connections) == ["1", "32", "256"]
    assert set(halves) == set(scenes.AT_HALF)
    assert len(scenes.sustained(tmp_path, plan)) == 1 + plan.slices


def test_every_operation_reaches_the_upstream_through_every_server_and_is_mined_and_settled(
    program: Callable[[str, str], str], tmp_path: Path
) -> None:
    for name, package in (("wrk", "wrk"), ("nginx", "nginx-light"), ("haproxy", "haproxy"), ("node", "nodejs")):
        program(name, package)
    names = (*YARDSTICKS, *GATES)
    # fails on any request lost or never mined
    found = few_rounds(tmp_path, names, seconds=1, rounds=1, warm_up=0, block=0.2, age=0.2)
    assert found.keys() == set(names)
    assert all(each.requests > 0 for each in found.values())
    assert found["gate, enforce"].settle_seconds is not None, "the gate never heard that its operations were mined"


def test_operations_may_stay_in_flight_while_others_are_measured(
    program: Callable[[str, str], str], tmp_path: Path
) -> None:
    program("wrk", "wrk")
    plan = Plan(sessions=3, in_flight=(1, 20), apart_seconds=1, block=0.2, age=0.2)
    found = by_depth(tmp_path, plan)
    assert list(found) == [
        *("one session, 1 in flight", "one session, 20 in flight"),
        *("3 sessions, 1 in flight", "3 sessions, 20 in flight"),
    ]


def test_a_gate_starts_with_as_many_sessions_as_are_wanted(program: Callable[[str, str], str], tmp_path: Path) -> None:
    program("wrk", "wrk")
    found = by_known(tmp_path, Plan(known=(7,), apart_seconds=1, block=0.2, age=0.2))
    assert list(found) == ["7 sessions known"]
    (ledger,) = tmp_path.glob("gate-*/ledger.db")
    with closing(Store(ledger)) as store:
        assert len(list(store.sessions())) == 8  # the load's too


def test_the_load_has_no_operation_twice() -> None:
    nonces = [op.nonce for op in distinct_uses(50)]
    assert len(set(nonces)) == 50


def test_every_kind_of_request_is_prepared_as_often_as_asked_for(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, dict.fromkeys(KINDS, 5), sessions=2, parked=3)
    assert {kind: len(bodies) for kind, bodies in corpus.bodies.items()} == dict.fromkeys(KINDS, 5)
    assert len(corpus.parked) == 3
    sent = corpus.bodies["use"] + corpus.bodies["enable"] + corpus.parked
    assert len(set(sent)) == len(sent)


def test_the_mix_has_the_methods_that_sdks_were_recorded_to_call() -> None:
    methods = recorded_methods()
    assert len(methods) > 200
    assert {"eth_sendUserOperation", "eth_estimateUserOperationGas", "eth_getUserOperationReceipt"} <= set(methods)


def test_what_the_upstream_mines_a_gate_can_prove(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, {"use": 20}, parked=1)
    known = read_known(corpus.known)
    world = World(known, age=0.0)
    for nonce in known:
        world.take(nonce)
        world.take(nonce)  # sent twice, it is one operation
    world.mine()
    told = json.loads(world.counts())
    assert (told["submitted"], told["distinct"], told["mined"], told["parked"]) == (44, 22, 21, 1)
    block = parse_header(world.chain.answer("eth_getBlockByNumber", ["latest", False]), "block")
    answer = world.chain.answer("eth_getLogs", [{"blockHash": "0x" + block.hash.hex()}])
    assert isinstance(answer, list)
    logs = [LogReader("log").read(json.loads(json.dumps(each))) for each in answer]
    assert len(logs) == 21
    assert covers(logs, block.bloom)
    executed = [read_executed(log) for log in logs]
    assert {each.user_op_hash.hex() for each in executed if each} == {
        each.hash[2:] for each in known.values() if not each.parked
    }
    claims = {}
    for log, each in zip(logs, executed, strict=True):
        assert each is not None
        found = world.chain.answer("eth_getTransactionByHash", ["0x" + log.transaction_hash.hex()])
        assert isinstance(found, dict)
        bundle = bytes.fromhex(found["input"][2:])
        read = read_claims(bundle, ENTRY_POINT, SESSION_MODULES, {(each.sender, each.nonce): each.user_op_hash})
        assert read is not None
        claims |= read
    assert len(claims) == 21, "an operation is not in its bundle"


def test_a_filter_that_does_not_fit_gets_no_logs(tmp_path: Path) -> None:
    known = read_known(write_corpus(tmp_path, {"use": 1}).known)
    chain = FakeChain(1_700_000_000)
    chain.mine(known.values(), 1_700_000_001)
    everything = {"fromBlock": "0x0", "toBlock": "0xffff"}
    assert chain.answer("eth_getLogs", [everything])
    assert chain.answer("eth_getLogs", [{**everything, "address": "0x" + "11" * 20}]) == []
    assert chain.answer("eth_getLogs", [{**everything, "topics": [None, ["0x" + "11" * 32]]}]) == []


@pytest.mark.parametrize("kind", ["enable", "use"])
def test_a_session_that_was_granted_is_never_said_to_be_missing(tmp_path: Path, kind: str) -> None:
    """The node of the benchmark has no contracts' storage: it reverts instead of answering as if there were none."""
    known = read_known(write_corpus(tmp_path, {kind: 1}).known)
    chain = FakeChain(1_700_000_000)
    granted = [each for each in known.values() if each.grants][-1]  # by the owner, or with the session's first use
    assert granted.grants is not None
    question = [{"to": "0x" + "00" * 20, "data": "0x" + _IS_ENABLED + granted.grants[2:] + "0" * 64}, "latest"]
    assert int(str(chain.answer("eth_call", question)), 16) == 0
    chain.mine([granted], 1_700_000_001)
    with pytest.raises(ValueError, match="reverted"):
        chain.answer("eth_call", question)


@pytest.mark.parametrize(
    ("changes", "arrived", "fault"),
    [({"failed": 1}, 4, "failed"), ({"beyond": 1}, 4, "did not last"), ({}, 1, "arrived"), ({}, 9, "arrived")],
)
def test_a_load_that_lost_or_repeated_something_is_no_measurement(
    changes: dict[str, int], arrived: int, fault: str
) -> None:
    bodies = [b'{"method":"eth_sendUserOperation"}'] * 20
    check_all_went_through("one", FIGURES, bodies, 4, connections=2)
    with pytest.raises(AssertionError, match=fault):
        check_all_went_through("one", replace(FIGURES, **changes), bodies, arrived, connections=2)


def test_answers_that_no_upstream_gave_are_no_measurement() -> None:
    check_all_arrived("one", FIGURES, FIGURES.requests + 2, connections=2)
    for arrived in (FIGURES.requests - 1, FIGURES.requests + 4):
        with pytest.raises(AssertionError, match="arrived"):
            check_all_arrived("one", FIGURES, arrived, connections=2)


def test_a_gate_that_judges_nothing_gets_every_operation_before_it_gets_one_again(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, bodies={"use": [b"%d" % number for number in range(10)]})
    server = Server("gate, off", "", "", _no_child(tmp_path), takes_turns=True)
    had = []
    for _ in range(5):
        some = taken(server, corpus, "use", 4)
        server.taken["use"] = server.taken.get("use", 0) + len(some)
        had += some
    assert had == corpus.bodies["use"] * 2


def _no_child(folder: Path) -> Child:
    running = subprocess.Popen(["true"])
    running.wait()
    return Child("none", running, folder)


def test_what_ci_holds_the_gate_against_is_written_from_a_run(tmp_path: Path) -> None:
    kept = tmp_path / "ratio.json"
    kept.write_text('{"about": "CPU", "beside": {"gate, off": 9}}')
    servers = {
        "bare aiohttp": MEASURED,
        "lean, recovers": MEASURED,
        "gate, off": replace(MEASURED, cpu=MEASURED.cpu / 4),
    }
    write_kept(Report(servers=servers), kept)
    assert json.loads(kept.read_text()) == {"about": "CPU", "beside": {"gate, off": 0.25}}


def test_what_was_not_settled_in_one_round_is_not_settled() -> None:
    assert middle([MEASURED, replace(MEASURED, per_second=30), replace(MEASURED, per_second=20)]).per_second == 20
    assert middle([MEASURED, replace(MEASURED, settle_seconds=None)]).settle_seconds is None


def test_a_percentile_is_one_of_the_values() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.99, 0.999)] == [51.0, 100.0, 100.0]


def test_the_plot_has_a_bar_for_every_server_and_is_whole_xml() -> None:
    servers = {"bare aiohttp": MEASURED, "lean, recovers": MEASURED, "gate <off>": replace(MEASURED, cpu=2)}
    drawn = ElementTree.fromstring(plot(ratios(servers)))
    assert sum(each.tag.endswith("rect") for each in drawn) == 3
    assert [each.text for each in drawn if each.text == "0.50"] == ["0.50"]


def test_the_measured_decision_is_one_that_allows() -> None:
    parts = decision_parts(repeats=1)  # asserts the verdict before it measures
    assert [part.name for part in parts][-2:] == ["bytes to verdict", "check the signature"]


def test_every_policy_is_measured_in_each_use_that_its_contract_allows() -> None:
    rows = policy_costs(repeats=1)  # asserts each verdict before it measures
    assert {row.name.partition(",")[0]: (row.action is not None, row.user_op is not None) for row in rows} == {
        "sudo": (True, True),
        "universal action": (True, False),
        "arg policy": (True, False),
        "spending limit": (True, False),
        "contract whitelist": (True, False),
        "time frame": (True, True),
        "usage limit": (True, True),
        "value limit": (True, True),
        "simple gas": (False, True),
    }


def test_batches_refusals_and_every_kind_of_signature_are_measured() -> None:
    assert len(operation_costs(repeats=1)) == 3
    assert len(signature_costs(repeats=1)) == 6


def test_every_kind_of_rule_is_measured() -> None:
    assert [part.name for part in rule_costs(repeats=1)] == list(RULE_KINDS)  # asserts what each says first
    assert facts_cost(repeats=1).microseconds > 0


def test_a_thousand_rules_of_which_five_fit_cost_at_most_three_times_those_five() -> None:
    crowd = crowd_cost(repeats=200)
    assert crowd.ratio <= 3, crowd


def test_reservations_are_measured_in_memory_and_on_disk_for_every_number_of_callers(tmp_path: Path) -> None:
    measured = rates(tmp_path, repeats=128)  # asserts that each was held
    assert [rate.callers for rate in measured] == list(CALLERS) * 4
    assert {rate.name for rate in measured} == {"memory", "daybook", "SQLite, normal", "SQLite, full"}


def test_a_start_knows_again_all_that_had_ended_and_all_that_was_in_flight(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", ended=300, in_flight=30)
    parts = dict(start(tmp_path / "ledger.db"))  # asserts that all of it is there
    assert all(seconds >= 0 for seconds in parts.values())


def test_a_known_session_weighs_less_than_a_kibibyte() -> None:
    assert weigh(40_000).bytes_each <= 1_024


def test_what_telling_costs_is_the_judging_processs_own_cpu_beside_the_floors() -> None:
    parts = {WHOLE: replace(MEASURED, own_cpu=7), UNTOLD: replace(MEASURED, own_cpu=5)}
    assert told_share(Report(servers={"lean, recovers": MEASURED}, parts=parts)) == 0.5
    assert told_share(Report(servers={"lean, recovers": MEASURED})) is None


def test_what_telling_costs_in_place_is_without_what_it_takes_to_look_at_the_clock() -> None:
    before = Clocked(judged=10, told=5_000, calls=60, nothing=1_000, nothings=10, audit_thread=7_000, collecting=0)
    after = Clocked(20, told=605_000, calls=120, nothing=21_000, nothings=20, audit_thread=107_000, collecting=30_000)
    found = cost_between(before, after, lean=116)
    assert (found.judging, found.handing_over, found.collecting, found.share) == (48, 10, 3, 0.5)


def test_a_gate_that_clocks_what_tells_ops_counts_what_it_judged(
    program: Callable[[str, str], str], tmp_path: Path
) -> None:
    program("wrk", "wrk")
    found = told_in_place(tmp_path, Plan(seconds=1, rounds=1, apart_seconds=1, block=0.2, age=0.2))
    assert found.judging != 0  # clocked less what clocking takes: of one second on a busy machine it may come out below
    assert found.handing_over > 0
    assert found.lean > 0


def test_what_the_packs_take_is_the_cpu_of_settled_operations_with_them_beside_that_without_rules() -> None:
    servers = {"gate, enforce": replace(MEASURED, settled_cpu=4), "gate, packs": replace(MEASURED, settled_cpu=5)}
    assert packs_ratio(servers) == 1.25


def test_what_the_packs_add_is_told_by_stage_and_none_of_them_refuses_an_ordinary_operation(tmp_path: Path) -> None:
    for number, shape in enumerate(shapes()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for stages in packs_cost(shape, folder, rounds=1, operations=25, past=50).values():
            assert set(stages) == set(STAGES)
            assert all(cost > 0 for cost in stages.values())
