"""What PromQL expressions name: metrics, and the labels they match or group by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PROMETHEUS_OWN = {
    "up": frozenset({"job", "instance"}),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "job", "instance", "chain", "upstream"}),
}
"""Series that Prometheus makes itself."""

ADDED_BY_SCRAPE = frozenset({"job", "instance"})

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"\b(sessiongate_\w+|process_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_MADE = re.compile(r'label_replace\([^"]*"(\w+)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Named:
    """The metrics of an expression, each with the labels it is selected by, the labels it is grouped by, and those it
    makes itself."""

    selected: tuple[tuple[str, frozenset[str]], ...]
    grouped: frozenset[str]
    made: frozenset[str]

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(metric for metric, _ in self.selected)


def names_in(expression: str) -> Named:
    """Everything `expression` names. Label values, and Grafana's variables in them, are left out."""
    bare = _STRING.sub('""', expression)
    grouped = {label.strip() for match in _GROUPING.finditer(bare) for label in match[1].split(",")}
    without_grouping = _GROUPING.sub("", bare)
    selected = tuple(
        (match[1], frozenset(_MATCHER.findall(match[2] or ""))) for match in _SELECTOR.finditer(without_grouping)
    )
    made = _MADE.findall(re.sub(r"\{[^}]*\}", "", expression))
    return Named(selected, frozenset(grouped), frozenset(made))


def missing_from(expression: str, series: dict[str, frozenset[str]]) -> Iterator[str]:
    """Each metric or label in `expression` that no series has; `series` are the labels by metric name."""
    known = series | PROMETHEUS_OWN
    named = names_in(expression)
    if not named.selected:
        yield f"no metric in {expression}"
    for metric, labels in named.selected:
        if metric not in known:
            yield f"metric {metric}"
            continue
        yield from (f"label {label} of {metric}" for label in labels - known[metric] - ADDED_BY_SCRAPE)
    grouped = frozenset().union(*(known.get(metric, frozenset()) for metric in named.metrics))
    yield from (f"grouping label {label}" for label in named.grouped - named.made - grouped - ADDED_BY_SCRAPE)
