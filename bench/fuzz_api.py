"""Generated requests against every route of `/openapi.json`: `python -m bench.fuzz_api [--cases 5000] [--seed N]`.

Schemathesis makes requests that fit the description and requests that break it; each is sent with the bearer of one of
the roles in turn, half of them naming things that are really there. Held to: no answer of 500, no undocumented status,
content type or header, and every body as documented. Prints statuses by role and every violation; exits 1 with any.
"""

import argparse
import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bench.harness import Stand
from bench.kit import SPEC_NAME, Engineer, TenantKit

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = (
    "GET /zones",
    "GET /zones/{zone_id}",
    "POST /zones/{zone_id}/purge_cache",
    "zones-get",
    "POST /graphql",
    "GET /nothing",
    "DELETE /user/tokens/{token_id}",
)
SHOWN = 40


@dataclass
class Report:
    """What a run saw."""

    cases: int = 0
    unsendable: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    by_role: Counter[tuple[str, int]] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Target:
    """A tenant to be broken: bearers of every role, things to name, and nothing that the run still needs."""

    def __init__(self, stand: Stand, kit: TenantKit) -> None:
        self.stand = stand
        self.kit = kit
        kit.connection()
        kit.connection("victim")
        self.engineer: Engineer = kit.engineer()
        self.spare = [kit.engineer() for _ in range(3)]
        self.zone = stand.simulator.zones["example.com"]
        identifiers = [self.engineer.identifier, *(one.identifier for one in self.spare)]
        self.bearers = {
            "platform_admin": stand.admin_key,
            "admin": kit.admin.key,
            "auditor": kit.key("operator", role="auditor")["key"],
            "agent": kit.key("agent", identifiers=identifiers)["key"],
            "session": self.engineer.session,
            "nobody": None,
        }
        execution = self.engineer.api.call("GET /zones").json()["execution_id"]
        self.names: dict[str, list[str]] = {
            "identifier": [one.identifier for one in self.spare],
            "name": ["victim"],
            "account_id": [one.account_id for one in self.spare],
            "grant_id": [kit.grant({"group": f"g{n}"}, "read")["id"] for n in range(3)],
            "key_id": [kit.key("agent", identifiers=["*"])["id"] for _ in range(3)],
            "session_id": [one.session_id for one in self.spare],
            "execution_id": [execution],
        }

    def headers(self, role: str) -> dict[str, str]:
        """The bearer of a role, acting in this tenant."""
        key = self.bearers[role]
        chosen = {} if key is None else {"Authorization": f"Bearer {key}"}
        return chosen | ({"X-Keyreeve-Tenant": self.kit.name} if role == "platform_admin" else {})

    def aim(self, case: Any, draw: Any, role: str) -> None:
        """Makes half of the requests name what is there, and keeps every connection off the public internet."""
        if case.path_parameters and draw(st.booleans()):
            for name in case.path_parameters:
                if name in self.names:
                    case.path_parameters[name] = draw(st.sampled_from(self.names[name]))
        body = case.body
        if not isinstance(body, dict):
            return
        if "config" in body or case.path in ("/v1/connections", "/v1/connections/{name}"):
            config = body.get("config")
            body["config"] = (config if isinstance(config, dict) else {}) | {"spec": {"source": SPEC_NAME}}
            if role == "platform_admin":
                body["config"]["base_url"] = self.stand.simulator.base_url
        if not draw(st.booleans()):
            return
        if "identifier" in body:
            body["identifier"] = draw(st.sampled_from([self.engineer.identifier, self.spare[0].identifier]))
        if "connection_name" in body:
            body["connection_name"] = "cloudflare"
        if case.path == "/v1/connected_accounts" and draw(st.booleans()):
            body["credential"] = {"kind": "api_token", "token": self.spare[0].token}
        if case.path == "/v1/tools/execute":
            body["tool_name"] = "cloudflare_call"
            body.pop("connected_account_id", None)
            given_input = body.get("tool_input")
            body["tool_input"] = {
                **(given_input if isinstance(given_input, dict) else {}),
                "operation": draw(st.sampled_from(OPERATIONS)),
                **draw(st.sampled_from([{}, {"path_params": {"zone_id": self.zone}}, {"query": {"page": 1}}])),
            }

    def close(self) -> None:
        """Gives its clients' connections back."""
        for one in (self.engineer, *self.spare):
            one.close()


