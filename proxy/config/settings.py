"""Every setting there is. The commented example beside the README shows each of them in its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from proxy.config.alerting import AlertSettings
from proxy.config.base import Settings
from proxy.config.clients import Client, Cors
from proxy.config.endpoints import (
    BundlerText,
    EndpointText,
    HostName,
    LedgerPlace,
    LedgerText,
    Listen,
    ListenText,
    NetworkText,
    NodesText,
)
from proxy.config.fields import (
    AddressText,
    Amount,
    EntryPointText,
    HashText,
    SelectorText,
    UnixSeconds,
    fault,
    kind_of,
    shorten,
)
from proxy.config.service import LogSettings, MetricSettings, TracingSettings
from proxy.config.session_modules import PUBLISHED_SESSION_MODULES, ModuleEntries, addresses_in, modules_of
from proxy.document import did_you_mean
from proxy.judge.verdict import Mode
from proxy.methods import METHODS, refusal_of_allow
from proxy.session.declared import DeclaredAction, DeclaredSession
from proxy.session.validity import UINT48_MAX
from proxy.userop.declared_module import SessionModules, declared_in, key_id
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import VALUE_SELECTOR


class NonceGap(StrEnum):
    """What becomes of an operation whose nonce is not the next one of its key, nor follows what is in flight here."""

    ALERT = "alert"  # it is sent, counted and told of
    REJECT = "reject"


class UnminedRules(StrEnum):
    """What rules and declared limits do with an operation that is not mined for `unmined_after`."""

    HOLD = "hold"  # its share stays held until its nonce is used or its validity is over
    RELEASE = "release"  # it is let go: mined later, it passes what was granted in its place


class UnknownSession(StrEnum):
    """What becomes of a permission id that is found nowhere, the node included."""

    REJECT = "reject"
    ALERT = "alert"
    ALLOW = "allow"


class UnknownContract(StrEnum):
    """What becomes of a policy or a session validator whose code this gate does not mirror."""

    ASK = "ask"  # the node, by calling it
    ALERT = "alert"  # let it pass, and say so
    REJECT = "reject"


class Previews(StrEnum):
    """Whether estimates are judged as submissions are."""

    JUDGE = "judge"
    PASS = "pass"  # noqa: S105  # the word "pass", not a password


class Dialects(StrEnum):
    """Whether a method of another bundler's dialect is answered from one that this bundler knows."""

    TRANSLATE = "translate"
    PASS = "pass"  # noqa: S105  # the word "pass", not a password


class LedgerSynchronous(StrEnum):
    """What a reservation survives from the moment its operation is sent."""

    NORMAL = "normal"  # the end of the gate, kill -9 included
    FULL = "full"  # a power cut
    EXTRA = "extra"  # a power cut, also on file systems that lose a directory's newest entries


class NodeFail(StrEnum):
    """What becomes of a known session's operations when what is known of the chain is too old."""

    CLOSED = "closed"
    OPEN = "open"  # judged all the same, and counted


class LedgerFail(StrEnum):
    """What becomes of an operation whose reservation cannot be written."""

    CLOSED = "closed"  # rejected
    OPEN = "open"  # sent, held in memory only


class HttpTransport(StrEnum):
    """What carries the bytes of dapps and bundlers."""

    LEAN = "lean"  # protocols of the gate's own on the event loop
    AIOHTTP = "aiohttp"  # the reference that the lean one is held against


