"""`keyreeve tail`: the audit as it grows, one sentence a line."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from broker.cli import parse
from broker.cli.errors import Refused
from broker.cli.output import plain
from broker.cli.sentences import sentence
from broker.cli.session import Cli, command

REMEMBERED: Final = 5000
"""How many items are remembered as shown."""
BACK_SECONDS: Final = 30
"""How far every look reaches back behind the newest item: rows of slower transactions appear late."""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "tail")(tail)


def tail(
    cli: Cli,
    since: Annotated[str, typer.Option("--since", help="Begin so long ago, such as 10m.")] = "1s",
    every: Annotated[float, typer.Option("--every", min=0.2, max=60, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show what is there and end.")] = False,
    changes: Annotated[bool, typer.Option("--changes", help="Also administrative changes.")] = False,
) -> None:
    """Follow what agents do: one plain sentence per call. Ctrl-C ends it."""
    watch = Watch(cli, parse.moment(since, cli.now(), ahead=False), changes=changes)
    try:
        while True:
            watch.look()
            if once:
                return
            time.sleep(every)
    except KeyboardInterrupt:
        return


class Watch:
    """Shows each finished call once, and each refusal; a call still open is shown when it has ended."""

    def __init__(self, cli: Cli, since: str, *, changes: bool) -> None:
        self._cli = cli
        self._since = since
        self._changes = changes
        self._shown: OrderedDict[str, None] = OrderedDict()
        self._principals: dict[str, str | None] = {}

    def look(self) -> None:
        """Shows what is new, oldest first."""
        items = self._cli.api.pages("/v1/audit/events", since=self._since, limit=2000)
        new = [i for i in reversed(items) if i["id"] not in self._shown and self._wanted(i)]
        left = self._left() if any(i["kind"] == "call" for i in new) else {}
        for item in new:
            self._shown[item["id"]] = None
            self._show(item, left)
        while len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)
        if items:
            self._since = _earlier(items[0]["at"], self._since, [i["at"] for i in items if i["outcome"] == "open"])

    def _wanted(self, item: Mapping[str, Any]) -> bool:
        return item["outcome"] != "open" and (self._changes or item["kind"] != "change")

    def _show(self, item: Mapping[str, Any], left: Mapping[tuple[str, str], int]) -> None:
        out = self._cli.out
        if out.as_json:
            out.json(item)
            return
        remaining = None
        if item["kind"] == "call":
            principal = self._principal(item.get("connected_account_id"))
            remaining = None if principal is None else left.get((item.get("connection_name", ""), principal))
        out.say(f"{item['at'][11:19]}  {plain(sentence(item, remaining))}")
        if (
            item["kind"] == "refusal"
            and item.get("code", item.get("reason")) == "not_granted"
            and item.get("execution_id")
        ):
            out.say(f"          → keyreeve allow {item['execution_id']}")

    def _left(self) -> dict[tuple[str, str], int]:
        """What remains, by connection and upstream principal; of several meters the tightest."""
        found: dict[tuple[str, str], int] = {}
        try:
            lines = self._cli.api.get("/v1/budgets")["items"]
        except Refused as refused:
            if refused.code != "forbidden":
                raise
            return {}  # an agent key sees its executions, not the budgets: sentences go without
        for line in lines:
            key = (line["connection_name"], line["principal"])
            found[key] = min(found.get(key, line["remaining"]), line["remaining"])
        return found

    def _principal(self, account_id: str | None) -> str | None:
        if account_id is None:
            return None
        if account_id not in self._principals:
            try:
                account = self._cli.api.get(f"/v1/connected_accounts/{account_id}")
                self._principals[account_id] = account["upstream"]["principal"]
            except Refused as refused:
                if refused.code not in {"forbidden", "not_found"}:
                    raise
                self._principals[account_id] = None
        return self._principals[account_id]


def _earlier(newest: str, since: str, still_open: list[str]) -> str:
    """Where the next look begins: some seconds before the newest item, and not after any call that is still open."""
    from datetime import datetime, timedelta

    reach = datetime.fromisoformat(newest) - timedelta(seconds=BACK_SECONDS)
    first = min([reach, *(datetime.fromisoformat(at) for at in still_open)])
    return max(since, first.isoformat(timespec="microseconds").replace("+00:00", "Z"))
