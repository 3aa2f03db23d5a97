"""Subscriptions over a WebSocket: the new heads that a chain's node tells the gate, told on to whoever subscribed."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Final

from proxy.errors import InvalidParams, InvalidRequest, MethodNotFound
from proxy.jsonrpc import Request, print_json
from proxy.methods import SUBSCRIBE, SUBSCRIPTIONS, no_subscriptions
from proxy.ports import FeedLine, RequestContext

MOST_OF_A_LINE: Final = 4
"""Subscriptions of one connection."""
_HEADS: Final = "newHeads"
_REFUSED: Final = {
    "logs": "the node would be asked anew for each caller; poll the node that you read from",
    "newPendingTransactions": "what others are about to send is told to nobody here",
    "syncing": "the gate leaves a node that does not keep up by itself",
}
"""What nodes, or SDKs, know besides, and why it is not relayed."""
_REMEMBERED: Final = 64
_LONGEST_HEAD: Final = 16_384
_HASH: Final = re.compile(r"0x[0-9a-f]{64}\Z")


class HeadFeed:
    """The new heads of one chain. However many subscribe, the node is asked for them once."""

    def __init__(self) -> None:
        self._names: dict[FeedLine, set[str]] = {}
        self._ids = count(1)
        self._told: OrderedDict[str, None] = OrderedDict()  # by several nodes the same head is told several times

    def __len__(self) -> int:
        """How many connections subscribe."""
        return len(self._names)

    def answers(self, *, shared: bool) -> dict[str, Callable[[Request, RequestContext], object]]:
        """What answers each method. Raise `RpcError`, always where the heads are not `shared`."""

        def answer(request: Request, context: RequestContext) -> object:
            if not shared:
                raise no_subscriptions(request.method)
            return self.answer(request.method, request.params, context.line)

        return dict.fromkeys(SUBSCRIPTIONS, answer)

    def answer(self, method: str, params: Sequence[object], line: FeedLine | None) -> object:
        """What a subscription is called, or whether there was one to end. Raises `RpcError`."""
        if line is None:
            raise MethodNotFound(f"{method} is served over a WebSocket only", data={"method": method})
        if method != SUBSCRIBE:
            return self._end(line, params[0])
        if (kind := params[0]) != _HEADS:
            why = _REFUSED.get(kind, "nothing else can be subscribed to here") if isinstance(kind, str) else ""
            raise InvalidParams("params[0]", f"wanted {_HEADS}{why and f': {why}'}")
        if len(params) > 1:
            raise InvalidParams("params[1]", f"{_HEADS} takes nothing more")
        if len(names := self._names.get(line, set())) >= MOST_OF_A_LINE:
            raise InvalidRequest(f"this connection has {MOST_OF_A_LINE} subscriptions; end one first")
        if line not in self._names:
            self._names[line] = names
            line.when_gone(partial(self._names.pop, line, None))
        names.add(name := hex(next(self._ids)))
        return name

    def _end(self, line: FeedLine, name: object) -> bool:
        names = self._names.get(line, set())
        if name not in names:
            return False
        names.discard(str(name))
        return True

    def tell(self, head: object) -> None:
        """A head that a node told; what is none, or was told before, goes nowhere."""
        name = head.get("hash") if isinstance(head, dict) else None
        if not isinstance(name, str) or _HASH.match(name) is None or name in self._told:
            return
        self._told[name] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        printed = print_json(head)
        if len(printed) > _LONGEST_HEAD:
            return
        for line, names in tuple(self._names.items()):
            for each in names:
                line.tell(
                    b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"%b","result":%b}}'
                    % (each.encode(), printed)
                )
