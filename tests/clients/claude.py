"""Claude Code without Claude: its own program, a home of its own, and a model that plays a script.

The model's key is all it signs in to the model with; it opens the scripts of one conversation and nothing else.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.clients.node import PATIENCE, Ran, command, environment, on_terminal, run
from tests.e2e.model_api import ModelApi, Step, Turn, answers, calls, says

CLIENT_ID = "https://claude.ai/oauth/claude-code-client-metadata"
"""Who Claude Code says it is to an authorization server that takes metadata documents."""
DOCUMENT = {
    "client_id": CLIENT_ID,
    "client_name": "Claude Code",
    "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
}
"""What an operator without a way out puts into `DIR/clients` for it. Ours: the members that are read, no copy."""

QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
_AUTHORIZE = re.compile(r"https?://[^\s\x07\x1b]+/oauth/authorize\?[^\s\x07\x1b]+")


class Talk:
    """One conversation: what the model says, in order, and what it was sent."""

    def __init__(self, models: ModelApi) -> None:
        self.script = models.script()

    def finds(self, tool: str) -> "Talk":
        """The model looks for an MCP tool until Claude Code has it: servers connect, and lists change, beside it."""
        deadline: list[float] = []

        def look(body: dict[str, Any]) -> Turn:
            # Counted from the first look, not from when the script was written.
            deadline[:] = deadline or [time.monotonic() + PATIENCE / 2]
            if time.monotonic() > deadline[0]:
                return says(f"there is no {tool}")
            if _loaded(body, tool):
                following = self.script.turns.pop(0)
                return following if isinstance(following, Turn) else following(body)
            time.sleep(0.2)
            self.script.turns.insert(0, look)
            return calls(("ToolSearch", {"query": f"select:{tool}"}))

        return self._add(look)

    def calls(self, tool: str, given: dict[str, Any], *, first: Callable[[], object] | None = None) -> "Talk":
        """The model calls a tool, after `first` has happened."""

        def call(_: dict[str, Any]) -> Turn:
            if first is not None:
                first()
            return calls((tool, given))

        return self._add(call)

    def says(self, text: str) -> "Talk":
        """The model says something and is done."""
        return self._add(says(text))

    def results(self, tool: str) -> list[dict[str, Any]]:
        """What the model was told of its calls of a tool, in order: `{text, is_error}`."""
        last = self.script.requests[-1]
        made = [b for m in last["messages"] for b in m["content"] if isinstance(b, dict) and b["type"] == "tool_use"]
        wanted = {block["id"] for block in made if block["name"] == tool}
        return [
            {"text": _text(answer["content"]), "is_error": bool(answer["is_error"])}
            for answer in answers(last)
            if answer["id"] in wanted
        ]

    def _add(self, step: Step) -> "Talk":
        self.script.turns.append(step)
        return self


class ClaudeCode:
    """One person's Claude Code."""

    def __init__(self, home: Path, models: ModelApi) -> None:
        self.home = home
        self.more: dict[str, str] = {}
        """What else is in its environment."""
        self.models = models
        self.talks: list[Talk] = []

    def env(self, key: str = "no-model") -> dict[str, str]:
        """What it is told of the model."""
        return {**QUIET, "ANTHROPIC_BASE_URL": self.models.url, "ANTHROPIC_API_KEY": key, **self.more}

    def ok(self, *words: str) -> str:
        """One of its commands, which must succeed; what it shows."""
        return run("claude", *words, home=self.home, more=self.env()).out

    def state(self, server: str) -> str:
        """What `claude mcp list` says of a server. Its exit code says nothing."""
        shown = self.ok("mcp", "list")
        found = re.search(rf"^{re.escape(server)}: .* - \S+ (.*)$", shown, re.MULTILINE)
        assert found, shown
        return found[1]

    def login(self, server: str, browser: Callable[[str], str]) -> Ran:
        """`claude mcp login --no-browser` on a terminal. `browser` is given the address to open, and gives the address
        that it ends at, which is pasted."""

        def answer(shown: str) -> str | None:
            asked = _AUTHORIZE.search(shown)
            return None if asked is None or "aste the redirect URL" not in shown else browser(asked[0]) + "\r"

        words = command("claude", "mcp", "login", server, "--no-browser")
        ran = on_terminal(words, self.home, environment(self.home, self.env()), answer)
        assert ran.code == 0, ran.out
        return ran

    def go(self, talk: Talk, *options: str) -> dict[str, Any]:
        """`claude -p` with this conversation: it must be played to its end. What Claude Code prints of it."""
        self.talks.append(talk)
        words = ("-p", "go", "--output-format", "json", "--allowedTools", "mcp__keyreeve,ToolSearch", *options)
        ran = run("claude", *words, home=self.home, more=self.env(talk.script.key))
        assert talk.script.refused == [], talk.script.refused
        assert talk.script.left == 0, (ran.out, talk.script.requests[-1]["messages"][-1], self.log())
        printed: dict[str, Any] = json.loads(ran.out)
        assert printed["is_error"] is False, printed
        return printed

    def log(self) -> str:
        """The end of what it noted of its servers."""
        files = sorted(self.home.glob(".cache/claude-cli-nodejs/*/mcp-logs-*/*.jsonl"))
        return "".join(file.read_text() for file in files)[-4000:]

    def files(self) -> dict[str, bytes]:
        """Everything it left in its home."""
        found = (file for file in self.home.rglob("*") if file.is_file() and not file.is_symlink())
        return {str(file.relative_to(self.home)): file.read_bytes() for file in found}


def _loaded(body: dict[str, Any], tool: str) -> bool:
    """Whether the last message says that a tool was found."""
    content = body["messages"][-1]["content"]
    results = [block for block in content if isinstance(block, dict) and block["type"] == "tool_result"]
    inner = [part for block in results if isinstance(block["content"], list) for part in block["content"]]
    return any(part["type"] == "tool_reference" and part["tool_name"] == tool for part in inner)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
