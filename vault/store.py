"""`Vault`: the one facade. Seals, opens, keeps and revokes credentials; seals blobs; authenticates and
digests.

The hot path never waits: `try_open`, `try_mac` and `try_digest` answer at once when the KEK is held, and None
only when it is not; the coroutine of the same name without `try_` then loads it.
"""

import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.binding import PLATFORM, BlobBinding, CredentialBinding, lp
from vault.envelope import MAX_BLOB, MAX_CREDENTIAL, kek_version_of, seal, unseal
from vault.errors import InvalidRequest, KeyUnavailable, MacMismatch, TooLarge, VersionTaken
from vault.kek import Kek
from vault.keyring import Keyring
from vault.keystore import read_key, require_aware
from vault.reveal import reveal
from vault.secret import Secret
from vault.tables import credentials

PLATFORM_KEY_VERSION: Final = 1
FINGERPRINT_DIGITS: Final = 12

_DIGEST = re.compile(r"([1-9][0-9]{0,9}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class SealedCredential:
    """What a credential's row keeps. `fingerprint` is 12 hex digits, equal for equal plaintexts in one
    tenant.
    """

    kek_version: int
    sealed: bytes = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Mac:
    """A 32-byte HMAC-SHA256 and the version of the evidence KEK behind it."""

    key_version: int
    digest: bytes


class Vault:
    """Sealed storage over one keyring. Methods with `conn` run in the caller's transaction, scoped to the
    tenant.

    Every method may raise `KeyUnavailable`, `KeyMissing` and `KeyDestroyed`; those are not repeated below.
    """

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self._platform: Kek | None = None

    # credentials

    async def seal_credential(
        self, conn: AsyncConnection, binding: CredentialBinding, plaintext: bytes | Secret
    ) -> SealedCredential:
        """Seal 1 byte to 64 KiB under the newest `credentials` KEK, which stays locked against retirement
        till the end of the transaction. Stores nothing.

        Raises:
            TooLarge: above 64 KiB.
            InvalidRequest: empty.
        """
        secret = plaintext if isinstance(plaintext, Secret) else Secret(plaintext)
        del plaintext  # what fails from here on shows a masked local
        _check_size(secret)
        tenant_id = binding.tenant_id
        kek = await self.keyring.open_stored(await read_key(conn, tenant_id, "credentials", None, share=True))
        return SealedCredential(kek.version, seal(kek, binding, reveal(secret)), self._fingerprint(tenant_id, secret))

    async def put_credential(
        self, conn: AsyncConnection, binding: CredentialBinding, plaintext: bytes | Secret, now: datetime
    ) -> SealedCredential:
        """Seal and store as the account's active credential; its older active versions become `superseded`.

        Raises:
            TooLarge, InvalidRequest: as `seal_credential`, or `now` has no zone.
            VersionTaken: the account has this version or a later one, or the id is in use. Roll back.
        """
        secret = plaintext if isinstance(plaintext, Secret) else Secret(plaintext)
        del plaintext
        require_aware(now)
        rows = credentials.c
        of_account = (rows.tenant_id == binding.tenant_id) & (rows.account_id == binding.account_id)
        newest = await conn.scalar(select(func.max(rows.version)).where(of_account))
        if newest is not None and newest >= binding.version:
            raise VersionTaken("the account has this credential version or a later one")
        sealed = await self.seal_credential(conn, binding, secret)
        await conn.execute(update(credentials).where(of_account, rows.status == "active").values(status="superseded"))
        try:
            await conn.execute(
                insert(credentials).values(
                    tenant_id=binding.tenant_id,
                    id=binding.credential_id,
                    account_id=binding.account_id,
                    version=binding.version,
                    kind=binding.kind,
                    origins=list(binding.origins),
                    kek_version=sealed.kek_version,
                    sealed=sealed.sealed,
                    fingerprint=sealed.fingerprint,
                    status="active",
                    created_at=now,
                )
            )
        except IntegrityError:
            # not chained: the driver's error quotes the row
            raise VersionTaken("the account has this credential version, or the id is in use") from None
        return sealed

    async def revoke_credentials(self, conn: AsyncConnection, tenant_id: UUID, account_id: UUID) -> int:
        """Mark every version of the account's credential revoked; how many were not yet.

        The bytes stay, for an upstream deletion that comes later; who may open them is the gate's decision.
        """
        rows = credentials.c
        statement = (
            update(credentials)
            .where(rows.tenant_id == tenant_id, rows.account_id == account_id, rows.status != "revoked")
            .values(status="revoked")
            .returning(rows.id)
        )
        return len((await conn.execute(statement)).all())

    def try_open(self, binding: CredentialBinding, sealed: bytes) -> Secret | None:
        """`open` without waiting; None only when the KEK is not held.

        Raises:
            SealedDoesNotOpen: as `open`.
        """
        kek = self.keyring.peek(binding.tenant_id, "credentials", kek_version_of(sealed))
        return None if kek is None else Secret(unseal(kek, binding, sealed))

    async def open(self, binding: CredentialBinding, sealed: bytes) -> Secret:
        """The plaintext sealed for exactly `binding`.

        Raises:
            SealedDoesNotOpen: the bytes were edited, or sealed for anything else.
        """
        kek = await self.keyring.get(binding.tenant_id, "credentials", kek_version_of(sealed))
        return Secret(unseal(kek, binding, sealed))

    # blobs

    async def seal_blob(self, binding: BlobBinding, data: bytes) -> bytes:
        """Seal 0 to 16 MiB under the newest `evidence` KEK; 98 bytes longer.

        Raises:
            TooLarge: above 16 MiB.
        """
        kek = await self.keyring.get(binding.tenant_id, "evidence")
        return seal(kek, binding, data, limit=MAX_BLOB)

    async def open_blob(self, binding: BlobBinding, sealed: bytes) -> bytes:
        """The data sealed for exactly `binding`.

        Raises:
            SealedDoesNotOpen: the bytes were edited, or sealed for anything else.
        """
        kek = await self.keyring.get(binding.tenant_id, "evidence", kek_version_of(sealed))
        return unseal(kek, binding, sealed)

    # authentication and digests

    def try_mac(self, tenant_id: UUID, purpose: str, data: bytes) -> Mac | None:
        """`mac` without waiting; None only when the KEK is not held."""
        kek = self.keyring.peek(tenant_id, "evidence")
        return None if kek is None else Mac(kek.version, kek.hmac("mac", purpose, data))

    async def mac(self, tenant_id: UUID, purpose: str, data: bytes) -> Mac:
        """HMAC-SHA256 of at most 16 MiB under a subkey of the newest `evidence` KEK for `purpose`.

        Raises:
            TooLarge: above 16 MiB.
            InvalidBinding: `purpose` is not a purpose name.
        """
        kek = await self.keyring.get(tenant_id, "evidence")
        return Mac(kek.version, kek.hmac("mac", purpose, data))

    async def verify_mac(self, tenant_id: UUID, purpose: str, data: bytes, mac: Mac) -> None:
        """Return if `mac` is that of `data`, also under an older key version.

        Raises:
            MacMismatch: it is not.
        """
        kek = await self.keyring.get(tenant_id, "evidence", mac.key_version)
        if not hmac.compare_digest(kek.hmac("mac", purpose, data), mac.digest):
            raise MacMismatch(f"mac {purpose}: code and data do not belong together")

    def try_digest(self, tenant_id: UUID, purpose: str, data: bytes) -> str | None:
        """`digest` without waiting; None only when the KEK is not held."""
        kek = self.keyring.peek(tenant_id, "evidence")
        return None if kek is None else f"{kek.version}:{kek.hmac('digest', purpose, data).hex()}"

    async def digest(self, tenant_id: UUID, purpose: str, data: bytes) -> str:
        """Keyed digest `VERSION:64 hex digits`: equal for equal data under one key version, and not
        guessable.

        Raises:
            TooLarge, InvalidBinding: as `mac`.
        """
        kek = await self.keyring.get(tenant_id, "evidence")
        return f"{kek.version}:{kek.hmac('digest', purpose, data).hex()}"

    async def verify_digest(self, tenant_id: UUID, purpose: str, data: bytes, digest: str) -> None:
        """Return if `digest` is that of `data`, also under an older key version.

        Raises:
            MacMismatch: it is not, or is malformed.
        """
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise MacMismatch(f"digest {purpose}: malformed")
        kek = await self.keyring.get(tenant_id, "evidence", int(found[1]))
        if not hmac.compare_digest(kek.hmac("digest", purpose, data).hex(), found[2]):
            raise MacMismatch(f"digest {purpose}: digest and data do not belong together")

    # platform

    async def load_platform_key(self) -> None:
        """Load the platform key, once, at the start; `keyring.ensure(conn, PLATFORM, now)` makes it.

        It is version 1 for ever and held outside the cache, so that what it names stays the same on every
        node, also while the root provider is out of reach.
        """
        self._platform = await self.keyring.get(PLATFORM, "evidence", PLATFORM_KEY_VERSION)

    def platform_digest(self, purpose: str, data: bytes) -> bytes:
        """32-byte keyed digest, equal on all nodes and over root rotations. `data` is at most 16 MiB.

        Raises:
            KeyUnavailable: `load_platform_key` has not run.
            TooLarge, InvalidBinding: as `mac`.
        """
        if self._platform is None:
            raise KeyUnavailable("the platform key is not loaded")
        return self._platform.hmac("platform", purpose, data)

    def fingerprint(self, tenant_id: UUID, plaintext: bytes | Secret) -> str:
        """12 hex digits by which a tenant's admins recognise equal credentials. Tenants' fingerprints do not
        compare.

        Raises:
            KeyUnavailable: `load_platform_key` has not run.
        """
        return self._fingerprint(tenant_id, plaintext if isinstance(plaintext, Secret) else Secret(plaintext))

    def _fingerprint(self, tenant_id: UUID, secret: Secret) -> str:
        whole = self.platform_digest("fingerprint", lp(tenant_id.bytes) + reveal(secret))
        return whole.hex()[:FINGERPRINT_DIGITS]


def _check_size(secret: Secret) -> None:
    size = len(reveal(secret))
    if size == 0:
        raise InvalidRequest("a credential is not empty")
    if size > MAX_CREDENTIAL:
        raise TooLarge(f"a credential is at most {MAX_CREDENTIAL} bytes")
