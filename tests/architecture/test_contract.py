"""The wire contract as the code itself states it: codes, their documentation, and what the audit calls its changes."""

import ast
import re
from collections.abc import Iterator

from fastapi import FastAPI

from broker.app import ROUTERS
from broker.endpoints.rest import tools
from broker.errors import CODES
from broker.identity.roles import CAPABILITIES
from tests.architecture.repository import ROOT, python

NOT_YET = {"approval_required"}
"""Codes of the contract whose feature is not built."""


def described() -> dict[str, dict[str, dict[str, object]]]:
    """`paths` of the OpenAPI description, but for the hot route's own entry."""
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    paths: dict[str, dict[str, dict[str, object]]] = app.openapi()["paths"]
    return paths


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or method of one of these names."""
    for path, module in python("broker"):
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
                if name in names:
                    yield path, node


def test_every_problem_raised_has_a_known_code() -> None:
    wrong = []
    for path, call in calls("Problem", "documented"):
        args = call.args if getattr(call.func, "id", "") == "documented" else call.args[:1]
        wrong += [
            f"{path}:{call.lineno}: {arg.value}"
            for arg in args
            if isinstance(arg, ast.Constant) and isinstance(arg.value, str) and arg.value not in CODES
        ]
    assert wrong == []


def test_every_code_is_documented_in_openapi() -> None:
    named = set(tools.EXECUTE_CODES)
    for operations in described().values():
        for operation in operations.values():
            named |= set(re.findall(r"`([a-z_]+)`", str(operation["responses"])))
    assert set(CODES) - named - NOT_YET == set()


def test_every_operation_has_a_summary_and_documents_its_failures() -> None:
    for path, operations in described().items():
        for method, operation in operations.items():
            assert operation.get("summary"), f"{method} {path}"
            assert {"401", "403", "500", "503"} <= set(operation["responses"]), f"{method} {path}"  # type: ignore[call-overload]


NOUNS = "account|audit|client|connection|grant|identity|key|session|tenant|program"
ACTION = re.compile(rf"(?:{NOUNS})\.[a-z_]*[a-z]")
WRITERS = (
    "broker/accounts/",
    "broker/audit/",
    "broker/identity/",
    "broker/jobs/",
    "broker/policy/",
    "broker/server/",
    "broker/tools/codemode/",
)


def actions() -> set[str]:
    """The names of the administrative changes that the code writes down. A capability looks alike and is not one."""
    found = set()
    for path, module in python("broker"):
        if path.startswith(WRITERS):
            for node in ast.walk(module):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and ACTION.fullmatch(node.value):
                    found.add(node.value)
    return found - set(CAPABILITIES)


def test_every_change_is_documented_and_nothing_else_is() -> None:
    """The table in broker/README.md, "What the audit calls a change"."""
    text = (ROOT / "broker/README.md").read_text(encoding="utf-8")
    section = text.partition("## What the audit calls a change")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", section))
    assert actions() == documented
