"""A million sessions in little memory: those used lately as they are, the others packed.

A packed session is what the store writes of it, compressed; it is unpacked when it is asked for. So what is known does
not shrink with its size, and the cost of using a session does not grow with how many there are.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import orjson

from proxy.errors import StateUnavailable
from proxy.session.codec import state_from_json, state_to_json
from proxy.session.counters import SessionKey
from proxy.session.directory import StandsSince
from proxy.session.known import KnownSession, Source, Status
from proxy.userop.primitives import Address, Hash32, print_bytes

MOST_UNPACKED: Final = 4_096
_MOST_SHAPES: Final = 1_024
_LEVEL: Final = 3
"""Of compression: half the work of level 6, a tenth more bytes. What is changed is packed again and again."""

# what the text of every state has in common: zlib finds it there and writes a reference
_COMMON: Final = (
    b'{"type":"arg","value":"0x0","rules":[["type":"targets","allowed":[],"refused":[],"complete":true'
    b'{"type":"gas","gas":"0x","cost":"0x"{"type":"value","limit":"0x"{"type":"time","until":"0x","after":"0x"'
    b'{"type":"usage","limit":"0x"{"type":"spending","limits":{"0x"},"complete":true{"type":"sudo"}}'
    b'{"key":{"chainId":"0x","module":"0x00000000008bdaba73cd9815d79069c247eb4bda","account":"0x","permissionId":"0x'
    b'"},"status":"enabled","validator":"0x000000000013fdb5234e4e3162a810f54d9f7e98","validatorInitData":"0x'
    b"0000000000000000000000000000000000000000000000000000000000000001"
    b"0000000000000000000000000000000000000000000000000000000000000040"
    b'","userOpPolicies":["0x"],"actions":[{"id":"0x","policies":["0x"]}],"erc1271Policies":[],"permitsPaymaster":false'
    b',"enableNonce":"0x1","configs":[{"policy":"0x","id":"0x","config":{"type":"used":[{"policy":"0x","id":"0x","slot"'
    b':"0x","used":"0x"}],"targets":[{"id":"0x","target":"0x","selector":"0xa9059cbb"}]}'
)


class PackedSession(NamedTuple):
    """The fields of `KnownSession` but its key. `state` is JSON text, compressed where there is a `dictionary`."""

    status: Status
    source: Source
    updated_at: float
    granted_by: Hash32 | None
    block: int | None
    state: bytes | None
    dictionary: bytes | None = None
    since: float | None = None


def _text_of(packed: PackedSession) -> bytes:
    if packed.dictionary is None or packed.state is None:
        return packed.state or b""
    unpacking = zlib.decompressobj(wbits=-15, zdict=packed.dictionary)
    return unpacking.decompress(packed.state) + unpacking.flush()


def _unpack(key: SessionKey, packed: PackedSession) -> KnownSession:
    state = None
    if packed.state is not None:
        try:
            state = state_from_json(orjson.loads(_text_of(packed)))
        except (ValueError, zlib.error) as error:
            what = f"what is stored of session {print_bytes(key.permission_id)} cannot be read"
            raise StateUnavailable(f"{what} ({type(error).__name__})", fact="ledger") from error
    return KnownSession(
        key=key,
        status=packed.status,
        source=packed.source,
        updated_at=packed.updated_at,
        state=state,
        granted_by=packed.granted_by,
        block=packed.block,
        since=packed.since,
    )


def _stored(known: KnownSession) -> PackedSession:
    state = None if known.state is None else orjson.dumps(state_to_json(known.state))
    fields = (known.status, known.source, known.updated_at, known.granted_by, known.block, state)
    return PackedSession(*fields, since=known.since)


class _Press:
    """Compresses the text of states. Sessions of one dapp are alike: the first of a shape is the dictionary of all."""

    def __init__(self) -> None:
        self._dictionaries: dict[bytes, bytes] = {}

    def pack(self, packed: PackedSession) -> PackedSession:
        """The same with its state compressed."""
        text = packed.state
        if text is None or packed.dictionary is not None:
            return packed
        # its actions with their policies: nothing else in it is long and the same in many sessions
        shape = text[text.find(b'"actions"') : text.find(b'"erc1271Policies"')]
        dictionary = self._dictionaries.get(shape)
        if dictionary is None:
            dictionary = _COMMON + text
            if len(self._dictionaries) < _MOST_SHAPES:
                self._dictionaries[shape] = dictionary
            else:
                dictionary = _COMMON
        packing = zlib.compressobj(level=_LEVEL, wbits=-15, zdict=dictionary)
        return packed._replace(state=packing.compress(text) + packing.flush(), dictionary=dictionary)


class Shelf:
    """Sessions by key. What `get` returns stays the same object for as long as it is one of those used lately."""

    def __init__(self, most_unpacked: int = MOST_UNPACKED) -> None:
        self._most_unpacked = most_unpacked
        self._unpacked: OrderedDict[SessionKey, KnownSession] = OrderedDict()
        self._packed: dict[SessionKey, PackedSession] = {}  # also of those unpacked, until they are changed
        self._changed: set[SessionKey] = set()  # unpacked, and not packed as they are now
        self._modules: dict[Address, Address] = {}
        self._press = _Press()

    def __len__(self) -> int:
        return len(self._packed) + len(self._changed)

    def __iter__(self) -> Iterator[KnownSession]:
        """Every session, unpacked while it is looked at."""
        for key in self.keys():
            known = self._unpacked.get(key)
            packed = self._packed.get(key)
            if known is not None:
                yield known
            elif packed is not None:
                yield _unpack(key, packed)

    def keys(self) -> Iterator[SessionKey]:
        """The name of every session."""
        yield from tuple(self._changed)
        yield from tuple(self._packed)

    def status_of(self, key: SessionKey) -> Status | None:
        """Where a session stands; `None` when it is not here."""
        known: KnownSession | PackedSession | None = self._unpacked.get(key) or self._packed.get(key)
        return None if known is None else known.status

    def block_of(self, key: SessionKey) -> int | None:
        """At which block a session was read, or told of; `None` when that is not known."""
        known: KnownSession | PackedSession | None = self._unpacked.get(key) or self._packed.get(key)
        return None if known is None else known.block

    def standing_of(self, key: SessionKey) -> StandsSince | None:
        """The same, and since when."""
        known: KnownSession | PackedSession | None = self._unpacked.get(key) or self._packed.get(key)
        return None if known is None else StandsSince(known.status, known.updated_at)

    def get(self, key: SessionKey) -> KnownSession | None:
        """The session, or `None`. Raises `StateUnavailable` for one that was stored and cannot be read."""
        known = self._unpacked.get(key)
        if known is not None:
            self._unpacked.move_to_end(key)
            return known
        packed = self._packed.get(key)
        if packed is None:
            return None
        known = _unpack(key, packed)
        self._unpacked[key] = known
        self._pack_oldest()
        return known

    def peek(self, key: SessionKey) -> KnownSession | None:
        """The same for a look in passing, which does not make it one of those used lately."""
        known = self._unpacked.get(key)
        packed = self._packed.get(key)
        return known if known is not None or packed is None else _unpack(key, packed)

    def put(self, known: KnownSession) -> None:
        """Keep this session, in place of what was kept of it."""
        key = known.key
        self._packed.pop(key, None)
        self._changed.add(key)
        self._unpacked[key] = known
        self._unpacked.move_to_end(key)
        self._pack_oldest()

    def forget_block(self, key: SessionKey) -> None:
        """At which block a session was read is not known any more. Cheap, without looking into it."""
        known, packed = self._unpacked.get(key), self._packed.get(key)
        if known is not None and known.block is not None:
            self._unpacked[key] = replace(known, block=None)
        if packed is not None and packed.block is not None:
            self._packed[key] = packed._replace(block=None)

    def put_packed(self, key: SessionKey, packed: PackedSession) -> SessionKey:
        """Keep a session as it was stored, and was not here before. Returns its name as it is kept here."""
        # sessions have few modules between them
        key = SessionKey(key.chain_id, self._modules.setdefault(key.module, key.module), key.account, key.permission_id)
        self._packed[key] = self._press.pack(packed)
        return key

    def remove(self, key: SessionKey) -> None:
        """Forget a session."""
        self._packed.pop(key, None)
        self._unpacked.pop(key, None)
        self._changed.discard(key)

    def _pack_oldest(self) -> None:
        while len(self._unpacked) > self._most_unpacked:
            key, known = self._unpacked.popitem(last=False)
            if key in self._changed:
                self._packed[key] = self._press.pack(_stored(known))
                self._changed.discard(key)
