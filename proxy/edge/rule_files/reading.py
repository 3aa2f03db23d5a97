"""From settings to the rules they name, or to every fault of settings and rules at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from proxy.config import Config, load_config
from proxy.config.loading import rule_patterns
from proxy.document import did_you_mean
from proxy.edge.collector import keep_what_was_made
from proxy.edge.rule_files.files import read_beside, read_rule_files
from proxy.edge.rule_files.watch import matches
from proxy.errors import ConfigErrors, ConfigFault
from proxy.judge.parse import Parsed, RuleFault, parse_rules

_ANONYMOUS = "anonymous"


def read_rules(config: Config) -> Parsed:
    """The rules that the settings name, their chains and clients checked; or every fault."""
    return _parse(config.rules, config)


def load_with_rules(path: Path | str, environ: Mapping[str, str]) -> Config:
    """The settings, when both they and their rules are sound. Raises `ConfigErrors` with every fault of both."""
    faults: list[ConfigFault] = []
    config = None
    try:
        config = load_config(path, environ)
    except ConfigErrors as errors:
        faults += errors.faults
    matching = []
    for each in rule_patterns(path, environ):
        if matches(each.pattern):
            matching.append(each.pattern)
            continue
        faults.append(
            ConfigFault(
                path=each.place.path,
                line=each.place.line,
                problem=f"rules: nothing matches {each.pattern}",
                suggestion="paths start at the folder of this file; correct it, or remove it from the list",
            )
        )
    faults += as_config_faults(_parse(matching, config).faults)
    if config is None or faults:
        raise ConfigErrors(faults)
    return config


def _parse(patterns: Sequence[str], config: Config | None) -> Parsed:
    sources, tokens, unread = read_rule_files(patterns, Path())
    with uncollected():
        # with faulty settings their chains are not known well enough to hold rules against them
        parsed = parse_rules(
            sources,
            tokens,
            chains=None if config is None else {name: chain.chain_id for name, chain in config.chains.items()},
            clients=None if config is None else known_clients(config),
            beside=read_beside,
        )
    unread = (*unread, *_unknown_sinks(parsed, config))
    if not unread:
        return parsed
    return replace(parsed, ruleset=None, faults=(*unread, *parsed.faults))


@contextmanager
def uncollected() -> Iterator[None]:
    """Have no garbage collected meanwhile: what is read of thousands of rules is kept, and to look through it again and
    again takes as long as to read it, and holds everybody else."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            keep_what_was_made()
            gc.enable()


def _unknown_sinks(parsed: Parsed, config: Config | None) -> Iterator[RuleFault]:
    """Each `notify` that names nobody; where the settings name no sink at all, none is missed."""
    sinks = () if config is None else config.alerts.sinks
    for rule in parsed.ruleset.rules if parsed.ruleset is not None and sinks else ():
        for name in rule.notify:
            if name not in sinks:
                cure = did_you_mean(name, sinks) or f"alerts: in the settings names {', '.join(sinks)}"
                yield RuleFault(place=rule.place, problem=f'there is no sink "{name}"', suggestion=cure, rule=rule.id)


def known_clients(config: Config) -> list[str] | None:
    """The clients that rules may name; any of them where the settings name none."""
    return [_ANONYMOUS, *(client.name for client in config.clients)] if config.clients else None


def as_config_faults(faults: Sequence[RuleFault]) -> list[ConfigFault]:
    """Faults of rules among those of settings."""
    return [
        ConfigFault(
            path=fault.place.path,
            line=fault.place.line,
            column=fault.place.column,
            problem=fault.problem,
            suggestion=fault.suggestion,
        )
        for fault in faults
    ]
