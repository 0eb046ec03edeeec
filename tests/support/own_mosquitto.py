"""A Mosquitto of a test's own: certificates, rights per device, killed and started at will."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dispatch.channels.mqtt_loop import Broker, TlsFiles
from dispatch.channels.topics import access_rules

MARKET = "market"


@dataclass(slots=True)
class Authority:
    """Signs certificates for one folder of PEM files."""

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        self._write(self.name, self.key, authority=True)

    def issue(self, name: str) -> None:
        """Write ``<name>.pem`` and ``<name>.key``."""
        self._write(name, ec.generate_private_key(ec.SECP256R1()), authority=False)

    def files(self, name: str) -> TlsFiles:
        return TlsFiles(
            authority=self.folder / f"{self.name}.pem",
            certificate=self.folder / f"{name}.pem",
            key=self.folder / f"{name}.key",
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> None:
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        (self.folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / f"{name}.key").write_bytes(secret)


@dataclass(slots=True)
class OwnMosquitto:
    """A broker that speaks TLS, asks for certificates and keeps devices in their topics."""

    program: str
    folder: Path
    port: int
    authority: Authority
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        for _ in range(500):
            if self.process.poll() is not None:
                break
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError(f"mosquitto does not answer: {(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        """Stop it as a power failure would: what it kept in memory is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)
        self.process = None

    def broker(self, name: str) -> Broker:
        """Return how the owner of a certificate reaches it."""
        return Broker.of_url(f"mqtts://127.0.0.1:{self.port}", self.authority.files(name))


@contextmanager
def own_mosquitto(
    folder: Path, program: str, root: str, devices: Sequence[str]
) -> Iterator[OwnMosquitto]:
    """Run a broker with rights for the market and for each device."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.chmod(0o755)
    authority = Authority(folder)
    for name in ("broker", MARKET, *devices):
        authority.issue(name)
    (folder / "rights").write_text(access_rules(MARKET, root=root))
    lines = [
        f"listener {port} 127.0.0.1",
        f"cafile {folder / 'authority.pem'}",
        f"certfile {folder / 'broker.pem'}",
        f"keyfile {folder / 'broker.key'}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {folder / 'rights'}",
        "allow_anonymous false",
        "persistence false",
        "max_inflight_messages 100",
    ]
    if os.geteuid() == 0:
        lines.append("user root")
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    broker = OwnMosquitto(program=program, folder=folder, port=port, authority=authority)
    broker.start()
    try:
        yield broker
    finally:
        if broker.process is not None:
            broker.kill()
