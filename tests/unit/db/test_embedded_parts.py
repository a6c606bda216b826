"""The parts of the embedded server that decide without touching anything."""

import asyncio
import base64
import hashlib
import hmac
import os
import tempfile
from pathlib import Path

import pytest

from broker.db.embedded.config import initdb_arguments, server_arguments
from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.errors import EmbeddedError, NoSafeUser
from broker.db.embedded.home import make_socket_folder
from broker.db.embedded.roles import new_passwords, password_statements, scram_verifier
from broker.db.embedded.server import EmbeddedPostgres
from broker.db.embedded.users import Account, find_account, stand_in

INFO = ConnectionInfo("/run/keyreeve-x", superuser_password="s3", owner_password="o/2", app_password="a1")


def test_scram_verifier_agrees_with_rfc_7677_section_3() -> None:
    verifier = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    kind, cost, keys = verifier.split("$")
    assert (kind, cost) == ("SCRAM-SHA-256", "4096:W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, server = (base64.b64decode(part) for part in keys.split(":"))
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = (f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}").encode()
    signature = base64.b64encode(hmac.digest(server, message, "sha256"))
    assert signature == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    mask = hmac.digest(stored, message, "sha256")
    client = bytes(a ^ b for a, b in zip(proof, mask, strict=True))
    assert hashlib.sha256(client).digest() == stored


def test_no_statement_holds_a_password() -> None:
    passwords = new_passwords()
    text = " ".join(password_statements(passwords))
    for password in (passwords.superuser, passwords.owner, passwords.app):
        assert len(password) >= 43
        assert password not in text
        assert password not in repr(passwords)


def test_passwords_show_in_no_repr() -> None:
    assert not any(secret in repr(INFO) for secret in ("s3", "o/2", "a1"))


def test_a_role_withheld_has_no_address() -> None:
    serving = ConnectionInfo("/run/keyreeve-x", app_password="a1")
    assert serving.connect_kwargs("app")["user"] == "keyreeve_app"
    assert "o%2F2" in INFO.url("owner")
    for role in ("owner", "superuser"):
        with pytest.raises(PermissionError):
            serving.connect_kwargs(role)  # type: ignore[arg-type]
        with pytest.raises(PermissionError):
            serving.url(role)  # type: ignore[arg-type]


def _settings(*, durable: bool) -> dict[str, str]:
    pairs = server_arguments("/run/x", major=18, durable=durable)[1::2]
    return dict(pair.split("=", 1) for pair in pairs)


def test_settings() -> None:
    durable = _settings(durable=True)
    assert durable["listen_addresses"] == ""
    assert {durable[name] for name in ("fsync", "full_page_writes", "synchronous_commit")} == {"on"}
    assert _settings(durable=False)["fsync"] == "off"
    assert "--data-checksums" in initdb_arguments(major=18, durable=True)
    assert "--no-sync" not in initdb_arguments(major=18, durable=True)


def test_accounts() -> None:
    assert find_account(None, ["no-such-user"], 60711) == Account(60711, 60711, "uid 60711")
    assert find_account(4711, [], 1).uid == 4711
    for refused in ("root", "no-such-user", 0):
        with pytest.raises(NoSafeUser):
            find_account(refused, [], 60711)
    other = stand_in([60711])
    assert other.uid not in (0, 60711)


def test_socket_folder_is_fresh_private_and_short(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    with pytest.raises(EmbeddedError, match=r"too long.*No such file"):
        make_socket_folder([long, Path("/no/such/place")], None, None)
    parents = [long, Path(tempfile.gettempdir())]
    made = [Path(make_socket_folder(parents, None, None)) for _ in range(2)]
    try:
        assert made[0] != made[1]
        assert all(folder.stat().st_mode & 0o777 == 0o700 and folder.stat().st_uid == os.geteuid() for folder in made)
    finally:
        for folder in made:
            folder.rmdir()


async def test_a_machine_without_room_for_a_process_does_not_end_the_supervision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, back = 0, asyncio.Event()

    async def start() -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise BlockingIOError("fork: resource temporarily unavailable")

    server = EmbeddedPostgres(tmp_path, on_restart=lambda _: back.set())
    monkeypatch.setattr(server, "_start_process", start)
    keeping = asyncio.create_task(server._keep())
    async with asyncio.timeout(30):
        await back.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert tried >= 2
