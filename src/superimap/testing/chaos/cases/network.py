"""Cases on the way to a mail server: invalid certificates, dead addresses."""

from __future__ import annotations

import socket
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from superimap.testing.chaos.case import ArmedCase, case

DEAD_ADDRESSES = ("127.255.255.254", "127.255.255.253", "127.255.255.252")
"""Addresses of this machine on which nothing listens."""


def bad_context(*, host: str = "localhost", expired: bool = False) -> ssl.SSLContext:
    """Return a server's TLS context with a self-signed certificate for `host`, optionally expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=-1 if expired else 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads certificates only from files
        path = Path(folder) / "server.pem"
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    return context


def _serving(arm: ArmedCase, context: ssl.SSLContext) -> None:
    """Serve with this context from the next connection on; disarming the case restores the previous one."""
    server, before = arm.server, arm.server.tls

    async def again() -> None:
        await server.refuse()
        await server.listen()

    def change(tls: ssl.SSLContext | None) -> None:
        server.tls = tls
        if server.is_listening:
            server.spawn(again())

    change(arm.option("context", None) or context)
    arm.undo(lambda: change(before))


@case("C34 certificate self-signed")
def certificate_self_signed(arm: ArmedCase) -> None:
    """TLS from the first byte, with a self-signed certificate (or with `context`)."""
    _serving(arm, bad_context())


@case("C34 certificate expired")
def certificate_expired(arm: ArmedCase) -> None:
    """TLS from the first byte, with a certificate that has expired (or with `context`)."""
    _serving(arm, bad_context(expired=True))


@case("C34 certificate of another host")
def certificate_of_another_host(arm: ArmedCase) -> None:
    """TLS from the first byte, with the certificate of another host (or with `context`)."""
    _serving(arm, bad_context(host="elsewhere.example.com"))


@case("C35 dead addresses first")
def dead_addresses_first(arm: ArmedCase) -> None:
    """`host` (mail.example.com) resolves to three dead addresses before the server's, in this process."""
    server = arm.server
    host, usual = str(arm.option("host", "mail.example.com")), socket.getaddrinfo

    def getaddrinfo(name: Any, port: Any, *more: Any, **keywords: Any) -> Any:
        if name != host:
            return usual(name, port, *more, **keywords)
        addresses = [(address, server.port) for address in (*DEAD_ADDRESSES, server.host)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    vars(socket)["getaddrinfo"] = getaddrinfo
    arm.undo(lambda: vars(socket).update(getaddrinfo=usual))