class ForwardedHeader(StrEnum):
    """In which header trusted proxies name who called them."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


class Limits(Settings):
    """Bounds on one request, and on waiting for others."""

    max_body_bytes: int = Field(524_288, ge=1_024, le=67_108_864)
    max_batch: int = Field(50, ge=1, le=10_000)
    max_depth: int = Field(32, ge=8, le=128)
    max_elements: int = Field(4_096, ge=256, le=1_000_000)  # of one body's JSON
    request_seconds: float = Field(30, gt=0, le=600)  # for one answer of a bundler
    paymaster_seconds: float = Field(15, gt=0, le=600)  # for one answer of a paymaster
    node_seconds: float = Field(5, gt=0, le=120)  # for one answer of a node, waiting for its turn included
    absent_sessions: float = Field(20, gt=0, le=100_000)  # a second that one client and address may name in vain
    in_flight_per_session: int = Field(20_000, ge=1, le=10_000_000)  # operations whose nonce is unused
    in_flight_per_account: int = Field(40_000, ge=1, le=10_000_000)


class Connections(Settings):
    """Bounds on the connections of callers: how many, how long each step may take, how much they may hold together."""

    max: int = Field(1_024, ge=16, le=100_000)
    max_per_peer: int = Field(256, ge=1, le=100_000)
    head_seconds: float = Field(10, gt=0, le=600)
    body_seconds: float = Field(10, gt=0, le=600)
    idle_seconds: float = Field(75, gt=0, le=3_600)
    stalled_seconds: float = Field(20, gt=0, le=600)  # in which none of an answer is taken
    max_batch_answer_bytes: int = Field(4_194_304, ge=65_536, le=67_108_864)
    max_unread_bytes: int = Field(67_108_864, ge=1_048_576)  # of answers, over all callers
    max_waiting_bytes: int = Field(67_108_864, ge=1_048_576)  # of requests not whole, messages not answered


def _read_method(value: object) -> object:
    if isinstance(value, str) and (refusal := refusal_of_allow(value)) is not None:
        raise fault(f"{shorten(value)} cannot be allowed: {refusal}", did_you_mean(value, METHODS))
    return value


Method = Annotated[str, BeforeValidator(_read_method)]


class Chain(Settings):
    """One configured network, served at `POST /{name}`."""

    chain_id: int = Field(ge=1, lt=2**64, examples=["1868"])
    bundlers: tuple[BundlerText, ...] = Field(min_length=1, examples=["[https://bundler.example/rpc]"])
    paymaster: EndpointText | None = None  # asked what paymasters answer; without one the bundlers are
    node: NodesText | None = None  # one, or a list; without it sessions are declared or seen being granted
    entry_points: tuple[EntryPointText, ...] = Field((ENTRY_POINT_BY_VERSION[EntryPointVersion.V07],), min_length=1)
    session_modules: ModuleEntries = Field(PUBLISHED_SESSION_MODULES, min_length=1)
    unknown_session: UnknownSession = UnknownSession.REJECT
    unknown_policy: UnknownContract = UnknownContract.ASK  # without a node nobody can be asked: rejected
    unknown_validator: UnknownContract = UnknownContract.ASK
    fee_methods: Dialects = Dialects.TRANSLATE
    status_methods: Dialects = Dialects.TRANSLATE
    node_reads: bool = False  # serve a closed list of reads from the node, for SDKs with one URL for everything
    allow_methods: tuple[Method, ...] = ()  # relayed to the bundler beside those every bundler serves
    strict_accounts: tuple[AddressText, ...] = ()  # whose other operations must be readable exactly, too
    poll_seconds: float = Field(2, ge=0.05, le=300)  # between two looks at what was mined
    max_state_age: float = Field(60, ge=1, le=86_400)  # seconds; nothing is judged by what is known of older state
    node_fail: NodeFail = NodeFail.CLOSED  # past that age
    nonce_gap: NonceGap = NonceGap.ALERT
    unmined_after: float = Field(600, ge=1, le=604_800)  # seconds of answered absence; then less is held
    unmined_rules: UnminedRules = UnminedRules.HOLD

    @cached_property
    def modules(self) -> SessionModules:
        """Every session module, and how those are read that are declared."""
        return modules_of(self.session_modules, self.chain_id)

    @property
    def module_addresses(self) -> tuple[Address, ...]:
        """Every session module, in the order written."""
        return addresses_in(self.session_modules)


def _read_path(value: object) -> object:
    if not isinstance(value, str) or not value.strip() or value.endswith("/"):
        shown = shorten(value) if isinstance(value, str) else kind_of(value)
        raise fault(f"{shown} names no file", "write a path: /var/lib/sessiongate/audit.db")
    return Path(value)


PathText = Annotated[Path, BeforeValidator(_read_path)]
"""A file; relative to the folder of the settings' file."""


