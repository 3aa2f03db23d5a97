"""A listener speaks TLS, and takes a new certificate without being started again."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.edge.http.certificates import Certificates
from proxy.edge.http.listener import Transport
from proxy.edge.http.server import RpcServer
from tests.edge.http.corpus import JSON, post
from tests.edge.http.peers import SETTINGS, EchoGate


def issue(folder: Path, serial: int) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gate")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "gate.pem", folder / "gate.key"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


async def serial_seen(port: int) -> int:
    """Of the certificate that a new caller is shown; it is answered, too."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(post(fields=JSON + b"Connection: close\r\n"))
    assert (await reader.read()).endswith(b'"result":["echo","x"]}')
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.parametrize("transport", Transport)
async def test_a_new_certificate_is_shown_to_the_next_caller(transport: Transport, tmp_path: Path) -> None:
    certificates = Certificates(*issue(tmp_path, 1))
    gate = EchoGate()
    server = await RpcServer(gate.answer, replace(SETTINGS, transport=transport)).start(
        "127.0.0.1", 0, certificates.context
    )
    try:
        assert await serial_seen(server.port) == 1
        assert not certificates.look()
        issue(tmp_path, 2)
        assert certificates.look()
        assert await serial_seen(server.port) == 2
    finally:
        await server.stop()


def test_files_that_are_no_pair_change_nothing_and_are_looked_at_again(tmp_path: Path) -> None:
    certificate, key = issue(tmp_path, 1)
    certificates = Certificates(certificate, key)
    whole = key.read_bytes()
    issue(tmp_path, 2)
    newer = key.read_bytes()
    key.write_bytes(whole)
    assert not certificates.look()
    key.write_bytes(b"")
    assert not certificates.look()
    key.unlink()
    assert not certificates.look()
    key.write_bytes(newer)
    assert certificates.look()


def test_a_listener_without_a_usable_certificate_does_not_start(tmp_path: Path) -> None:
    certificate, key = issue(tmp_path, 1)
    key.write_bytes(b"none")
    with pytest.raises(OSError):  # noqa: PT011 - of any kind
        Certificates(certificate, key)
