"""What the admin listener shows is what the gate knows, and what it changes holds at once and outlives a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest

from proxy.chain.age import ChainAge
from proxy.chain.blocks.header import Header
from proxy.edge.admin.backend import GateBackend, ServedChain
from proxy.edge.admin.query import FreezeRequest, PageRequest, SessionFilter
from proxy.edge.admin.server import AdminBackend
from proxy.edge.admin.session_pages import FROZEN
from proxy.edge.http.upstream import HttpUpstream
from proxy.edge.rule_files.book import RuleBook, open_rules
from proxy.edge.storage.store import Store
from proxy.errors import InvalidParams, StateUnavailable
from proxy.passage import Passage
from proxy.session.addresses import SMART_SESSION
from proxy.session.freezes import Freeze
from proxy.session.known import Status
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import TWICE, Room, key_of, known, lane
from tests.bypass_list.desk import CHAIN_ID, V07, single, use
from tests.edge.builders import gate_metrics
from tests.edge.recording_bundler import RecordingBundler
from tests.gate_parts import ENTRY_POINT, Scene
from tests.running_gate import settings
from tests.session.builders import ACCOUNT, NOW, STRANGER, transfer

ID = TWICE.permission_id
GOOD = use(TWICE, single(transfer(1)))


@dataclass
class Disk:
    """A store that writes into a list, or refuses."""

    freezes: list[Freeze] = field(default_factory=list)
    broken: bool = False

    def _check(self) -> None:
        if self.broken:
            raise StateUnavailable("the store could not be written")

    async def check_writable(self) -> None:
        self._check()

    async def save_freeze(self, freeze: Freeze) -> None:
        self._check()
        self.freezes.append(freeze)

    async def drop_freezes(self, freezes: Sequence[Freeze]) -> None:
        self._check()
        for freeze in freezes:
            self.freezes.remove(freeze)


@dataclass
class Office:
    """A backend, and what stands behind it."""

    backend: GateBackend
    room: Room
    disk: Disk
    bundler: RecordingBundler
    gate: Scene
    rules: RuleBook
    rule_file: Path
    upstream: HttpUpstream


RULE = """\
rules:
  - id: burst
    description: Not too many at once.
    mode: enforce
    severity: high
    match: {session: true}
    limit: {count: ops, max: 5, per: session, window: 1h}
