"""Tenants, every service of this package over a real database, and the Cloudflare simulator as their upstream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from broker.accounts.accounts import Accounts
from broker.accounts.budgets import Budgets
from broker.accounts.connections import Connections
from broker.accounts.deposit import Deposit
from broker.accounts.learning import Learning
from broker.accounts.specs import Specs
from broker.accounts.upstream_oauth.giving_back import GivingBack
from broker.accounts.views import Views
from broker.db.database import Database
from broker.db.paging import PageRequest
from broker.domain import Account, Caller, Connection
from broker.gate.admission import Admissions
from broker.gate.dispatch import Dispatch
from broker.gate.idempotency import Idempotency
from broker.gate.inflight import Drain, InFlight
from broker.gate.maintenance import Maintenance
from broker.gate.perform import Gate
from broker.gate.principals import Principals
from broker.identity.authenticate import Asked
from broker.identity.tokens import parse
from broker.policy.spec import GrantSpec
from broker.settings import Limits
from broker.tools.execute import ToolRunner
from broker.tools.hints import Hints
from broker.tools.listing import Listing
from broker.tools.request import ExecuteRequest
from broker.tools.results import Result
from connectors.egress import EgressPolicy
from connectors.http import HttpClient
from connectors.simulators.cloudflare import Demo, Running, demo_state, serve
from tests.integration.identity.world import World as Identities
from tests.integration.identity.world import make_world

DOCUMENT = Path(__file__).resolve().parents[3] / "connectors" / "simulators" / "cloudflare" / "openapi.json"
PRIYA = "priya@acme.example"
MARCO = "marco@acme.example"


@dataclass
class World:
    """One tenant with identities priya and marco. `upstream` and `second` are two simulators of the same demo."""

    base: Identities
    demo: Demo
    upstream: Running
    second: Running
    specs_folder: Path
    connections: Connections
    accounts: Accounts
    deposit: Deposit
    budgets: Budgets
    views: Views
    runner: ToolRunner
    listing: Listing
    learning: Learning
    dispatch: Dispatch
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def db(self) -> Database:
        return self.base.db

    async def admin(self) -> Caller:
        return await self.base.caller()

    async def platform(self) -> Caller:
        return await self.base.platform(self.base.tenant)

    def config(self, **more: Any) -> dict[str, Any]:
        return {"base_url": self.upstream.base_url, "spec": {"source": "simulator.json"}, **more}

    async def connect(self, name: str = "cloudflare", **config: Any) -> dict[str, Any]:
        return await self.connections.create(
            await self.platform(), name=name, connector="cloudflare", config=self.config(**config), default_grant=None
        )

    async def change(self, name: str = "cloudflare", **config: Any) -> dict[str, Any]:
        return await self.connections.change(await self.platform(), name, config=self.config(**config), version=None)

    async def put(
        self,
        credential: Mapping[str, Any] | str,
        *,
        identifier: str | None = PRIYA,
        by: Caller | None = None,
        connection_name: str = "cloudflare",
        shared: bool = False,
        label: str | None = None,
        replace: bool = False,
    ) -> dict[str, Any]:
        if isinstance(credential, str):
            credential = {"kind": "api_token", "token": credential}
        return await self.accounts.put(
            by or await self.admin(),
            connection_name=connection_name,
            identifier=None if shared else identifier,
            shared=shared,
            label=label,
            credential=credential,
            replace=replace,
        )

    async def grant(self, access: str = "destructive", connection: str = "cloudflare", **more: Any) -> dict[str, Any]:
        more.setdefault("everyone", "identifier" not in more)
        spec = GrantSpec(connection_name=connection, access=access, **more)  # type: ignore[arg-type]
        return await self.base.grants.create(await self.admin(), spec)

    async def session(self, identifier: str = PRIYA, **more: Any) -> str:
        return str((await self.base.session(identifier=identifier, **more))["token"])

    async def run(self, token: str, tool_name: str, tool_input: Mapping[str, Any], **more: Any) -> Result:
        request = ExecuteRequest(tool_name=tool_name, tool_input=tool_input, **more)
        asked = Asked(connection=request.connection, client="tests/1")
        return await self.runner.execute(parse(token), asked, request)

    async def call(self, token: str, operation: str, **more: Any) -> Result:
        inside = {name: more.pop(name) for name in ("path_params", "query", "body") if name in more}
        return await self.run(token, "cloudflare_call", {"operation": operation, **inside}, **more)

    async def listed(
        self, token: str, *, connection: str | None = None, size: int = 100, page: str | None = None
    ) -> Any:
        body = await self.listing.list_scoped_tools(
            parse(token), Asked(connection=connection, client="tests/1"), page_size=size, page_token=page
        )
        return orjson.loads(body)

    async def listing_of(self, token: str, connection: str) -> Any:
        return await self.listed(token, connection=connection)

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        caller = await self.admin()
        async with self.db.tenant(caller.tenant_id) as conn:
            return list(await conn.execute(text(statement), {"t": caller.tenant_id, **values}))

    async def execute(self, statement: str, **values: Any) -> None:
        caller = await self.admin()
        async with self.db.tenant(caller.tenant_id) as conn:
            await conn.execute(text(statement), {"t": caller.tenant_id, **values})

    async def everything(self) -> tuple[int, int]:
        """How many account rows and credential rows there are."""
        (accounts,) = await self.rows("select count(*) from broker.accounts where tenant_id = :t")
        (credentials,) = await self.rows("select count(*) from vault.credentials where tenant_id = :t")
        return accounts[0], credentials[0]

    async def credentials(self) -> list[tuple[int, str]]:
        """Version and status of every stored credential."""
        found = await self.rows(
            "select version, status from vault.credentials where tenant_id = :t order by created_at, version"
        )
        return [(row.version, row.status) for row in found]

    async def changed(self, action: str) -> list[dict[str, Any]]:
        """The audited changes of one kind."""
        return [row for row in await self.base.changes() if row["operation"] == action]

    async def outcomes(self) -> list[str]:
        found = await self.rows(
            "select outcome from audit.events where tenant_id = :t and kind = 'outcome' order by recorded_at"
        )
        return [row.outcome for row in found]

    async def account_of(self, account_id: str) -> Any:
        (row,) = await self.rows("select * from broker.accounts where tenant_id = :t and id = :id", id=UUID(account_id))
        return row

    async def settled(self) -> None:
        """Waits for what calls have left running, such as learning."""
        await self.dispatch.close()

    def reached(self, running: Running | None = None) -> list[str]:
        """`METHOD path` of everything that arrived."""
        state = (running or self.upstream).state
        return [f"{entry.method} {entry.path}" for entry in state.journal.find(limit=10_000)]


@asynccontextmanager
async def make(db: Database, folder: Path) -> AsyncIterator[World]:
    base = await make_world(db)
    demo = demo_state()
    (folder / "simulator.json").write_bytes(DOCUMENT.read_bytes())
    async with serve(demo.state) as upstream, serve(demo_state().state) as second:
        egress = EgressPolicy.parse([r.url.removeprefix("http://") for r in (upstream, second)])
        async with HttpClient(egress, version="test") as http:
            world = _assembled(base, demo, upstream, second, folder, egress, http)
            for identifier in (PRIYA, MARCO):
                await base.identity(identifier)
            yield world
            await world.settled()


def _calls(base: Identities, http: HttpClient, learning: Learning) -> tuple[Dispatch, Gate, Maintenance]:
    """The gate and its maintenance entry, as `broker/assembly.py` puts them together."""
    limits = Limits()
    in_flight = InFlight(per_tenant=limits.in_flight_per_tenant, per_identity=limits.in_flight_per_identity)
    admissions = Admissions(base.db, base.clock.now())
    dispatch = Dispatch(
        admissions=admissions, vault_=base.sealed_storage, trail=base.trail, http=http, in_flight=in_flight
    )
    gate = Gate(
        dispatch=dispatch,
        trail=base.trail,
        clock=base.clock,
        limits=limits,
        in_flight=in_flight,
        on_learned=learning.learn,
    )
    maintenance = Maintenance(
        dispatch=dispatch,
        admissions=admissions,
        principals=Principals(base.sealed_storage.platform_digest),
        clock=base.clock,
        limits=limits,
        in_flight=in_flight,
    )
    return dispatch, gate, maintenance


def _assembled(
    base: Identities,
    demo: Demo,
    upstream: Running,
    second: Running,
    folder: Path,
    egress: EgressPolicy,
    http: HttpClient,
) -> World:
    shared: dict[str, Any] = {"trail": base.trail, "clock": base.clock}
    stored: dict[str, Any] = {"db": base.db, **shared}
    views, learning = Views(base.db), Learning(base.db)
    asking: dict[str, Any] = {"authenticator": base.authenticator, "views": views}
    principals = Principals(base.sealed_storage.platform_digest)
    dispatch, gate, maintenance = _calls(base, http, learning)
    specs = Specs(base.db, http, folder)
    deposit = Deposit(vault_=base.sealed_storage, maintenance=maintenance, principals=principals, views=views, **stored)
    idempotency = Idempotency(base.db, base.sealed_storage)
    return World(
        base=base,
        demo=demo,
        upstream=upstream,
        second=second,
        specs_folder=folder,
        connections=Connections(specs=specs, views=views, principals=principals, egress=egress, **stored),
        accounts=Accounts(
            deposit=deposit,
            drain=Drain(base.db),
            giving_back=GivingBack(views=views, maintenance=maintenance, **stored),
            **stored,
        ),
        deposit=deposit,
        budgets=Budgets(base.db),
        views=views,
        runner=ToolRunner(gate=gate, idempotency=idempotency, hints=Hints(base.authenticator), **asking, **shared),
        listing=Listing(clock=base.clock, **asking),
        learning=learning,
        dispatch=dispatch,
    )


ALL = PageRequest(1000)

__all__ = ["ALL", "MARCO", "PRIYA", "Account", "Connection", "World", "make", "while_asked"]


async def while_asked(world: World, deposit: Awaitable[Any], meanwhile: Callable[[], Awaitable[Any]]) -> Any:
    """Runs `deposit` with the upstream slow, and `meanwhile` once its first request has arrived. Returns the deposit's
    result or raises its error."""
    world.upstream.state.faults.add({"path": "/user/tokens/verify"}, "latency", params={"seconds": 0.6})
    before = len(world.reached())
    running = asyncio.ensure_future(deposit)
    async with asyncio.timeout(5):
        while not (await world.rows("select 1 from broker.open_calls where tenant_id = :t")) and not running.done():
            await asyncio.sleep(0.01)
    try:
        await meanwhile()
    finally:
        await asyncio.wait([running])
        assert len(world.reached()) >= before
    return running.result()
