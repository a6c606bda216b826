"""`GET /`: what this is; for whoever is signed in what is connected, what their agent can do, and how to set it up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response

from broker.accounts.offers import Asker
from broker.db.paging import PageRequest
from broker.domain import Connection, Resolved
from broker.endpoints.pages.forms import read_form
from broker.endpoints.pages.route import login_of, required_login
from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.setups import setups
from broker.endpoints.pages.view import render
from broker.endpoints.pages.ways import way_to
from broker.endpoints.rest.deps import services_of
from broker.identity.authenticate import Asked
from broker.identity.logins import Login
from broker.policy.reach import reach_of_tool
from connectors import catalog

MOST_TOOLS: Final = 40
"""Tools of one connection that are listed; the rest is a number."""
_EFFECTS: Final = {"read": "reads", "write": "changes", "destructive": "deletes"}

router = pages()


@dataclass(frozen=True, slots=True)
class Card:
    """One connection on the page. `accounts` are the person's own; `tools` (name, effect, sentence); `problems` what
    stands in the way."""

    name: str
    title: str
    connect_path: str
    accounts: tuple[Mapping[str, Any], ...]
    sentence: str | None
    tools: tuple[tuple[str, str, str], ...]
    more_tools: int
    problems: tuple[Mapping[str, Any], ...]

    @property
    def connected(self) -> bool:
        """Whether one of the accounts can be used."""
        return any(a["status"] == "active" for a in self.accounts)


@router.get("/")
async def home(request: Request) -> Response:
    """The page for people."""
    services = services_of(request)
    login = await login_of(request)
    if login is None:
        return render(request, "welcome.html", url=services.base_url, way=await way_to(request))
    now = services.clock.now()
    resolved = await services.offers.caller(Asker(login.token, login.client), now, connection_name=None)
    listed = await services.listing.list_scoped_tools(
        login.token, Asked(connection=None, client=login.client), page_size=1000, page_token=None
    )
    mine = await services.accounts.list(resolved.caller, PageRequest(500))
    cards = cards_of(login.tenant_name, resolved, orjson.loads(listed), mine.items, now)
    mcp_url = f"{services.base_url}/t/{login.tenant_name}/mcp"
    editors = await services.oauth.sign_ins.mine(login, now)
    shown: dict[str, Any] = {"cards": cards, "editors": editors, "setups": setups(mcp_url), "mcp_url": mcp_url}
    return render(request, "home.html", login=login, now=now, **shown)


@router.post("/accounts/{account_id}/revoke")
async def revoke_account(request: Request, account_id: str = Path(max_length=36)) -> Response:
    """Revokes one of the person's own accounts."""
    services = services_of(request)
    login: Login = await required_login(request)
    await read_form(request, login.csrf)
    resolved = await services.offers.caller(Asker(login.token, login.client), services.clock.now())
    await services.own_accounts.revoke(resolved.caller, account_id)
    return RedirectResponse("/", 303)


def cards_of(
    tenant: str,
    resolved: Resolved,
    listed: Mapping[str, Sequence[Mapping[str, Any]]],
    accounts: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[Card]:
    """The connections that mean something to this person: those that a grant covers or an account is on. Pure."""
    cards = []
    for connection in sorted(resolved.connections, key=lambda c: c.name):
        own = [a for a in accounts if a["connection_name"] == connection.name and a["status"] != "pending"]
        live = [a for a in own if a["status"] != "revoked"]
        tools = [t for t in listed["tools"] if t["connection_name"] == connection.name]
        problems = [u for u in listed["unavailable"] if u["connection_name"] == connection.name]
        reach = reach_of_tool(resolved, connection, None, f"{connection.name}_call", None, now)
        if not (live or tools or problems):
            continue
        cards.append(
            Card(
                name=connection.name,
                title=_title(connection),
                connect_path=f"/connect/{tenant}/{connection.name}",
                accounts=tuple(live or own[-1:]),
                sentence=None if reach is None else reach.sentence,
                tools=tuple(_tool(t) for t in tools[:MOST_TOOLS]),
                more_tools=max(0, len(tools) - MOST_TOOLS),
                problems=tuple(problems[:MOST_TOOLS]),
            )
        )
    return cards


def _title(connection: Connection) -> str:
    connector = catalog.find(connection.connector)
    return connection.connector if connector is None else connector.title


def _tool(tool: Mapping[str, Any]) -> tuple[str, str, str]:
    definition = tool["definition"]
    title = (definition.get("annotations") or {}).get("title")
    sentence = str(title or definition["description"]).split(". ", 1)[0].split("\n", 1)[0]
    # A search sends nothing upstream, however far the grants reach.
    effect = "read" if tool["name"] == f"{tool['connection_name']}_search" else str(tool["effect"])
    return tool["name"], _EFFECTS.get(effect, effect), sentence[:160]