"""


@asynccontextmanager
async def an_office(age: ChainAge | None = None) -> AsyncIterator[Office]:
    room, disk = Room(TWICE), Disk()
    gate = Scene(room)
    async with (
        AsyncExitStack() as stack,
        RecordingBundler(chain_id=CHAIN_ID) as bundler,
        HttpUpstream("soneium", [bundler.url], chain_id=CHAIN_ID, entry_points=frozenset({V07.address})) as upstream,
    ):
        served = ServedChain(
            name="soneium",
            chain_id=CHAIN_ID,
            gate=gate.gate,
            passage=Passage(gate.gate, upstream, recorder=gate.recorder, stopwatch=lambda: 0.0),
            upstream=upstream,
            age=age,
            release=_holds_nothing,
            take=lambda _chain, _config: None,
        )
        await upstream.probe()
        rule_file = Path(stack.enter_context(TemporaryDirectory())) / "rules.yaml"
        rule_file.write_text(RULE)
        rules = open_rules(settings(bundler.url, rules=[str(rule_file)], mode="alert"), gate_metrics())
        backend = GateBackend({"soneium": served}, room.registry, cast(Store, disk), lambda: float(NOW), rules)
        yield Office(backend, room, disk, bundler, gate, rules, rule_file, upstream)


async def _holds_nothing(_user_op_hash: Hash32, _note: str) -> bool:
    return False


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with an_office() as one:
        yield one


def a_request(**scope: Any) -> FreezeRequest:
    return FreezeRequest(permission_id=ID, **scope)


async def test_it_is_what_the_admin_listener_asks_for(office: Office) -> None:
    backend: AdminBackend = office.backend
    assert len((await backend.list_sessions(SessionFilter()))["sessions"]) == 1


# sessions


async def test_a_session_is_shown_with_all_that_is_known_of_it(office: Office) -> None:
    (shown,) = (await office.backend.show_session(ID))["sessions"]
    assert {**shown, "onChain": None} == {
        "chain": "soneium",
        "permissionId": print_bytes(ID),
        "account": print_checksummed(ACCOUNT),
        "module": print_checksummed(SMART_SESSION),
        "status": "in_force",
        "source": "grant",
        "frozen": None,
        "removalPending": False,
        "grantedBy": None,
        "readAtBlock": None,
        "updatedAt": NOW,
        "onChain": None,
    }
    assert shown["onChain"]


async def test_a_session_whose_state_is_not_known_is_shown_without_one(office: Office) -> None:
    office.room.registry.put(replace(known(TWICE), state=None))
    (shown,) = (await office.backend.show_session(ID))["sessions"]
    assert shown["onChain"] is None


async def test_an_unknown_permission_id_shows_nothing(office: Office) -> None:
    assert await office.backend.show_session(Hash32(bytes(32))) == {"sessions": [], "next": None}


async def test_a_session_of_a_chain_that_is_not_served_any_more_is_shown_by_its_number(office: Office) -> None:
    office.room.registry.put(replace(known(TWICE), key=key_of(TWICE)._replace(chain_id=77)))
    shown = (await office.backend.show_session(ID))["sessions"]
    assert {each["chain"] for each in shown} == {"soneium", "77"}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (SessionFilter(), 2),
        (SessionFilter(limit=1), 1),
        (SessionFilter(account=ACCOUNT), 1),
        (SessionFilter(account=STRANGER), 1),
        (SessionFilter(account=SMART_SESSION), 0),
        (SessionFilter(chain="soneium"), 2),
        (SessionFilter(chain="base"), 0),
        (SessionFilter(state="in_force"), 1),
        (SessionFilter(state="removed"), 1),
        (SessionFilter(state="pending"), 0),
        (SessionFilter(state=FROZEN), 0),
    ],
)
async def test_sessions_are_filtered_as_asked(office: Office, wanted: SessionFilter, count: int) -> None:
    other = key_of(TWICE)._replace(account=STRANGER)
    office.room.registry.put(known(TWICE, status=Status.REMOVED, key=other))
    assert len((await office.backend.list_sessions(wanted))["sessions"]) == count


async def test_the_newest_session_comes_first(office: Office) -> None:
    other = key_of(TWICE)._replace(account=STRANGER)
    office.room.registry.put(known(TWICE, key=other, updated_at=NOW + 1.0))
    shown = (await office.backend.list_sessions(SessionFilter()))["sessions"]
    assert [each["account"] for each in shown] == [print_checksummed(STRANGER), print_checksummed(ACCOUNT)]


# freezes


async def freezes(office: Office) -> list[dict[str, object]]:
    """The first page of them, which is all."""
    page = await office.backend.list_freezes(PageRequest())
    assert page["next"] is None
    return page["freezes"]  # type: ignore[return-value]  # JSON


async def test_freezes_are_listed_page_by_page(office: Office) -> None:
    for number in range(5):
        await office.backend.freeze(a_request(account=Address(number.to_bytes(20, "big"))))
    every, page = await freezes(office), PageRequest(limit=2)
    pages: list[Any] = []
    while True:
        told = await office.backend.list_freezes(page)
        pages.append(told["freezes"])
        if told["next"] is None:
            break
        page = PageRequest(2, int(told["next"]))
    assert [len(each) for each in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == every


async def test_a_freeze_holds_at_once_and_is_on_disk(office: Office) -> None:
    told = await office.backend.freeze(a_request(account=ACCOUNT, chain="soneium", note="lost phone"))
    assert told == {
        "permissionId": print_bytes(ID),
        "account": print_checksummed(ACCOUNT),
        "chain": "soneium",
        "since": NOW,
        "note": "lost phone",
    }
    assert await freezes(office) == [told]
    assert office.disk.freezes == list(office.room.registry.freezes)
    assert office.room.registry.freezes.on(key_of(TWICE)) is not None
    (shown,) = (await office.backend.list_sessions(SessionFilter(state=FROZEN)))["sessions"]
    assert shown["frozen"] == told


async def test_a_freeze_that_cannot_be_kept_holds_all_the_same_and_says_so(office: Office) -> None:
    office.disk.broken = True
    with pytest.raises(StateUnavailable):
        await office.backend.freeze(a_request())
    assert office.room.registry.freezes.on(key_of(TWICE)) is not None


async def test_lifting_a_freeze_lifts_it_here_and_on_disk(office: Office) -> None:
    await office.backend.freeze(a_request())
    assert await office.backend.unfreeze(ID, None, None) == 1
    assert await freezes(office) == []
    assert office.disk.freezes == []


async def test_only_the_freeze_of_that_account_or_chain_is_lifted(office: Office) -> None:
    await office.backend.freeze(a_request(account=ACCOUNT))
    await office.backend.freeze(a_request(chain="soneium"))
    assert await office.backend.unfreeze(ID, STRANGER, None) == 0
    assert await office.backend.unfreeze(ID, ACCOUNT, None) == 1
    (left,) = await freezes(office)
    assert (left["account"], left["chain"]) == (None, "soneium")


async def test_a_freeze_that_cannot_be_lifted_on_disk_stands(office: Office) -> None:
    await office.backend.freeze(a_request())
    office.disk.broken = True
    with pytest.raises(StateUnavailable):
        await office.backend.unfreeze(ID, None, None)
    assert len(await freezes(office)) == 1


async def test_a_failed_lifting_brings_back_nothing_but_what_it_lifted(office: Office) -> None:
    other = Hash32(b"\x02" * 32)
    await office.backend.freeze(a_request())
    await office.backend.freeze(FreezeRequest(permission_id=other))

    async def fail_after_another_was_lifted(_freezes: Sequence[Freeze]) -> None:
        office.room.registry.freezes.lift(other)
        raise StateUnavailable("the store could not be written")

    office.disk.drop_freezes = fail_after_another_was_lifted  # type: ignore[method-assign, assignment]  # happens meanwhile
    with pytest.raises(StateUnavailable):
        await office.backend.unfreeze(ID, None, None)
    assert [freeze.permission_id for freeze in office.room.registry.freezes] == [ID]


async def test_a_chain_that_is_not_served_cannot_be_frozen(office: Office) -> None:
    with pytest.raises(InvalidParams, match="soneium"):
        await office.backend.freeze(a_request(chain="base"))
    with pytest.raises(InvalidParams):
        await office.backend.unfreeze(ID, None, "base")
    assert not office.disk.freezes


# ready or not


async def test_it_is_ready_when_ledger_and_bundler_are(office: Office) -> None:
    checks = await office.backend.readiness()
    assert [(check.name, check.ok) for check in checks] == [("ledger", True), ("upstream soneium", True)]


async def test_a_ledger_that_takes_no_writes_is_not_ready(office: Office) -> None:
    office.disk.broken = True
    assert [check.ok for check in await office.backend.readiness()] == [False, True]


async def test_a_bundler_that_is_gone_is_not_ready_and_named_without_its_url(office: Office) -> None:
    await office.bundler.stop()
    await office.upstream.probe()
    _, upstream = await office.backend.readiness()
    assert not upstream.ok
    assert "soneium#0" in upstream.why
    assert "127.0.0.1" not in upstream.why


HEAD = Header(number=7, hash=Hash32(bytes(32)), parent=Hash32(bytes(32)), timestamp=0)


async def test_a_node_is_ready_when_its_newest_block_is_known_and_costs_nothing_to_look_at() -> None:
    now = 0.0
    age = ChainAge(lambda: now, bound=60)
    async with an_office(age) as office:
        check = (await office.backend.readiness())[-1]
        assert (check.name, check.ok, check.why) == ("node soneium", False, "nothing was heard of it yet")
        age.failed("the newest block: the node is of chain 1")
        assert (await office.backend.readiness("soneium"))[-1].why == "the newest block: the node is of chain 1"
        age.heard(HEAD)
        age.confirmed()
        check = (await office.backend.readiness("soneium"))[-1]
        assert (check.ok, check.why) == (True, "block 7, known as of 0 s ago")
        now = 61.0
        check = (await office.backend.readiness())[-1]
        assert (check.ok, check.why) == (False, "the chain's state: nothing was heard of it for 61 s")


async def test_a_chain_that_is_not_configured_cannot_be_ready(office: Office) -> None:
    with pytest.raises(InvalidParams, match="soneium"):
        await office.backend.readiness("minato")


# explain


async def test_explain_takes_the_only_chain_when_none_is_named(office: Office) -> None:
    told = await office.backend.explain(None, print_user_operation(GOOD), ENTRY_POINT)
    assert (told["verdict"], told["chain"], told["forward"]) == ("allow", "soneium", "none")
    assert len(office.room.ledger) == 0


async def test_explain_tells_why_not(office: Office) -> None:
    for number in (1, 2):
        await office.room.allowed(use(TWICE, single(transfer(1)), nonce=lane(number)))
    told = await office.backend.explain("soneium", print_user_operation(GOOD), ENTRY_POINT)
    assert (told["verdict"], told["reason"]) == ("reject", "limit_exceeded")


async def test_explain_names_the_chains_there_are(office: Office) -> None:
    with pytest.raises(InvalidParams, match="soneium"):
        await office.backend.explain("base", print_user_operation(GOOD), ENTRY_POINT)


# rules


async def test_rules_are_listed_with_the_mode_the_gate_leaves_them(office: Office) -> None:
    shown = await office.backend.list_rules(PageRequest())
    assert shown == {
        "digest": office.rules.ruleset.digest,
        "rules": [
            {
                "id": "burst",
                "description": "Not too many at once.",
                "mode": "enforce",
                "effectiveMode": "alert",
                "severity": "high",
                "tags": [],
                "place": f"{office.rules.ruleset.rules[0].place.path}:2",
                "hits": 0,
            }
        ],
        "next": None,
    }


async def test_rules_are_listed_page_by_page(office: Office) -> None:
    more = [RULE.partition("rules:\n")[2].replace("burst", f"burst-{number}") for number in range(4)]
    office.rule_file.write_text(RULE + "".join(more))
    assert (await office.backend.reload_rules())["ok"]
    pages: list[Any] = [await office.backend.list_rules(PageRequest(2, first)) for first in (0, 2, 4)]
    assert [page["next"] for page in pages] == ["2", "4", None]
    ids = [rule["id"] for page in pages for rule in page["rules"]]
    assert ids == ["burst", *(f"burst-{number}" for number in range(4))]
    assert {page["digest"] for page in pages} == {office.rules.ruleset.digest}


async def test_a_reload_tells_what_it_changed(office: Office) -> None:
    office.rule_file.write_text(RULE.replace("severity: high", "severity: low"))
    told = await office.backend.reload_rules()
    assert (told["ok"], told["faults"], told["digest"]) == (True, [], office.rules.ruleset.digest)
    assert told["difference"] == {
        "added": [],
        "removed": [],
        "changed": [
            {
                "rule": "burst",
                "countsAnew": False,
                "inherits": False,
                "fields": [{"field": "severity", "before": "high", "after": "low"}],
            }
        ],
        "tokens": [],
        "reordered": False,
    }


async def test_a_reload_of_faulty_files_tells_every_fault_and_what_stays_in_force(office: Office) -> None:
    before = office.rules.ruleset.digest
    office.rule_file.write_text(RULE.replace("limit:", "limt:"))
    told = await office.backend.reload_rules()
    assert (told["ok"], told["digest"]) == (False, before)
    (fault,) = cast(list[dict[str, Any]], told["faults"])
    assert (fault["line"], fault["column"]) == (7, 5)
    assert "limt" in fault["problem"]
    assert "limit" in fault["suggestion"]
