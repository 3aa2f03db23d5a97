"""Settings that must agree with one another."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final

from proxy.clients.keys import HASHED, is_hash
from proxy.config.clients import Client
from proxy.config.fields import shorten
from proxy.config.session_modules import DeclaredModuleSettings, addresses_in
from proxy.config.settings import Chain, Config, DeclaredSessionSettings, UnknownContract
from proxy.document import Document, Location, did_you_mean
from proxy.methods import METHODS, NODE_READS
from proxy.session.addresses import SESSION_MODULES
from proxy.session.declared import is_declarable
from proxy.userop.declared_module import declared_in, key_id
from proxy.userop.meanings import ArgumentMeaning
from proxy.userop.primitives import Address, print_checksummed

_TRACING: Final = "pip install 'sessiongate[tracing]'"
_HEADER: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


def check_agreement(document: Document, values: object, config: Config | None) -> None:
    """Report what contradicts itself. References to chains are checked even when `config` could not be made."""
    if isinstance(values, dict) and isinstance(chains := values.get("chains"), dict):
        _check_references(document, values, chains)
    if config is not None:
        _check_listeners(document, config)
        _check_chains(document, config)
        _check_clients(document, config)
        _check_sessions(document, config)
        _check_sinks(document, config)
        _check_named_sessions(document, config)
        _check_tracing(document, config)


def _check_references(document: Document, values: dict[str, object], chains: dict[str, object]) -> None:
    for location, name in _references(values):
        if isinstance(name, str) and name not in chains and not document.is_broken(location):
            known = f"the file knows {', '.join(chains)}" if chains else None
            suggestion = did_you_mean(name, chains) or known
            document.fault(document.place_of(location), f'there is no chain "{name}"', suggestion)


def _references(values: dict[str, object]) -> list[tuple[Location, object]]:
    found: list[tuple[Location, object]] = []
    clients, sessions = values.get("clients"), values.get("sessions")
    for index, client in enumerate(clients if isinstance(clients, list) else ()):
        names = client.get("chains") if isinstance(client, dict) else None
        for position, name in enumerate(names if isinstance(names, list) else ()):
            found.append((("clients", index, "chains", position), name))
    for index, session in enumerate(sessions if isinstance(sessions, list) else ()):
        if isinstance(session, dict):
            found.append((("sessions", index, "chain"), session.get("chain")))
    return found


def _check_listeners(document: Document, config: Config) -> None:
    place = document.place_of(("admin_listen",))
    if config.admin_listen == config.listen and config.listen.port:
        document.fault(place, "admin_listen and listen are the same", "give them different ports")
    if not config.admin_listen.is_local and config.admin_token is None:
        document.fault(
            place,
            f"admin_listen {config.admin_listen} is reachable from other machines without a token",
            "add admin_token: ${SESSIONGATE_ADMIN_TOKEN}, or listen on 127.0.0.1",
        )
    if config.admin_read_token is not None and config.admin_read_token == config.admin_token:
        document.fault(
            document.place_of(("admin_read_token",)),
            "admin_read_token is admin_token: who may read may change everything",
            "give them different values",
        )


def _check_chains(document: Document, config: Config) -> None:
    by_id: dict[int, str] = {}
    for name, chain in config.chains.items():
        other = by_id.setdefault(chain.chain_id, name)
        if other != name:
            place = document.place_of(("chains", name, "chain_id"))
            problem = f"chains {other} and {name} have the same chain_id {chain.chain_id}"
            document.fault(place, problem, "list both bundlers under one chain")
        for key in ("unknown_policy", "unknown_validator"):
            location = ("chains", name, key)
            asks = getattr(chain, key) is UnknownContract.ASK and document.written(location) is not None
            if asks and chain.node is None:
                problem = f"{key}: ask has nobody to ask, chain {name} has no node"
                document.fault(document.place_of(location), problem, f"add node: https://…, or {key}: reject")

        if chain.node_reads and chain.node is None:
            place = document.place_of(("chains", name, "node_reads"))
            document.fault(place, f"node_reads has nobody to ask, chain {name} has no node", "add node: https://…")

        gap = ("chains", name, "nonce_gap")
        if chain.node is None and document.written(gap) is not None:
            problem = f"nonce_gap has nobody to ask, chain {name} has no node"
            document.fault(document.place_of(gap), problem, "add node: https://…")

        _check_modules(document, name, chain)
        ages = ("chains", name, "max_state_age"), ("chains", name, "poll_seconds")
        if chain.node is not None and chain.max_state_age < 3 * chain.poll_seconds:
            place = document.place_of(next((each for each in ages if document.written(each) is not None), ages[0]))
            problem = f"poll_seconds: {chain.poll_seconds:g} lets known state grow older than max_state_age allows"
            document.fault(place, problem, f"max_state_age: {3 * chain.poll_seconds:g} or more, or poll more often")


def _check_clients(document: Document, config: Config) -> None:
    names: dict[str, int] = {}
    for index, client in enumerate(config.clients):
        place = document.place_of(("clients", index))
        if names.setdefault(client.name, index) != index:
            document.fault(place, f'two clients are called "{client.name}"', "give each its own name")
        if not client.key_digests and not client.origins:
            problem = f'client "{client.name}" cannot be recognised'
            document.fault(place, problem, "give it an api_key or origins")
        if client.list_sessions and not client.key_digests:
            problem = f'client "{client.name}" may list sessions and has no api_key: anybody can send an Origin'
            document.fault(document.place_of(("clients", index, "list_sessions")), problem, "give it an api_key")
        served = _served_to(client, config)
        for position, method in enumerate(client.methods):
            if method not in served:
                place = document.place_of(("clients", index, "methods", position))
                off = method in NODE_READS
                cure = "set node_reads: true for its chain" if off else did_you_mean(method, served)
                document.fault(place, f"no chain serves {method}", cure)
    _check_keys(document, config.clients)


def _served_to(client: Client, config: Config) -> set[str]:
    """The methods that a client may be allowed: those of its chains."""
    chains = [chain for name, chain in config.chains.items() if not client.chains or name in client.chains]
    reads = NODE_READS if any(chain.node_reads for chain in chains) else frozenset()
    return {*METHODS, *reads, *(method for chain in chains for method in chain.allow_methods)}


def _check_keys(document: Document, clients: tuple[Client, ...]) -> None:
    owners: dict[bytes, int] = {}
    for index, client in enumerate(clients):
        place = document.place_of(("clients", index))
        keys = client.api_keys if client.api_key is None else (client.api_key, *client.api_keys)
        for key, digest in zip(keys, client.key_digests, strict=True):
            written = key.get_secret_value()
            if written.startswith(HASHED) and not is_hash(written):
                cure = 'write sha256: and 64 hex digits, as from: printf %s "$KEY" | sha256sum'
                document.fault(place, f'client "{client.name}" has a hash of a key that is none', cure)
            first = owners.setdefault(digest, index)
            if first != index:
                problem = f'clients "{clients[first].name}" and "{client.name}" have the same api_key'
                document.fault(place, problem, "give each its own key")
        if len(set(client.key_digests)) < len(keys):
            document.fault(place, f'client "{client.name}" has the same key twice', "leave one out")


def _check_named_sessions(document: Document, config: Config) -> None:
    names: dict[str, int] = {}
    for index, session in enumerate(config.metrics.sessions):
        first = names.setdefault(session.name, index)
        if first != index:
            place = document.place_of(("metrics", "sessions", index))
            problem = f'metrics.sessions[{first}] is called "{session.name}" already'
            document.fault(place, problem, "give each session its own name")


def _check_tracing(document: Document, config: Config) -> None:
    if config.tracing.otlp is None:
        return
    place = document.place_of(("tracing", "otlp"))
    if find_spec("opentelemetry") is None:
        document.fault(place, "tracing.otlp needs OpenTelemetry, which is not installed", _TRACING)
    names = {name.lower() for name in config.tracing.headers}
    if (bad := sorted(name for name in names if not _HEADER.fullmatch(name))) or "content-type" in names:
        place = document.place_of(("tracing", "headers"))
        document.fault(place, f"{shorten((*bad, 'content-type')[0])} cannot be sent with spans", "name another header")


def _check_sinks(document: Document, config: Config) -> None:
    names = dict.fromkeys(config.alerts.alertmanager_names, "alerts.alertmanager")
    for kind, sinks in (("webhooks", config.alerts.webhooks), ("pagerduty", config.alerts.pagerduty)):
        for index, sink in enumerate(sinks):
            own = f"alerts.{kind}[{index}]"
            first = names.setdefault(sink.name, own)
            if first != own:
                place = document.place_of(("alerts", kind, index))
                document.fault(place, f'{first} is called "{sink.name}" already', "give each sink its own name")


def _check_sessions(document: Document, config: Config) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for index, session in enumerate(config.sessions):
        place = document.place_of(("sessions", index))
        identity = (session.chain, session.module, session.account, session.permission_id)
        first = seen.setdefault(identity, index)
        if first != index:
            problem = f"sessions[{index}] declares the same session as sessions[{first}]"
            document.fault(place, problem, "put all actions into one entry")
        _check_name(document, config, index, session)
        if session.validator and not is_declarable(session.validator):
            document.fault(
                document.place_of(("sessions", index, "validator")),
                f"sessions[{index}].validator is none that checks one ECDSA signature",
                "leave it out: the session key is then taken in every ECDSA form",
            )
        _check_actions(document, index, session)


def _check_name(document: Document, config: Config, index: int, session: DeclaredSessionSettings) -> None:
    """What a session is called: where its module names sessions by their keys, that is told by the key."""
    chain = config.chains.get(session.chain)
    module = None if chain is None or session.module is None else declared_in(chain.modules, session.module)
    by_key = module is not None and module.named_by is ArgumentMeaning.SESSION_KEY
    place = document.place_of(("sessions", index))
    if session.permission_id is None and not by_key:
        document.fault(place, f"sessions[{index}] needs permissionId", "add permissionId: 0x…")
    elif by_key and session.name != key_id(session.session_key):
        problem = f"sessions[{index}]: at its module a session is named by its key, not by another permissionId"
        document.fault(place, problem, "leave permissionId out")


def _check_modules(document: Document, name: str, chain: Chain) -> None:
    seen: dict[Address, int] = {}
    for index, entry in enumerate(chain.session_modules):
        declared = isinstance(entry, DeclaredModuleSettings)
        for address in addresses_in([entry]):
            first = seen.setdefault(address, index)
            if first != index or (declared and address in SESSION_MODULES):
                place = document.place_of(("chains", name, "session_modules", index))
                what = "is a published session module" if first == index else f"is in session_modules[{first}] already"
                problem = f"chains.{name}.session_modules[{index}]: {print_checksummed(address)} {what}"
                document.fault(place, problem, "leave one of them out" if first != index else "write its address alone")
                break


def _check_actions(document: Document, index: int, session: DeclaredSessionSettings) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for position, action in enumerate(action.declared() for action in session.actions):
        place = document.place_of(("sessions", index, "actions", position))
        name = f"sessions[{index}].actions[{position}]"
        first = seen.setdefault((action.target, action.selector), position)
        if first != position:
            document.fault(place, f"{name} repeats target and selector of actions[{first}]", "keep one of the two")
        if action.valid_after > action.valid_until:
            document.fault(place, f"{name} ends before it begins", "swap validAfter and validUntil")
