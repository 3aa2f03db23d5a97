"""The benchmark's figures as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final

from tests.bench.measure import Measured
from tests.bench.scenes import AtHalf, Found, Steady

KEPT: Final = Path(__file__).parent / "ratio.json"
BASE: Final = "bare aiohttp"
FLOOR: Final = "lean, recovers"
WHOLE: Final = "whole"
UNTOLD: Final = "without audit, metrics, events"
_WIDTH, _ROW, _LEFT = 760, 24, 130  # of the plot, in pixels


@dataclass(frozen=True)
class Report:
    """All that was measured. Read ratios: the machine is part of every other figure."""

    servers: Found = field(default_factory=dict)
    halves: dict[str, AtHalf] = field(default_factory=dict)
    kinds: Found = field(default_factory=dict)
    connections: Found = field(default_factory=dict)
    parts: Found = field(default_factory=dict)
    depths: Found = field(default_factory=dict)
    known: Found = field(default_factory=dict)
    sustained: Found = field(default_factory=dict)
    steady: dict[str, Steady] = field(default_factory=dict)

    def as_json(self) -> str:
        parts = {name: {key: asdict(each) for key, each in part.items()} for name, part in vars(self).items()}
        told = {"ratios": ratios(self.servers), "told_share": told_share(self), "packs": packs_ratio(self.servers)}
        return json.dumps({**parts, **told}, indent=1) + "\n"


def ratios(servers: Found) -> dict[str, dict[str, float]]:
    """Each server's requests a second and CPU, beside bare aiohttp's; its CPU once settled beside the floor's."""
    base, floor = servers[BASE], servers[FLOOR]
    return {
        name: {
            "per_second": round(each.per_second / base.per_second, 3),
            "cpu": round(each.cpu / base.cpu, 3),
            "settled_cpu_beside_floor": round(each.settled_cpu / floor.cpu, 3),
        }
        for name, each in servers.items()
    }


def told_share(report: Report) -> float | None:
    """What metrics, audit and events take of the process that judges, beside the lean proxy that recovers."""
    whole, without = report.parts.get(WHOLE), report.parts.get(UNTOLD)
    if whole is None or without is None or FLOOR not in report.servers:
        return None
    return (whole.own_cpu - without.own_cpu) / report.servers[FLOOR].cpu


def packs_ratio(servers: Found) -> float:
    """What an operation costs with the shipped packs, its settlement included, beside what it costs without rules."""
    return servers["gate, packs"].settled_cpu / servers["gate, enforce"].settled_cpu


def print_report(report: Report) -> None:
    """To standard output."""
    base, floor = report.servers[BASE], report.servers[FLOOR]
    print("\none core each, 32 connections, every operation sent once and mined")
    print(f"{_head()}{'÷ aiohttp':>11}{'÷ floor':>9}")
    for name, each in report.servers.items():
        beside = f"{each.per_second / base.per_second:>11.2f}{each.settled_cpu / floor.cpu:>9.2f}"
        print(_line(name, each) + beside)
    print("÷ aiohttp: requests/s beside bare aiohttp's; ÷ floor: CPU, settled, beside the lean one that recovers")
    print(f"the shipped packs beside none of them, CPU once settled: {packs_ratio(report.servers):.2f}")
    print("\nmore than no proxy, at half of its own maximum, from the intended moment")
    print(f"{'':<28}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}")
    for name, half in report.halves.items():
        latency = f"{half.p50 / 1e3:>9.2f}{half.p99 / 1e3:>9.2f}{half.p999 / 1e3:>10.2f}"
        print(f"{name:<28}{half.rate:>11,.0f}{latency}")
    _print_found("the gate by kind of request", report.kinds)
    _print_found("the gate by number of connections", report.connections)
    _print_found("the gate with and without each part", report.parts, beside="whole")
    if (share := told_share(report)) is not None:
        print(f"metrics, audit and events in the process that judges: {share:.2f} of the lean one that recovers")
    _print_found("the gate by what is in flight", report.depths, beside=next(iter(report.depths), None))
    _print_found("the gate by the sessions it knows", report.known, beside=next(iter(report.known), None))
    _print_sustained(report.sustained)
    print("\n60 operations a second, a bundler that takes 100 ms, blocks every 2 s")
    for name, each_steady in report.steady.items():
        settled = "not settled" if each_steady.blocks is None else f"settled {each_steady.blocks:.1f} blocks after"
        print(f"{name:<28}{each_steady.rate:>8.0f}/s   {settled}   {each_steady.asked:.1f} questions/s")


def _print_sustained(found: Found) -> None:
    print(f"\nall the load it takes, every operation sent once and mined\n{_head()}{'÷ aiohttp':>11}")
    for name, each in found.items():
        print(f"{_line(name, each)}{each.per_second / found[BASE].per_second:>11.2f}")


def _head() -> str:
    latency = f"{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}"
    return f"{'':<28}{'requests/s':>11}{latency}{'CPU µs':>9}{'settled':>9}{'MiB':>6}{'asked/s':>9}"


def _line(name: str, each: Measured) -> str:
    latency = f"{each.p50 / 1e3:>9.2f}{each.p99 / 1e3:>9.2f}{each.p999 / 1e3:>10.2f}"
    usage = f"{each.cpu:>9.0f}{each.settled_cpu:>9.0f}{each.resident:>6.0f}{each.asked:>9.1f}"
    return f"{name:<28}{each.per_second:>11,.0f}{latency}{usage}"


def _print_found(title: str, found: Found, beside: str | None = None) -> None:
    print(f"\n{title}\n{_head()}{'÷ first' if beside else '':>9}")
    for name, each in found.items():
        ratio = f"{each.settled_cpu / found[beside].settled_cpu:>9.2f}" if beside else ""
        print(_line(name, each) + ratio)


def plot(found: Mapping[str, Any]) -> str:
    """Bars of each server's CPU a request beside bare aiohttp's, from the ratios of a report; SVG."""
    top = max(each["cpu"] for each in found.values())
    height = _ROW * (len(found) + 2)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<text x="0" y="15" font-weight="bold">CPU a request beside bare aiohttp (1.00); less is better</text>',
    ]
    scale = (_WIDTH - _LEFT - 70) / top
    for row, (name, each) in enumerate(found.items()):
        y = _ROW * (row + 1) + 6
        colour = "#2a6f97" if name.startswith("gate") else "#a9b4bd"
        width = max(each["cpu"] * scale, 1)
        drawn.append(f'<text x="0" y="{y + 12}">{escape(name)}</text>')
        drawn.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>')
        drawn.append(f'<text x="{_LEFT + width + 6:.1f}" y="{y + 12}">{each["cpu"]:.2f}</text>')
    return "\n".join([*drawn, "</svg>", ""])


def write_kept(report: Report, path: Path = KEPT) -> None:
    """What CI holds the gates against: their CPU beside bare aiohttp's, of those that are there already."""
    kept = json.loads(path.read_text())
    measured_ratios = ratios(report.servers)
    kept["beside"] = {name: round(measured_ratios[name]["cpu"], 2) for name in kept["beside"]}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def write_report(report: Report, folder: Path) -> None:
    """`bench.json` and `bench.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(report.as_json())
    (folder / "bench.svg").write_text(plot(ratios(report.servers)))
