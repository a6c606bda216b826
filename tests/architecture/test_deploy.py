"""What is in deploy/ and .github/, checked as text: by our own small rules, and the workflows by zizmor."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from broker.db.embedded import users
from broker.db.server_checks import parse_database_url
from broker.metrics import Metrics
from broker.settings import Limits
from tests.architecture.repository import ROOT, texts

DEPLOY = ROOT / "deploy"
RELEASE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return made


SERVICES = sorted(compose()["services"])


def test_every_yaml_file_parses() -> None:
    names = [name for name, text in texts(".yaml", ".yml") if yaml.safe_load(text) is not None]
    assert {"deploy/compose.yaml", "deploy/alerts.yaml", ".github/workflows/ci.yml"} <= set(names)


# compose.yaml


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"]["core"] == 0
    assert service["logging"]["options"]["max-size"], "logs are bounded"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_runs_as_somebody_else_than_root(name: str) -> None:
    service = compose()["services"][name]
    user = str(service.get("user", ""))
    if service["image"].startswith("keyreeve:"):
        assert not user, "the image's own USER holds (looked at below)"
    else:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_a_tag(name: str) -> None:
    image, _, tag = compose()["services"][name]["image"].rpartition(":")
    assert image
    assert re.match(r"\d", tag)
    if image == "keyreeve":
        assert tag == RELEASE


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_says_whether_it_is_well(name: str) -> None:
    service = compose()["services"][name]
    if service["restart"] == "no":
        assert service["healthcheck"] == {"disable": True}, "a task that ends has no health"
    else:
        assert service["healthcheck"]["test"]
        assert service["stop_grace_period"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_password_stands_in_the_file_or_has_a_default(name: str) -> None:
    for key, value in compose()["services"][name].get("environment", {}).items():
        if "PASSWORD" in key or "_URL" in key:
            used = re.findall(r"\$\{(\w+)([^}]*)\}", value)
            assert used, f"{key} holds a value"
            assert all(rest.startswith(":?") for _, rest in used), f"{key} has a default"


def test_serving_never_holds_the_owners_password() -> None:
    assert "OWNER" not in repr(compose()["services"]["broker"])


def test_nothing_but_the_broker_is_reachable() -> None:
    services = compose()["services"]
    assert services["postgres"]["network_mode"] == services["migrate"]["network_mode"] == "none"
    assert "listen_addresses=" in services["postgres"]["command"]
    assert [port.startswith("127.0.0.1:") for port in services["broker"]["ports"]] == [True]


def test_the_database_asks_for_passwords_and_checks_its_pages() -> None:
    arguments = compose()["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert {"--data-checksums", "--auth-local=scram-sha-256", "--auth-host=reject"} <= set(arguments)


@pytest.mark.parametrize(
    ("service", "key"), [("broker", "DATABASE"), ("migrate", "DATABASE"), ("migrate", "DATABASE_OWNER")]
)
def test_the_database_urls_are_ones_we_take(service: str, key: str) -> None:
    url = compose()["services"][service]["environment"][f"KEYREEVE_{key}_URL"]
    parsed = parse_database_url(re.sub(r"\$\{\w+[^}]*\}", "0f" * 24, url))
    assert parsed.host == "/run/postgresql"
    assert parsed.user == ("keyreeve_owner" if "OWNER" in key else "keyreeve_app")


def test_stopping_waits_for_the_drain() -> None:
    from broker.server.children import STOP_GRACE_SECONDS

    grace = compose()["services"]["broker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Limits().drain_seconds + STOP_GRACE_SECONDS


def test_the_brokers_options_exist() -> None:
    import typer

    from broker.cli.program import program

    command = typer.main.get_command(program())
    up = command.commands["up"]  # type: ignore[attr-defined]
    known = {option for parameter in up.params for option in parameter.opts}
    given = {word.partition("=")[0] for word in compose()["services"]["broker"]["command"][1:]}
    assert given <= known


# Dockerfile


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments), continuation lines joined, comments gone."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines() if line.strip()]


def final_stage() -> list[tuple[str, str]]:
    made = dockerfile()
    start = max(n for n, (instruction, _) in enumerate(made) if instruction == "FROM")
    return made[start:]


def test_every_from_has_a_numbered_tag() -> None:
    images = [rest.split()[0] for instruction, rest in dockerfile() if instruction == "FROM"]
    assert len(images) >= 2, "tools that build stay in a stage of their own"
    assert all(re.search(r":\d[\w.-]+(@sha256:[0-9a-f]{64})?$", image) for image in images)


def test_nothing_is_added_from_elsewhere() -> None:
    assert [rest for instruction, rest in dockerfile() if instruction == "ADD"] == []
    assert not re.search(r"\b(curl|wget|apt-get|apk|git clone)\b", repr(dockerfile()))


def test_everything_installed_is_checked_by_its_hash() -> None:
    for instruction, rest in dockerfile():
        if instruction != "RUN":
            continue
        for step in rest.split("&&"):
            words = shlex.split(step)
            if "pip" in words and "install" in words:
                own_wheel = {"--no-deps", "--no-index"} <= set(words)
                assert own_wheel or {"--require-hashes", "--only-binary=:all:"} <= set(words), step


def test_the_final_stage_runs_as_the_serving_user() -> None:
    chosen = [rest for instruction, rest in final_stage() if instruction == "USER"]
    assert chosen == [f"{users._SERVING_UID}:{users._SERVING_UID}"]
    after = [i for i, _ in final_stage()[[i for i, _ in final_stage()].index("USER") + 1 :]]
    assert "RUN" not in after


def test_no_secret_becomes_part_of_the_image() -> None:
    assert not [r for i, r in dockerfile() if i in {"ARG", "ENV"} and re.search(r"PASSWORD|SECRET|TOKEN|KEY=", r)]
    copied = [r.split()[0] for i, r in dockerfile() if i == "COPY" and "--from" not in r]
    assert not {"."} & set(copied), "only what is named"
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith("!") and not (ROOT / line[1:]).exists()]


def test_the_health_checks_ask_readyz() -> None:
    checks = [rest for instruction, rest in final_stage() if instruction == "HEALTHCHECK"]
    assert len(checks) == 1
    assert "/readyz" in checks[0]
    assert compose()["services"]["broker"]["healthcheck"]["test"][-1] in checks[0]


def test_the_tools_picked_from_the_lock_are_all_that_building_takes() -> None:
    """The image builds our wheel with a part of the lock; what hatchling needs must all be in that part."""
    picked = re.search(r"/\^\(([\w|-]+)\)==/", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    assert picked is not None
    names = set(picked[1].split("|"))
    needed, waiting = set(), ["hatchling"]
    while waiting:
        name = waiting.pop()
        needed.add(name)
        for line in requires(name) or []:
            wanted = Requirement(line)
            if (wanted.marker is None or wanted.marker.evaluate({"extra": "", "python_version": "3.12"})) and (
                wanted.name.lower() not in needed
            ):
                waiting.append(wanted.name.lower())
    assert names == needed
    lock = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    assert [name for name in names if f"\n{name}=={version(name)}" not in lock] == []


# alerts.yaml


def test_alerts_only_ask_for_numbers_we_count() -> None:
    metrics = Metrics()
    metrics.call("ok", "read", total=0.1, upstream=0.1, admit=0.1, settle=0.1, wait=0.1)
    metrics.job("partitions", ok=True)
    metrics.auth_failed("unauthenticated")
    counted = set(re.findall(r"^(keyreeve_\w+)", metrics.render().decode(), re.MULTILINE))
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert set(re.findall(r"\bkeyreeve_\w+", rule["expr"])) <= counted, rule["alert"]
            assert rule["annotations"]["action"], "an alert that nobody can act upon is noise"


# workflows


def workflows() -> list[Path]:
    return sorted((ROOT / ".github/workflows").glob("*.y*ml"))


def test_continuous_integration_runs_what_a_developer_runs() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["test"]["steps"]]
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", workflows(), ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert set(job["permissions"].values()) <= {"read"}
        assert job["timeout-minutes"] <= 60
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert checkouts
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    for line in re.findall(r"uses:.*", text):
        assert re.fullmatch(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.skipif(sys.platform != "linux", reason="zizmor is locked for Linux alone")
def test_zizmor_finds_nothing() -> None:
    tool = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [tool, "--offline", "--no-progress", "--persona=pedantic", ROOT / ".github"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
