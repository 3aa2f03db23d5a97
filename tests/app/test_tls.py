"""Both listeners speak TLS where the settings say so."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from proxy.app import listening
from tests.bypass_list.desk import CHAIN_ID
from tests.edge.http.corpus import JSON, post
from tests.edge.http.test_certificates import issue
from tests.patience import patiently
from tests.running_gate import running_gate


async def _told(port: int, request: bytes) -> bytes:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_dapps_and_operators_reach_a_gate_over_tls(tmp_path: Path) -> None:
    certificate, key = (str(file) for file in issue(tmp_path, 1))
    tls = {"certificate": certificate, "key": key}
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    async with running_gate(tls=tls, admin_tls=tls) as gate:
        asked = post(body, JSON + b"Connection: close\r\n", b"POST / HTTP/1.1")
        assert hex(CHAIN_ID).encode() in await _told(gate.running.rpc_port, asked)
        looked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        assert b" 200 " in (await _told(gate.running.admin_port, looked)).partition(b"\r\n")[0]


async def _serial_shown(port: int) -> int:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_a_gate_that_runs_takes_new_certificates_on_both_listeners_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_CERTIFICATE_SECONDS", 0.01)
    certificate, key = (str(file) for file in issue(tmp_path, 1))
    tls = {"certificate": certificate, "key": key}
    async with running_gate(tls=tls, admin_tls=tls) as gate:
        ports = gate.running.rpc_port, gate.running.admin_port
        assert [await _serial_shown(port) for port in ports] == [1, 1]
        issue(tmp_path, 2)
        shown = []
        for _ in patiently():
            shown = [await _serial_shown(port) for port in ports]
            if shown == [2, 2]:
                break
            await asyncio.sleep(0.01)
        assert shown == [2, 2]
