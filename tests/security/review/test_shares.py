"""One tenant keeping others from what all share: exports, and the address's own rate towards an official origin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from broker.audit import export
from broker.audit.export import AT_ONCE, AuditExport, ExportRequest
from broker.audit.scan import Step
from broker.clock import SystemClock
from broker.errors import Problem
from broker.gate.inflight import InFlight
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.server.up import read_root_key
from broker.settings import Limits, Settings
from connectors.base import Operation, Prepared
from vault.errors import RootKeyRefused
from vault.keys import EnvRootKey
from vault.rootfile import FileRootKey, root_key_text

OFFICIAL = "https://api.example.com"


class _Database:
    @asynccontextmanager
    async def tenant(self, _: UUID) -> AsyncIterator[Any]:
        async def scalar(_: Any) -> str:
            return "1"

        yield SimpleNamespace(scalar=scalar)

    snapshot = tenant


class _Trail:
    async def change(self, *_: Any, **__: Any) -> None:
        return None


async def test_exports_that_are_not_read_keep_nobody_else_from_exporting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def step(*_: Any, **__: Any) -> Step:
        return Step([{"kind": "change", "call_id": None}], (datetime.now(UTC), uuid4()))

    monkeypatch.setattr(export, "step", step)
    monkeypatch.setattr(export, "_line", lambda *_: b"line\n")
    made = AuditExport(cast("Any", _Database()), cast("Any", _Trail()), lambda *_: "any")
    one, other = SimpleNamespace(tenant_id=UUID(int=1)), SimpleNamespace(tenant_id=UUID(int=2))
    stalled = [await made.begin(cast("Any", one), ExportRequest()) for _ in range(AT_ONCE)]
    for lines in stalled:
        assert await anext(lines)
    with pytest.raises(Problem, match="already running"):
        await made.begin(cast("Any", one), ExportRequest())
    mine = await made.begin(cast("Any", other), ExportRequest())
    assert await anext(mine)
    for lines in [*stalled, mine]:
        await cast("Any", lines).aclose()
    await cast("Any", await made.begin(cast("Any", one), ExportRequest())).aclose()


class _NoTurn:
    def __init__(self) -> None:
        self.asked: list[UUID] = []

    async def turn(self, tenant_id: UUID, until: float) -> None:
        self.asked.append(tenant_id)
        raise TimeoutError


@pytest.mark.parametrize(("origin", "paced"), [(OFFICIAL, True), ("https://elsewhere.example.com", False)])
async def test_verifying_credentials_waits_its_turn(origin: str, paced: bool) -> None:
    """Each deposit is four requests from the address that every tenant's calls leave by."""
    pace, tenant_id = _NoTurn(), uuid4()
    maintenance = Maintenance(
        dispatch=cast("Any", None),
        admissions=cast("Any", None),
        principals=cast("Any", None),
        clock=SystemClock(),
        limits=Limits(),
        in_flight=InFlight(per_tenant=5, per_identity=5),
        pace=pace,
    )
    call = MaintenanceCall(
        caller=cast("Any", SimpleNamespace(tenant_id=tenant_id)),
        connection=cast("Any", None),
        connector=cast("Any", SimpleNamespace(official_origins=(OFFICIAL,))),
        account_id=uuid4(),
        principal=None,
        execution_id=uuid4(),
        n=1,
        deadline=SystemClock().now() - timedelta(seconds=1),
    )
    prepared = Prepared(operation=Operation("x", "GET", "/x", "read"), method="GET", origin=origin, path="/x")
    with pytest.raises(Problem) as refused:
        await maintenance.perform(call, prepared)
    assert (refused.value.code == "rate_limited") is paced
    assert pace.asked == ([tenant_id] if paced else [])


def test_the_root_key_is_read_from_the_file_that_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "root.key"
    held = FileRootKey.create(path)
    assert EnvRootKey(root_key_text(path)).key_ids == held.key_ids

    def swapped(*_: Any, **__: Any) -> str:
        raise AssertionError("the name is looked up again after the check")

    monkeypatch.setattr(Path, "read_text", swapped)
    monkeypatch.setattr(Path, "read_bytes", swapped)
    assert EnvRootKey(read_root_key(Settings(tmp_path))).key_ids == held.key_ids
    path.chmod(0o640)
    with pytest.raises(RootKeyRefused, match="chmod"):
        root_key_text(path)
