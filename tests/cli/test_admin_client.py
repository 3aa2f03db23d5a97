"""Whatever answers where a gate's admin listener should be, nothing of it is left behind."""

from __future__ import annotations

import gc
import socket
import warnings
from threading import Thread

import pytest

from proxy.cli.admin_client import AdminClient, NoGateError

CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def answer_once(listening: socket.socket, said: bytes) -> None:
    caller, _ = listening.accept()
    with caller:
        caller.recv(65_536)
        caller.sendall(said)


@pytest.mark.parametrize(
    "said",
    [
        CLOSED + b"Content-Length: 9\r\n\r\n{",
        CLOSED + b"Content-Length: 2\r\n\r\n[]",
        CLOSED + b"\r\nhello",
        b"SSH-2.0\r\n",
    ],
    ids=["broken off", "no object", "no JSON", "no HTTP"],
)
def test_an_answer_that_is_none_of_a_gate_leaves_no_connection_open(said: bytes) -> None:
    gc.collect()  # what others have left is not told of here
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            answering = Thread(target=answer_once, args=(listening, said))
            answering.start()
            with pytest.raises(NoGateError):
                AdminClient.at(f"http://127.0.0.1:{listening.getsockname()[1]}", None).get("/healthz")
            answering.join()
        gc.collect()
    assert [str(each.message) for each in told] == []
