"""Random operations of sessions on accounts of both kinds, judged at once and put to the chain in another order: what
is let through is taken, what is refused would have been.

One seed here; `make differential SEEDS=1-10` takes others. What is found is printed with its seed.
"""

from __future__ import annotations

from itertools import product

from proxy.session.addresses import POLICIES
from tests.e2e.conftest import FlowRuns
from tests.e2e.differential.accounts import SHAPES
from tests.e2e.differential.validation import ALL_FAMILIES, GROUP, run_seeds

SEED = 1
OPERATIONS = 18 * GROUP


def test_accounts_of_both_kinds_with_and_without_a_registry_say_what_the_gate_says(flows: FlowRuns) -> None:
    found, heard, in_flight, met = run_seeds(flows.rig, flows.account_index, [SEED], OPERATIONS)
    assert not found, "\n\n".join(found)
    assert heard.total() == OPERATIONS
    assert heard["taken"] >= OPERATIONS // 5, heard
    assert len(heard) >= 10, f"few reasons were reached: {heard}"
    assert in_flight > 0, "nothing was refused for what was in flight alone"
    assert set(met.families) == set(product(SHAPES, ALL_FAMILIES)), "accounts and terms that never met"
    assert set(met.taken) == set(product(SHAPES, ("USE", "ENABLE"))), met.taken
    assert set(met.policies) == {contract.name for contract in POLICIES.values()}, met.policies
