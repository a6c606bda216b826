"""The database's roles and their passwords, as statements for PostgreSQL's single-user mode."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

_ITERATIONS = 4096
"""RFC 7677's figure. The passwords are 256 random bits, so stretching them adds nothing."""


@dataclass(frozen=True, slots=True, repr=False)
class Passwords:
    """One random password per role; 43 characters of base64url each."""

    superuser: str
    owner: str
    app: str


def new_passwords() -> Passwords:
    """Fresh random passwords."""
    return Passwords(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32))


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores for `password` (RFC 5803's form), so that no statement ever holds the password itself."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"


def password_statements(passwords: Passwords) -> list[str]:
    """Sets every role's password."""
    logins = {"postgres": passwords.superuser, "keyreeve_owner": passwords.owner, "keyreeve_app": passwords.app}
    return [
        f"alter role {role} password '{scram_verifier(password, secrets.token_bytes(16))}'"
        for role, password in logins.items()
    ]


SETUP = [
    "create role keyreeve_owner login nosuperuser nocreatedb nocreaterole noreplication nobypassrls",
    "create role keyreeve_app login nosuperuser nocreatedb nocreaterole noreplication nobypassrls",
    "create database keyreeve owner keyreeve_owner template template0 encoding 'UTF8'",
    "revoke all on database keyreeve from public",
    "grant connect on database keyreeve to keyreeve_app",
    "revoke connect on database postgres from public",
    "revoke connect on database template1 from public",
]
"""Run once in a new cluster: the owner owns the database; serving may connect to it and gets the rest by migrations."""
