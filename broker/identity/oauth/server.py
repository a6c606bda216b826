"""The authorization servers of all tenants, put together."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import text

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.identity.authenticate import Authenticator
from broker.identity.names import TENANT_NAME
from broker.identity.oauth import refresh
from broker.identity.oauth.clients import Clients
from broker.identity.oauth.codes import Codes
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.machines import Machines
from broker.identity.oauth.metadata import BadMetadata, read_document
from broker.identity.oauth.sign_ins import SignIns
from broker.identity.sessions import Sessions
from broker.identity.taking import Revocation
from connectors.base import HttpSender
from connectors.documents import MAX_BYTES

MAX_SEEDS: Final = 200
_TENANT: Final = text("select id from broker.tenants where name = :name and status = 'active'")
_log = structlog.get_logger("keyreeve.oauth")


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """What the endpoints are handed."""

    db: Database
    clients: Clients
    codes: Codes
    sign_ins: SignIns
    machines: Machines

    async def tenant_id(self, name: str) -> UUID:
        """The tenant that an issuer belongs to. Raises OAuthRefusal for one that is not there or not active."""
        found: UUID | None = None
        if TENANT_NAME.fullmatch(name):
            async with self.db.platform() as conn:
                found = await conn.scalar(_TENANT, {"name": name})
        if found is None:
            raise OAuthRefusal("invalid_client", "there is no such client at this issuer")
        return found


def make_server(
    *,
    db: Database,
    trail: AuditTrail,
    revocation: Revocation,
    http: HttpSender,
    authenticator: Authenticator,
    sessions: Sessions,
    digest: Callable[[str, bytes], bytes],
    seeds: Path,
) -> AuthorizationServer:
    """`digest` is `Vault.platform_digest`, `seeds` the operator's folder of client metadata documents."""
    stored: dict[str, Any] = {"db": db, "trail": trail, "revocation": revocation}
    sign_ins = SignIns(key=digest(refresh.PURPOSE, b""), **stored)
    return AuthorizationServer(
        db=db,
        clients=Clients(http=http, seeds=read_seeds(seeds), **stored),
        codes=Codes(db=db, sign_ins=sign_ins),
        sign_ins=sign_ins,
        machines=Machines(authenticator=authenticator, sessions=sessions),
    )


def read_seeds(folder: Path) -> dict[str, Any]:
    """The documents in a folder, by client id: `*.json`, at most 200 of 64 KiB. What cannot be used is said in the log
    and left out."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json"))[:MAX_SEEDS] if folder.is_dir() else ():
        try:
            if file.stat().st_size > MAX_BYTES:
                raise BadMetadata("is too large")
            given = json.loads(file.read_bytes())
            client_id = str(given.get("client_id")) if isinstance(given, dict) else ""
            read_document(given, client_id)
            found[client_id] = given
        except (OSError, ValueError, RecursionError) as problem:
            _log.warning("client_document_unusable", file=file.name, problem=str(problem)[:300])
    return found
