"""The sweeper goes on: what one tenant's key or row prevents keeps nobody else's calls open."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from broker.gate.claims import Settled, Settlement
from broker.gate.executions import Abandoned
from broker.gate.sweep import Sweeper
from broker.ids import new_id
from vault.errors import KeyDestroyed

CLOSED, OTHER = new_id(), new_id()


class Trail:
    """A tenant whose evidence key was destroyed, and others."""

    async def row(self, event: Any) -> Any:
        tenant_id = getattr(event, "tenant_id", None) or event.facts.tenant_id
        if tenant_id == CLOSED:
            raise KeyDestroyed("the tenant's evidence key was destroyed")
        return SimpleNamespace(tenant_id=tenant_id)


class Admissions:
    """One overdue call in each tenant."""

    def __init__(self) -> None:
        self.settled: list[UUID] = []

    async def overdue_tenants(self, *_: Any) -> list[UUID]:
        return [CLOSED, OTHER]

    async def overdue_calls(self, tenant_id: UUID, *_: Any) -> list[Any]:
        facts = SimpleNamespace(tenant_id=tenant_id, call_id=new_id())
        return [SimpleNamespace(facts=facts, account_id=new_id(), principal=b"p", meters=("rest",), costs=(1,))]

    async def settle(self, settlement: Settlement, _: Any) -> Settled:
        self.settled.append(settlement.tenant_id)
        return Settled(late=False, remaining=1, reset_seconds=0)


class Executions:
    """One abandoned execution in each tenant."""

    def __init__(self) -> None:
        self.closed: list[UUID] = []

    async def abandoned_tenants(self, *_: Any) -> list[UUID]:
        return [CLOSED, OTHER]

    async def abandoned(self, tenant_id: UUID, *_: Any) -> list[Abandoned]:
        return [Abandoned(tenant_id, {}, 1, 1, ("PUT /x",))]

    async def close(self, end: Any) -> bool:
        self.closed.append(end.tenant_id)
        return True


async def test_a_tenant_without_its_key_keeps_no_other_tenants_calls_open() -> None:
    async def alive() -> list[UUID]:
        return []

    admissions, executions = Admissions(), Executions()
    parts: Any = (admissions, Trail(), SimpleNamespace(alive=alive), executions)
    assert await Sweeper(*parts).sweep() == 1
    assert admissions.settled == [OTHER]
    assert executions.closed == [OTHER]