def operations(described: dict[str, Any]) -> Iterator[Any]:
    """Every operation of the description."""
    results: Any = schemathesis.openapi.from_dict(described).get_all_operations()
    for result in results:
        yield result.ok()


def strategies(operation: Any) -> list[Any]:
    """Requests that fit the description, and requests that don't where there is anything to break."""
    return [operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]


def fuzz(target: Target, described: dict[str, Any], *, cases: int, seed_: int, seconds: float | None = None) -> Report:
    """About `cases` requests in all, shared out evenly; ends early after `seconds`."""
    report = Report()
    found = list(operations(described))
    each = max(2, cases // (2 * len(found)))
    until = None if seconds is None else perf_counter() + seconds
    with requests.Session() as session, warnings.catch_warnings():
        session.trust_env = False
        warnings.simplefilter("ignore")
        for operation in found:
            for strategy in strategies(operation):
                with contextlib.suppress(HypothesisException, schemathesis.errors.SchemathesisError):
                    _one_operation(target, operation, strategy, each, seed_, until, session, report)
    return report


def _one_operation(
    target: Target,
    operation: Any,
    strategy: Any,
    examples: int,
    seed_: int,
    until: float | None,
    session: requests.Session,
    report: Report,
) -> None:
    roles = list(target.bearers)

    @seed(seed_)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, data=st.data())
    def attempt(case: Any, data: Any) -> None:
        if until is not None and perf_counter() > until:
            return
        role = roles[report.cases % len(roles)]
        target.aim(case, data.draw, role)
        _send(target, operation, case, role, session, report)

    attempt()


def _send(target: Target, operation: Any, case: Any, role: str, session: requests.Session, report: Report) -> None:
    report.cases += 1
    try:
        reply = case.call(base_url=target.stand.url, session=session, headers=target.headers(role), timeout=60)
    except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError, ValueError):
        report.unsendable += 1
        return
    except requests.exceptions.RequestException as error:
        report.violations.append(f"{operation.label} as {role}: no answer: {error!r}"[:600])
        return
    report.statuses[reply.status_code] += 1
    report.by_role[role, reply.status_code] += 1
    report.operations[operation.label] += 1
    why = "answered 500" if reply.status_code == 500 else None
    if why is None:
        try:
            case.validate_response(reply, checks=CHECKS)
        except BaseExceptionGroup as failures:
            why = "; ".join(str(one) for one in failures.exceptions)
        except AssertionError as failure:
            why = str(failure)
    if why is not None:
        sent = f"{case.method} {reply.request.url} {str(reply.request.body)[:300]}"
        report.violations.append(f"{operation.label} as {role}: {reply.status_code} {why[:700]}\n    sent {sent}")


def show(report: Report, seconds: float) -> None:
    """Prints it."""
    print(f"{report.cases:,} cases over {len(report.operations)} operations in {seconds:.0f} s", end="; ")
    print(f"{report.unsendable} could not be put into HTTP")
    print("statuses:", ", ".join(f"{status}: {n:,}" for status, n in sorted(report.statuses.items())))
    for role in dict.fromkeys(role for role, _ in report.by_role):
        counted = {status: n for (who, status), n in sorted(report.by_role.items()) if who == role}
        print(f"  {role}: {counted}")
    print(f"answers of 500: {report.statuses[500]}; violations: {len(report.violations)}")
    for violation in report.violations[:SHOWN]:
        print("-", violation)


def main() -> int:
    """Reads the arguments, runs, prints; 1 with any violation."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz_api", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with Stand() as stand:
        target = Target(stand, stand.tenant("fuzz"))
        began = perf_counter()
        report = fuzz(target, stand.admin.ok("GET", "/openapi.json"), cases=chosen.cases, seed_=chosen.seed)
        show(report, perf_counter() - began)
        alive = stand.admin.send("GET", "/readyz").status_code == 200
        target.close()
    print("the server is still ready" if alive else "THE SERVER IS NO LONGER READY")
    return 0 if alive and not report.violations and report.cases >= chosen.cases * 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
