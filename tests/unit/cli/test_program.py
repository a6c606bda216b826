"""The tree of commands: complete, quick to start, and without a way to give a secret as an argument."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from broker.cli.program import program

_COMMANDS = """
up migrate demo connect tools call allow why tail doctor connectors budgets
tenants.create tenants.list tenants.show tenants.limit
sign-in-provider.set sign-in-provider.show sign-in-provider.delete
sign-in-provider.link sign-in-provider.unlink sign-in-provider.list
identities.create identities.list identities.show identities.update identities.offboard
connections.create connections.list connections.show connections.update connections.delete
connections.refresh connections.accept
connections.client.show connections.client.set connections.client.remove
accounts.list accounts.show accounts.deposit accounts.revoke accounts.verify
grants.create grants.list grants.delete keys.create keys.list keys.revoke
sessions.create sessions.list sessions.revoke sign-in-link connect-link
clients.add clients.list clients.delete mcp.add mcp.token audit.list audit.export executions.show exec
vault.status vault.rotate-kek vault.rotate-root
"""
COMMANDS = _COMMANDS.split()


def leaves(command: Any, path: str = "") -> dict[str, Any]:
    if not hasattr(command, "commands"):
        return {path: command}
    found: dict[str, Any] = {}
    for name, below in command.commands.items():
        found |= leaves(below, f"{path}.{name}" if path else name)
    return found


TREE = leaves(typer.main.get_command(program()))


def test_every_command_is_there() -> None:
    assert sorted(TREE) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(TREE))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(program(), [*name.split("."), "--help"])
    assert result.exit_code == 0, result.output
    assert "--json" in result.output
    assert "--data-dir" in result.output
    assert TREE[name].help


def test_no_option_takes_a_secret() -> None:
    for name, command in TREE.items():
        for parameter in command.params:
            words = {o.strip("-") for o in parameter.opts}
            assert not words & {"token", "key", "secret", "password", "credential", "api-key"}, (name, words)


def test_starting_imports_nothing_heavy() -> None:
    """What makes `keyreeve --help` quick: neither server, database, HTTP client nor tables are loaded for it."""
    code = (
        "import sys; from broker.cli.program import program; import typer.main; typer.main.get_command(program());"
        "print([m for m in ('httpx','rich','sqlalchemy','asyncpg','fastapi','cryptography','structlog','pydantic')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_server_the_exit_code_and_the_words_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEYREEVE_URL", "KEYREEVE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(program(), ["identities", "list", "--data-dir", str(tmp_path)])
    assert result.exit_code == 10
    assert "no server runs on" in result.stderr
    assert result.stdout == ""


def test_wrong_usage(tmp_path: Path) -> None:
    for words in (
        ["up", "--host", "0.0.0.0"],
        ["up", "--allow-upstream", "nonsense"],
        ["up", "--port", "70000"],
        ["grants", "create", "cloudflare", "read"],
        ["accounts", "deposit", "cloudflare"],
        ["vault", "rotate-root", "--begin", "--finish"],
        ["nonsense"],
    ):
        result = CliRunner().invoke(program(), [*words, *(["--data-dir", str(tmp_path)] if len(words) > 1 else [])])
        assert result.exit_code == 2, (words, result.output)


def test_version() -> None:
    result = CliRunner().invoke(program(), ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("keyreeve ")