class AuditKeep(StrEnum):
    """How much of an operation goes on record."""

    FACTS = "facts"  # what rules see of it
    CALLDATA = "calldata"  # and its call data, its session's state, and what was in flight; never a signature


class AuditBy(StrEnum):
    """Who writes the trail."""

    PROCESS = "process"  # one of its own: the gate's interpreter judges meanwhile
    THREAD = "thread"  # of the gate: one process less, and less memory


class AuditHeads(Settings):
    """Where the newest record is told, out of reach of who can write the trail: what is cut off is noticed there."""

    file: PathText | None = None  # one JSON object a line is appended
    webhook: EndpointText | None = None  # the same object is posted
    every_seconds: float = Field(60, ge=1, le=86_400)


class Audit(Settings):
    """Where decisions are kept, how many of them, and how changes to them are noticed."""

    path: PathText | None = None  # default: beside the ledger, NAME.audit.db
    retention_days: int = Field(90, ge=1, le=36_500)
    max_bytes: int = Field(1_073_741_824, ge=1_048_576, le=2**50)  # past it the oldest records go
    reserve_bytes: int | None = Field(None, ge=0, le=2**50)  # of the disk, for the ledger alone; default: a tenth
    refusals_per_second: float = Field(10, gt=0, le=100_000)  # of a client, that are kept whole; others are counted
    keep: AuditKeep = AuditKeep.FACTS
    written_by: AuditBy = AuditBy.PROCESS
    key: SecretStr | None = Field(None, min_length=16)  # without it the trail shows accidents, not malice
    heads: AuditHeads = AuditHeads()


