"""Every metric there is, as a page: `python -m proxy.edge.telemetry.catalogue > deploy/METRICS.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from proxy.edge.telemetry.metrics import Metrics

_HEAD = """\
# Metrics

What `GET /metrics` on the admin listener shows; printed from the code by `python -m proxy.edge.telemetry.catalogue`.
Labels come from closed sets: names of the settings and of rules, enums of ours, and `other`. No address, permission id
or URL is ever one. A histogram has `_bucket`, `_sum` and `_count`; the usual `process_*` metrics come on top.

| metric | kind | labels | what it says |
|---|---|---|---|
"""


class Described(NamedTuple):
    """One metric; `name` as it is scraped."""

    name: str
    kind: str
    labels: Sequence[str]
    text: str


def described(metrics: Metrics) -> Iterator[Described]:
    """Every metric of ours, by name."""
    found = {collector for collector in metrics.collectors() if isinstance(collector, MetricWrapperBase)}
    for each in sorted(found, key=lambda collector: collector._name):  # it has no public name
        suffix = "_total" if each._type == "counter" else ""
        yield Described(f"{each._name}{suffix}", str(each._type), each._labelnames, each._documentation)


def page() -> str:
    """The page."""
    metrics = Metrics(chains=["a-chain"])
    return _HEAD + "".join(
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.text} |\n"
        for each in described(metrics)
    )


if __name__ == "__main__":
    sys.stdout.write(page())
