"""How each editor is told of a tenant's MCP endpoint: text to copy, which README.md shows too. Pure."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setup:
    """One editor: where the text goes, the text, and what happens next."""

    editor: str
    where: str
    text: str
    then: str


def setups(mcp_url: str) -> tuple[Setup, ...]:
    """Copy-paste set-up for the editors that people use. Each signs in with the browser at its first use."""
    return (
        Setup(
            "Claude Code",
            "In a terminal",
            f"claude mcp add --transport http keyreeve {mcp_url}",
            "Then claude mcp login keyreeve, or /mcp in Claude Code, signs in.",
        ),
        Setup(
            "Cursor",
            "In ~/.cursor/mcp.json",
            _json({"mcpServers": {"keyreeve": {"url": mcp_url}}}),
            "Then open Settings, MCP, and sign in beside keyreeve.",
        ),
        Setup(
            "VS Code",
            "In .vscode/mcp.json",
            _json({"servers": {"keyreeve": {"type": "http", "url": mcp_url}}}),
            "Then choose Start above the entry, or MCP: List Servers, and allow the sign-in.",
        ),
        Setup(
            "Codex",
            "In ~/.codex/config.toml",
            f'[mcp_servers.keyreeve]\nurl = "{mcp_url}"',
            "Then run codex mcp login keyreeve, and again to allow more; with --oauth-client-registration dcr where "
            "Keyreeve cannot fetch Codex's own description. Where there is no browser, bearer_token_env_var names a "
            "variable that holds a session token.",
        ),
        Setup(
            "Claude Desktop",
            "In claude_desktop_config.json (Settings, Developer, Edit Config)",
            _json({"mcpServers": {"keyreeve": {"command": "npx", "args": ["-y", "mcp-remote", mcp_url]}}}),
            "Then restart Claude Desktop. It signs in with the browser, again where a call needs more. This needs Node "
            "on your machine. Where the address can be reached from the internet, Settings, Connectors, Add custom "
            "connector does without.",
        ),
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
