"""A PostgreSQL as an operator has one: its own server on TCP, set up by `deploy/roles.sql`, with or without TLS."""

import datetime
import ipaddress
import os
import re
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.harness import free_port
from bench.processes import ROOT
from broker.db.embedded.binaries import find_binaries
from broker.db.embedded.users import find_account, in_passwd, run_in, stand_in

OWNER, APP = "owner-" + "o" * 24, "app-" + "a" * 24


@dataclass(frozen=True)
class Program:
    """The folder of one PostgreSQL's programs."""

    bin: Path
    major: int
    tls: bool


def programs() -> list[Program]:
    """Every PostgreSQL on this machine that is supported: Debian's, and those inside the wheel."""
    bundled = find_binaries(None).bin.parents[1]
    found: dict[int, Program] = {}
    for folder in [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *sorted(bundled.glob("pginstall*/bin"))]:
        if not (folder / "postgres").is_file():
            continue
        told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        major = int(re.search(r"\(PostgreSQL\) (\d+)", told)[1])  # type: ignore[index]
        flags = subprocess.run([folder / "pg_config", "--configure"], capture_output=True, text=True, check=False)
        if 15 <= major <= 18:
            found.setdefault(major, Program(folder, major, "openssl" in flags.stdout))
    return [found[major] for major in sorted(found)]


class Place:
    """One running server. `ca`: the certificate its own was signed by, where it speaks TLS (and then nothing else)."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.port = free_port()
        self.ca: Path | None = None
        self._password = secrets.token_hex(16)
        account = find_account(None, ("postgres",), 60713) if os.geteuid() == 0 else None
        self._as = run_in(account)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
            os.chown(data, account.uid, account.gid)
        maker = self._as if account is None or in_passwd(account) else run_in(stand_in([]))
        if maker is not self._as:
            os.chown(data, maker["user"], maker["group"])
        self._initdb(data, maker)
        if account is not None:
            _give(data, account.uid, account.gid)
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        if program.tls:
            self._certify(data, (account.uid, account.gid) if account is not None else None)
            settings += ["ssl=on"]
        kind = "hostssl" if program.tls else "host"
        (data / "pg_hba.conf").write_text(f"local all all scram-sha-256\n{kind} all all 127.0.0.1/32 scram-sha-256\n")
        self._server = subprocess.Popen(
            [program.bin / "postgres", "-D", data, *(p for s in settings for p in ("-c", s))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,
        )
        self._wait()
        passwords = {"KEYREEVE_OWNER_PASSWORD": OWNER, "KEYREEVE_APP_PASSWORD": APP}
        done = self.psql("-f", str(ROOT / "deploy" / "roles.sql"), **passwords)
        assert done.returncode == 0, done.stderr

    def _initdb(self, data: Path, maker: dict[str, object]) -> None:
        secret = data.parent / "password"
        secret.write_text(self._password)
        secret.chmod(0o644)
        flags = ["-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", f"--pwfile={secret}", "-k"]
        subprocess.run([self.program.bin / "initdb", "-D", data, *flags], check=True, capture_output=True, **maker)  # type: ignore[call-overload]
        secret.unlink()

    def _certify(self, data: Path, owner: tuple[int, int] | None) -> None:
        self.ca = self.folder / "ca.pem"
        made = certificates("keyreeve-test")
        self.ca.write_bytes(made[0])
        for name, content in (("server.crt", made[1]), ("server.key", made[2])):
            file = data / name
            file.write_bytes(content)
            file.chmod(0o600)
            if owner is not None:
                os.chown(file, *owner)

    def psql(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """As the superuser, over the socket."""
        return subprocess.run(
            [self.program.bin / "psql", "-X", "-d", "postgres", "-h", self.folder, "-p", str(self.port), *arguments],
            env={"PATH": os.environ["PATH"], "PGUSER": "postgres", "PGPASSWORD": self._password, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def url(self, role: str, *, host: str = "127.0.0.1", ca: Path | None = None, mode: str | None = None) -> str:
        """The URL of `owner` or `app`; over TLS and verified where the server speaks it."""
        password = OWNER if role == "owner" else APP
        chosen = mode or ("verify-full" if self.program.tls else "disable")
        roots = f"&sslrootcert={ca or self.ca}" if chosen == "verify-full" else ""
        return f"postgresql://keyreeve_{role}:{password}@{host}:{self.port}/keyreeve?sslmode={chosen}{roots}"

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while self.psql("-c", "select 1").returncode != 0:
            assert self._server.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        """A fast shutdown."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(60)


def _give(folder: Path, uid: int, gid: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, gid)


def certificates(name: str) -> tuple[bytes, bytes, bytes]:
    """A certificate authority, and a server's certificate and key for 127.0.0.1: three PEM texts."""
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    later = now + datetime.timedelta(days=3650)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(later)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        builder(issuer, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    mine = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ca.public_bytes(pem), mine.public_bytes(pem), secret