class _CamelSettings(Settings):
    """Keys as the SDK guides write a session; snake_case is read as well."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class DeclaredActionSettings(_CamelSettings):
    """One thing a declared session may do: call `selector` at `target`, or send value to it without a selector."""

    target: AddressText = Field(examples=["0x…"])
    selector: SelectorText | None = None
    max_value: Amount = 0  # wei with each call
    valid_after: UnixSeconds | None = None
    valid_until: UnixSeconds | None = None
    max_uses: int | None = Field(None, ge=1, lt=2**128)

    def declared(self) -> DeclaredAction:
        """The action as it is judged; a validUntil of 0 never ends, as on chain."""
        return DeclaredAction(
            target=self.target,
            selector=VALUE_SELECTOR if self.selector is None else self.selector,
            max_value=self.max_value,
            valid_after=self.valid_after or 0,
            valid_until=self.valid_until or UINT48_MAX,
            max_uses=self.max_uses,
        )


class DeclaredSessionSettings(_CamelSettings):
    """A session declared by hand, for want of a node or as a second lock."""

    permission_id: HashText | None = Field(None, examples=["0x…"])  # None: named by its key, at a declared module
    account: AddressText = Field(examples=["0x…"])
    chain: str = Field(examples=["soneium"])
    session_key: AddressText = Field(examples=["0x…"])
    module: AddressText | None = None  # None: any of the chain's modules
    validator: AddressText | None = None  # None: the published OwnableValidator
    actions: tuple[DeclaredActionSettings, ...] = Field(min_length=1, examples=["[{target: 0x…, selector: …}]"])

    @property
    def name(self) -> Hash32:
        """What the session is called at its module."""
        return key_id(self.session_key) if self.permission_id is None else self.permission_id

    def declared(self, chain_id: int, modules: Collection[Address] = ()) -> DeclaredSession:
        """The session as it is judged. At one of the `modules` that are declared its key signs as they want it."""
        module = None if self.module is None else declared_in(modules, self.module)
        return DeclaredSession(
            chain_id=chain_id,
            account=self.account,
            permission_id=self.name,
            session_key=self.session_key,
            module=self.module,
            validator=self.validator if module is None else module.signer,
            counts_operations=module is not None and module.counts_operations,
            actions=tuple(action.declared() for action in self.actions),
        )


_CHAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


def _read_chain_name(value: object) -> object:
    if isinstance(value, str) and not _CHAIN_NAME.match(value):
        raise fault(f"{shorten(value)} cannot name a chain", "it becomes a path: lower-case letters, digits, - and _")
    return value


ChainName = Annotated[str, BeforeValidator(_read_chain_name)]


def _read_rule_pattern(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise fault("an empty text names no rule file", "write the path of a file, or a pattern: rules/*.yaml")
    return value


RulePatternText = Annotated[str, BeforeValidator(_read_rule_pattern)]


class AdminOpen(StrEnum):
    """What the admin listener shows without a token."""

    METRICS = "metrics"
    HEALTH = "health"


class Tls(Settings):
    """A certificate with its chain, and its key, both PEM; taken anew when the files change."""

    certificate: PathText = Field(examples=["/etc/sessiongate/gate.pem"])
    key: PathText = Field(examples=["/etc/sessiongate/gate.key"])


class Config(Settings):
    """Everything that can be set."""

    listen: ListenText = Listen("127.0.0.1", 8080)
    admin_listen: ListenText = Listen("127.0.0.1", 9090)
    admin_token: SecretStr | None = Field(None, min_length=16)  # reads and changes; required beyond this machine
    admin_read_token: SecretStr | None = Field(None, min_length=16)  # reads only
    admin_hosts: tuple[HostName, ...] = ()  # names with a dot that the admin listener answers to
    admin_open: tuple[AdminOpen, ...] = (AdminOpen.METRICS, AdminOpen.HEALTH)  # shown without a token
    tls: Tls | None = None  # for listen
    admin_tls: Tls | None = None  # for admin_listen
    transport: HttpTransport = HttpTransport.LEAN
    mode: Mode = Mode.ENFORCE
    ledger: LedgerText = LedgerPlace(Path("sessiongate.db"))
    ledger_synchronous: LedgerSynchronous = LedgerSynchronous.NORMAL
    ledger_fail: LedgerFail = LedgerFail.CLOSED
    ledger_retention_days: int = Field(90, ge=1, le=36_500)  # of removed sessions
    session_queries: bool = False  # answer sessiongate_getSession
    previews: Previews = Previews.JUDGE
    limits: Limits = Limits()
    connections: Connections = Connections()
    trusted_proxies: tuple[NetworkText, ...] = ()  # whose word on who calls is taken
    forwarded_by: ForwardedHeader = ForwardedHeader.X_FORWARDED_FOR
    chains: Mapping[ChainName, Chain] = Field(min_length=1, examples=["{soneium: {chain_id: 1868, …}}"])
    clients: tuple[Client, ...] = ()  # empty: anybody who reaches the listener may call
    cors: Cors = Cors()
    sessions: tuple[DeclaredSessionSettings, ...] = ()
    rules: tuple[RulePatternText, ...] = ()  # files, * allowed; relative to this file, absolute once read
    audit: Audit = Audit()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()
    metrics: MetricSettings = MetricSettings()
    tracing: TracingSettings = TracingSettings()
    drain_seconds: float = Field(0, ge=0, le=600)  # between the word to stop and the listener's end

    def declared_sessions(self) -> tuple[DeclaredSession, ...]:
        """The sessions declared by hand, with the ids of their chains."""
        chains = self.chains
        return tuple(each.declared(chains[each.chain].chain_id, chains[each.chain].modules) for each in self.sessions)

    @property
    def audit_path(self) -> Path | None:
        """Where decisions are kept; `None` for memory, as the ledger."""
        if self.audit.path is not None or self.ledger.path is None:
            return self.audit.path
        return self.ledger.path.with_name(f"{self.ledger.path.stem}.audit.db")
