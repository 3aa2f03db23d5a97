"""What is fuzzed: each target takes any bytes, and raises only when a promise is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from proxy.clients.keys import digest_of, key_in_segment, keys_in_query
from proxy.config import load_config
from proxy.edge.http.wire.fields import BrokenHttp
from proxy.edge.http.wire.heads import ReplyHead, RequestHead, read_reply_head, read_request_head
from proxy.edge.http.wire.reader import MessageReader, ReadBounds, ReaderStage, TooLongError
from proxy.errors import ConfigErrors, InvalidParams, RpcError, Undecodable
from proxy.jsonrpc import Batch, BodyLimits, NumberLiteral, Request, parse_body
from proxy.judge.parse.faults import SourceFile
from proxy.judge.parse.files import parse_rules
from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.strict_json import print_json
from proxy.userop.budget import Budget
from proxy.userop.decode import decode_operation
from proxy.userop.emissary import decode_emissary_envelope
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.fastlz import deflate, inflate
from proxy.userop.primitives import Address
from proxy.userop.signature import (
    decode_kernel_enable,
    decode_module_enable,
    decode_session_envelope,
    encode_session_envelope,
)
from proxy.userop.user_operation import UserOperation, parse_user_operation, print_user_operation

_NONCE: Final = int.from_bytes(SMART_SESSION, "big") << 64
_V07: Final = ENTRY_POINT_BY_VERSION[EntryPointVersion.V07]
_BOUNDS: Final = ReadBounds(head_bytes=4096, body_bytes=4096, chunks=64)


def json_rpc(data: bytes) -> None:
    """A body is read or refused; what was read prints as JSON that reads as the same."""
    with suppress(RpcError):
        parsed = parse_body(data, BodyLimits())
        for item in parsed.items if isinstance(parsed, Batch) else [parsed.item]:
            if isinstance(item, Request):
                # a number is kept as it was written
                read = json.loads(print_json(item.params), parse_int=NumberLiteral, parse_float=NumberLiteral)
                assert read == item.params


def user_operation(data: bytes) -> None:
    """An operation is read or refused; what is printed of it reads as the same one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    for version in EntryPointVersion:
        with suppress(InvalidParams):
            op = parse_user_operation(value, version)
            assert parse_user_operation(print_user_operation(op), version) == op


def envelope(data: bytes) -> None:
    """Every kind of signature is read or refused; a session's is read back as it was read."""
    for decode in (decode_emissary_envelope, decode_kernel_enable):
        with suppress(Undecodable):
            decode(data, Budget())
    with suppress(Undecodable):
        decode_module_enable(data)
    with suppress(Undecodable):
        read = decode_session_envelope(data, Budget())
        assert decode_session_envelope(encode_session_envelope(read), Budget()) == read


def fastlz(data: bytes) -> None:
    """A stream is unpacked or refused; what is packed here comes out as it was."""
    with suppress(Undecodable):
        inflate(data, Budget())
    assert inflate(deflate(data)) == data


def call_data(data: bytes) -> None:
    """Call data and signature of an operation, a session's and an owner's: decoded within one budget, or refused."""
    split = int.from_bytes(data[:2], "big") % (len(data) + 1)
    base = UserOperation(sender=Address(b"\x11" * 20), nonce=_NONCE, call_data=data[split:], signature=data[2:split])
    for op in (base, replace(base, nonce=0)):
        with suppress(Undecodable):
            decode_operation(op, _V07, 1868, SESSION_MODULES, preview=True)


def rules(data: bytes) -> None:
    """A file of rules is read, or its faults are told."""
    text = data.decode("utf-8", "replace")
    parse_rules(
        [SourceFile("rules.yaml", text)], [SourceFile("tokens.yaml", text)], chains={"soneium": 1868}, clients=None
    )


def settings(data: bytes) -> None:
    """A file of settings is read, or its faults are told."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sessiongate.yaml"
        path.write_bytes(data)
        with suppress(ConfigErrors):
            load_config(path, {})


def http(data: bytes) -> None:
    """Requests, and replies to ours, are read alike however the network cuts them."""
    third = len(data) // 3
    pieces = [data[:third], data[third : 2 * third], data[2 * third :]]
    assert _messages(read_request_head, pieces) == _messages(read_request_head, [data])
    assert _messages(read_reply_head, pieces) == _messages(read_reply_head, [data])


def url_key(data: bytes) -> None:
    """What stands in a URL where a key may is read, whatever it is."""
    text = data.decode("latin-1")
    for key in (key_in_segment(text), *keys_in_query(text)):
        assert len(digest_of(key)) == 32


def _messages(read_head: Callable[[bytes], RequestHead] | Callable[[bytes], ReplyHead], pieces: list[bytes]) -> object:
    reader: MessageReader[RequestHead | ReplyHead] = MessageReader(read_head, _BOUNDS)
    found: list[object] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while reader.advance() is ReaderStage.COMPLETE:
                head, body = reader.take()
                said = (head.method, head.target) if isinstance(head, RequestHead) else (head.status, head.plain)
                found.append((*said, head.length, head.last, tuple(head.fields.items()), bytes(body)))
        reader.feed_end()
        found.append(reader.advance())
    except (BrokenHttp, TooLongError) as error:
        found.append(type(error))
    return found


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (json_rpc, user_operation, envelope, fastlz, call_data, rules, settings, http, url_key)
}
HERE: Final = Path(__file__).parent


def kept(target: str) -> list[Path]:
    """What was found worth keeping, and what once broke it."""
    return sorted(path for kind in ("corpus", "crashes") for path in (HERE / kind / target).glob("*"))
