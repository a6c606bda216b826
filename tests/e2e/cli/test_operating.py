"""The operator's commands on the data directory: `doctor`, `migrate`, `vault`."""

from pathlib import Path

import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from tests.e2e.cli.shell import Shell


def test_doctor_beside_a_running_server(operator: Shell) -> None:
    found = {f["check"]: f for f in operator.ok("doctor", "--no-egress")["items"]}
    assert {"data", "disk", "root key", "admin key", "server", "database", "role", "clock", "schema"} <= set(found)
    assert {f["state"] for f in found.values()} <= {"ok", "warn"}
    assert found["server"]["detail"].startswith("ready at ")


def test_doctor_where_nothing_is(nowhere: Shell) -> None:
    ran = nowhere.run("doctor", "--no-egress")
    assert ran.code == 1
    found = {f["check"]: f for f in ran.json["items"]}
    assert found["root key"]["state"] == "fail"
    assert all(f["fix"] for f in found.values() if f["state"] != "ok")


def test_migrate_again_changes_nothing(operator: Shell) -> None:
    assert operator.ok("migrate") == {"changed": False}


def test_commands_on_a_folder_without_a_database(nowhere: Shell, tmp_path: Path) -> None:
    for words in (("migrate",), ("tenants", "list")):
        ran = nowhere.run(*words)
        assert ran.code == 1
        assert "there is no database" in ran.err
    assert list(tmp_path.iterdir()) == [], "asking makes nothing"


def test_rotating_a_tenants_key_under_a_running_server(operator: Shell, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    done = operator.ok("vault", "rotate-kek", "--only", tenant.name)["items"]
    assert [(line["version"], line["rewrapped"], line["remaining"], line["broken"]) for line in done] == [(2, 1, 0, [])]
    assert engineer.api.call("GET /zones").json()["is_error"] is False
    engineer.close()
    assert operator.run("vault", "rotate-kek", "--only", "nobody").code == 1
    status = operator.ok("vault", "status")
    assert (status["missing"], status["current"]) == ([], "root-1")


def test_the_root_key_is_not_rotated_under_a_running_server(operator: Shell, running_server: Stand) -> None:
    before = (running_server.data_dir / "root.key").read_bytes()
    ran = operator.run("vault", "rotate-root", "--yes")
    assert ran.code == 1
    assert "a server runs" in ran.err
    assert (running_server.data_dir / "root.key").read_bytes() == before


@pytest.mark.timeout(120)
def test_rotating_the_root_key() -> None:
    with Stand() as stand:
        kit = stand.tenant()
        kit.connection()
        engineer = kit.engineer()
        operator = Shell({}, ["--data-dir", str(stand.data_dir)], own_process=True)
        stand.server.stop()
        told = operator.ok("vault", "rotate-root", "--yes")
        assert (told["current"], told["forgotten"]) == ("root-2", ["root-1"])
        assert told["rewrapped"] >= 5
        stand.server.start()
        assert engineer.api.call("GET /zones").json()["is_error"] is False
        assert operator.ok("vault", "status")["held"] == ["root-2"]
        engineer.close()
        kit.close()
