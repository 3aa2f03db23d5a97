"""Recipes for costly requests: who signs an operation and what it calls, so that it can be changed and signed anew."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any, Final, NamedTuple

from proxy.session.emissary_grant import emissary_session_digest
from proxy.userop import fastlz
from proxy.userop.arguments import selector
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.execution import EXECUTE_USER_OP, Call
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.primitives import Address
from proxy.userop.session_abi import SESSION, encode_sessions
from proxy.userop.session_data import ActionData, ChainDigest, PolicyData, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.transfers_tokens import TOKEN_READERS
from proxy.userop.user_operation import UserOperation
from proxy.userop.wrappers import WRAPPERS
from tests.admission.builders import enabling
from tests.bypass_list.desk import (
    CHAIN_ID,
    MODULE,
    STRANGERS_KEY,
    a_session,
    an_operation,
    batch,
    session_signature,
    single,
    use,
)
from tests.cost.bodies import by_owner, carrying, execute, many_of, multicall
from tests.cost.counter import SESSIONS
from tests.cost.modules import NAMED_ID
from tests.cost.rule_sets import FIRST_TARGET
from tests.session.builders import (
    ACCOUNT,
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    arg,
    node,
    rule,
    sudo,
    time_frame,
    transfer,
    word,
)
from tests.session.declared_modules import CREATE, GRANT_LIST, NAMED, PLAIN, call_of
from tests.session.signing import nonce_at, signed
from tests.userop.builders import an_emissary_enable

MOST_BYTES: Final = 240_000
"""Call data of a body that the gate still reads."""

_MOST_NONCES: Final = 16
"""So many enable nonces are tried where no node can tell the right one."""

SIGNERS: Final = (
    *("session 0", "session 1", "session 2", "session 3", "owner", "stranger", "grant", "raw grant"),
    *("declared", "named", "emissary grant", "nobody", "owner's grant"),
)
METHODS: Final = (
    *("eth_sendUserOperation", "eth_estimateUserOperationGas", "pimlico_sendUserOperationNow"),
    *("pm_getPaymasterStubData", "pm_sponsorUserOperation", "zd_sponsorUserOperation"),
)
"""What carries an operation, in the shapes that there are."""


class GrantShape(NamedTuple):
    """How much there is in a grant that comes along: actions, policies of each, and steps of one's expression; policies
    of the whole session besides."""

    actions: int
    policies: int
    steps: int
    general: int


A_FEW: Final = GrantShape(actions=5, policies=2, steps=20, general=1)


@dataclass(frozen=True)
class Recipe:
    """Who signs (`SIGNERS`), what is called, what an account is born with, and what else the signature holds; by which
    method it comes, and how large its grant is, if it brings one."""

    signer: str
    call_data: bytes
    factory_data: bytes = b""
    extra: bytes = b""
    copies: int = 1
    method: str = METHODS[0]
    grant: GrantShape = A_FEW

    def body(self) -> bytes:
        """The request, signed."""
        one = carrying(self._operation(), self.method)
        return one if self.copies == 1 else b"[" + b",".join([one] * self.copies) + b"]"

    def _operation(self) -> UserOperation:
        born = {"factory": STRANGER, "factory_data": self.factory_data} if self.factory_data else {}
        if self.signer.startswith("session"):
            op = use(SESSIONS[int(self.signer[-1])], self.call_data, **born)
            return replace(op, signature=op.signature + self.extra)
        if self.signer == "stranger":
            return use(SESSIONS[0], self.call_data, key=STRANGERS_KEY, **born)
        if self.signer == "grant":
            return enabling(
                _wide_grant(self.grant),
                self.call_data,
                enable_nonce=_MOST_NONCES - 1,
                owner=b"\x05" * 65 + self.extra,
                **born,
            )
        if self.signer == "emissary grant":
            return self._by_emissary(born)
        if self.signer in ("declared", "named"):
            return self._at_declared(born)
        if self.signer == "owner's grant":
            return by_owner(self.call_data, signature=b"\x01" + (self.extra or b"\0A"), **born)
        if self.signer == "nobody":
            return an_operation(self.call_data, signature=self.extra, **born)
        if self.signer == "raw grant":
            op = use(SESSIONS[0], self.call_data, **born)
            return replace(op, signature=b"\x01" + (self.extra or b"\0A"))
        return by_owner(self.call_data, signature=b"\x0e" * 65 + self.extra, **born)

    def _at_declared(self, born: dict[str, Any]) -> UserOperation:
        if self.signer == "declared":
            op = an_operation(self.call_data, nonce=nonce_at(PLAIN), **born)
            return signed(op, MESSAGE_KEY)
        op = an_operation(self.call_data, nonce=nonce_at(NAMED), **born)
        return signed(op, PLAIN_KEY, before=b"\0" + NAMED_ID)

    def _by_emissary(self, born: dict[str, Any]) -> UserOperation:
        owner = b"\x0e" * 65 + self.extra
        grant = an_emissary_enable(_wide_grant(self.grant), user_signature=owner, chain_digest_index=0)
        digest = emissary_session_digest(grant, account=ACCOUNT, emissary=EMISSARY, nonce=_MOST_NONCES - 1)
        grant = replace(grant, digests=(ChainDigest(CHAIN_ID, digest),))
        op = an_operation(self.call_data, nonce=nonce_at(EMISSARY), **born)
        envelope = SessionEnvelope(
            mode=SessionMode.ENABLE,
            permission_id=grant.session.permission_id,
            signature=session_signature(op),
            enable=grant,
        )
        return replace(op, signature=encode_session_envelope(envelope))

    def pack(self) -> bytes:
        """For a file."""
        fields = {
            "method": self.method,
            "grant": self.grant,
            "signer": self.signer,
            "callData": self.call_data.hex(),
            "factoryData": self.factory_data.hex(),
            "extra": self.extra.hex(),
            "copies": self.copies,
        }
        return gzip.compress(json.dumps(fields).encode(), mtime=0)


def unpack(packed: bytes) -> Recipe:
    """The inverse of `Recipe.pack`."""
    fields = json.loads(gzip.decompress(packed))
    return Recipe(
        fields["signer"],
        bytes.fromhex(fields["callData"]),
        bytes.fromhex(fields["factoryData"]),
        bytes.fromhex(fields["extra"]),
        fields["copies"],
        fields["method"],
        GrantShape(*fields["grant"]),
    )


@lru_cache(maxsize=64)
def _wide_grant(shape: GrantShape) -> SessionData:
    """A session of many actions, each under policies of which one has an expression of its own."""
    levels = [node("or", left=level, right=level) for level in range(shape.steps)]
    tree = arg([rule(0, 0, 1)] * 8, [node("rule"), *levels], root=shape.steps)
    policies = ((sudo,) * shape.policies)[: max(shape.policies - 1, 0)] + ((tree,) if shape.policies else ())
    actions = [action(TOKEN, TRANSFER, sudo)]
    actions += [ActionData(TRANSFER, Address(word(number + 1)[12:]), policies) for number in range(shape.actions)]
    general = [time_frame(10**10)] * shape.general
    return a_session(*actions, user_op=general, salt=91)


_ENABLE_SESSIONS: Final = selector(f"enableSessions({SESSION.name}[])")
_GRANTS: Final = _ENABLE_SESSIONS + encode_sessions(
    [a_session(action(TOKEN, TRANSFER, PolicyData(policy.policy, policy.init_data))) for policy in (sudo,)]
)
_LEAVES: Final[tuple[Callable[[], bytes], ...]] = (
    lambda: transfer(1).data,
    lambda: b"",
    lambda: _GRANTS,
    lambda: selector("removeSession(bytes32)") + bytes(32),
    lambda: (
        selector("installModule(uint256,address,bytes)") + word(1) + word(MODULE) + word(0x60) + word(1) + word(b"\x01")
    ),
    lambda: selector("onInstall(bytes)") + word(0x20) + word(0),
    lambda: selector("initializeAccount(bytes)") + word(MODULE) * 20,
    lambda: call_of(CREATE, STRANGER, TOKEN, TRANSFER, 0, 10**6, 0).data,
    lambda: _listed(1),
    lambda: _listed(128),
)
_TARGETS: Final = (TOKEN, ACCOUNT, MODULE, STRANGER, PLAIN, NAMED, EMISSARY)


def _listed(calls: int) -> bytes:
    """A grant at a declared module of so many calls, all of them one."""
    return call_of(GRANT_LIST, 10**6, bytes(32), [(TRANSFER, TOKEN, 0)] * calls, 1, 0, STRANGER).data


def seeds() -> list[Recipe]:
    """Where the search begins."""
    calls = [single(transfer(1)), execute(many_of(transfer(1), 60)), EXECUTE_USER_OP + single(transfer(1)), _GRANTS]
    own = [Recipe(signer, data) for signer in SIGNERS for data in calls]
    return own + [Recipe(signer, calls[0], method=method) for signer in SIGNERS[-7:] for method in METHODS[1:]]


def changed(recipe: Recipe, others: Sequence[Recipe], random: Random) -> Recipe:
    """The recipe with one thing about it changed, at random."""
    way = random.choice(
        (
            *(_wrapped, _wrapped, _wrapped, _leaf, _word, _word, _grown, _spliced),
            *(_signed, _signed, _born, _more, _batched, _spread, _spread, _granted, _granted),
            *(_asked, _brought, _brought),
        )
    )
    after = way(recipe, others, random)
    return after if len(after.call_data) <= MOST_BYTES and len(after.extra) <= 60_000 else recipe


def _wrapped(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    times = random.choice((1, 2, 9, 40, 120, 256, 512))
    target = random.choice(_TARGETS)
    inner = Call(target, random.choice((0, 1)), recipe.call_data)
    token = random.choice(list(TOKEN_READERS))
    wrapper = random.choice(WRAPPERS)
    makers: list[Callable[[], bytes]] = [
        lambda: execute(many_of(inner, times)),
        lambda: execute(many_of(inner, times), random.choice((b"\x01\x00\0\0\0\0\x78\x21\x00\x02", b"\xff", b"\x00"))),
        lambda: single(inner),
        lambda: multicall(recipe.call_data, times),
        lambda: EXECUTE_USER_OP + recipe.call_data,
        lambda: token + recipe.call_data,
        lambda: wrapper.selector + many_of(inner, times),
        lambda: selector("aggregate((address,bytes)[])") + _aggregate(inner, times),
    ]
    return replace(recipe, call_data=random.choice(makers)())


def _aggregate(call: Call, times: int) -> bytes:
    item = word(call.target) + word(0x40) + word(len(call.data)) + call.data
    return word(0x20) + word(times) + word(32 * times) * times + item


def _leaf(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    call = Call(random.choice(_TARGETS), 0, random.choice(_LEAVES)())
    return replace(recipe, call_data=execute(many_of(call, random.choice((1, 20, 300, 512)))))


def _spread(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """Many calls of which none is like another: to other contracts, of other value, paying others."""
    times = random.choice((2, 20, 100, 250, 300, 400))
    calls = random.choice(
        (
            lambda number: Call(_numbered(number), number, b""),
            lambda number: Call(_numbered(number), 0, transfer(number).data),
            lambda number: transfer(number, to=_numbered(number)),
            lambda number: Call(_numbered(number), 1, TRANSFER + word(_numbered(number)) + word(number)),
        )
    )
    return replace(recipe, call_data=batch(*(calls(number) for number in range(times))))


def _numbered(number: int) -> Address:
    return Address(word(FIRST_TARGET + number)[12:])


def _granted(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """Sessions granted by a call to the module: many small ones, or few with much to review."""
    nodes = random.choice((1, 4, 30, 120))
    kind = random.choice(("and", "or"))
    rules = [rule(0, 32 * number, 1) for number in range(min(nodes + 1, 60))]
    leaves = [node("rule", index=number) for number in range(len(rules))]
    chain = [node(kind, left=random.randrange(len(leaves)), right=random.randrange(len(leaves)))]
    chain += [node(kind, left=len(leaves) + number, right=number % len(leaves)) for number in range(nodes)]
    policy = random.choice((sudo, arg(rules, [*leaves, *chain], root=len(leaves) + nodes)))
    policies = (policy,) * random.choice((0, 1, 3))
    actions = [ActionData(TRANSFER, _numbered(number), policies) for number in range(random.choice((1, 5, 20, 100)))]
    general = [PolicyData(_numbered(number), b"") for number in range(random.choice((0, 0, 40, 150)))]
    grants = [a_session(*actions, user_op=general, salt=92)] * random.choice((1, 1, 5, 30))
    return replace(recipe, call_data=single(Call(MODULE, 0, _ENABLE_SESSIONS + encode_sessions(grants))))


def _word(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """One word of the call data set to a small number, often a length or an offset."""
    data = bytearray(recipe.call_data)
    if len(data) < 36:
        return recipe
    at = 4 + 32 * random.randrange((len(data) - 4) // 32)
    data[at : at + 32] = word(
        random.choice((0, 1, 32, 64, 96, 256, 512, 1024, len(data) - 4, random.randrange(1, 4096)))
    )
    return replace(recipe, call_data=bytes(data))


def _grown(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """A piece of the call data written several times over."""
    data = recipe.call_data
    start = random.randrange(len(data) + 1)
    piece = data[start : start + 32 * random.randrange(1, 20)]
    return replace(recipe, call_data=data[:start] + piece * random.choice((2, 8, 64)) + data[start:])


def _spliced(recipe: Recipe, others: Sequence[Recipe], random: Random) -> Recipe:
    other = random.choice(others).call_data
    at, start = random.randrange(len(recipe.call_data) + 1), random.randrange(len(other) + 1)
    return replace(recipe, call_data=recipe.call_data[:at] + other[start:])


def _signed(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    return replace(recipe, signer=random.choice(SIGNERS))


def _asked(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    return replace(recipe, method=random.choice(METHODS))


def _brought(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """Another size of the grant that comes along."""
    shape = GrantShape(
        random.choice((0, 1, 5, 20, 60, 100, 400)),
        random.choice((0, 1, 2, 5, 20, 60)),
        random.choice((0, 3, 40, 120)),
        random.choice((0, 0, 10, 100, 1_000)),
    )
    signer = recipe.signer if "grant" in recipe.signer else random.choice(("grant", "emissary grant"))
    return replace(recipe, grant=shape, signer=signer) if shape.actions * shape.policies <= 600 else recipe


def _born(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """What a factory is handed: addresses of the module, and grants behind some."""
    mention = word(MODULE) + word(0x40) + word(0)
    data = b"".join(
        random.choice((mention, word(MODULE), _GRANTS, word(0x60))) for _ in range(random.choice((1, 5, 40)))
    )
    return replace(recipe, factory_data=data if random.random() < 0.7 else b"")


def _more(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    """More behind the signature: more signatures, a stream of short runs, one that inflates, words of an encoding."""
    extra = random.choice(
        (
            b"\x1b" * 65 * random.choice((1, 8, 64, 500)),
            b"\0A" * random.choice((100, 3_000, 30_000)),
            fastlz.deflate(word(0x20) * random.choice((10, 500, 2_000))),
            b"".join(word(random.choice((0x20, 0x40, 1, 300))) for _ in range(random.choice((10, 400)))),
            b"",
        )
    )
    return replace(recipe, extra=extra)


def _batched(recipe: Recipe, _others: Sequence[Recipe], random: Random) -> Recipe:
    copies = random.choice((1, 1, 1, 50))
    return replace(recipe, copies=copies if len(recipe.call_data) * copies < MOST_BYTES // 2 else 1)
