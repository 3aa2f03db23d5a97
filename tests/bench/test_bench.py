"""The benchmark runs, and what it measures is what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench.__main__ import SERVERS, measure
from tests.bench.decision import decision_parts
from tests.bench.ledger import CALLERS, rates, weigh
from tests.bench.load import Figures
from tests.bench.operations import distinct_uses
from tests.bench.policies import operation_costs, policy_costs, signature_costs
from tests.bench.rules import KINDS, crowd_cost, facts_cost, rule_costs


def test_every_request_of_the_load_reaches_the_upstream_through_every_server(
    program: Callable[[str, str], str], tmp_path: Path
) -> None:
    program("wrk", "wrk")
    program("nginx", "nginx-light")
    measured = measure(tmp_path, seconds=1, connections=4, operations=2_000)  # fails on any request lost
    assert measured.keys() == {"no proxy at all", *SERVERS}
    assert all(isinstance(figures, Figures) and figures.requests > 0 for figures in measured.values())


def test_the_load_has_no_operation_twice() -> None:
    nonces = [op.nonce for op in distinct_uses(50)]
    assert len(set(nonces)) == 50


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
    assert [part.name for part in rule_costs(repeats=1)] == list(KINDS)  # asserts what each says before it measures
    assert facts_cost(repeats=1).microseconds > 0


def test_a_thousand_rules_of_which_five_fit_cost_at_most_three_times_those_five() -> None:
    crowd = crowd_cost(repeats=200)
    assert crowd.ratio <= 3, crowd


def test_reservations_are_measured_in_memory_and_on_disk_for_every_number_of_callers(tmp_path: Path) -> None:
    measured = rates(tmp_path, repeats=128)  # asserts that each was held
    assert [rate.callers for rate in measured] == list(CALLERS) * 3
    assert {rate.name for rate in measured} == {"memory", "SQLite, normal", "SQLite, full"}


def test_a_known_session_weighs_less_than_a_kibibyte() -> None:
    assert weigh(40_000).bytes_each <= 1_024
