"""Identities: made, changed with versions, found, and hinted at only to whoever may list them."""

import pytest

from broker.db.paging import PageRequest, read_page
from tests.integration.identity.world import ALL, World, refused


async def test_made_shown_and_audited(world: World) -> None:
    made = await world.identity(email="p@acme.example", display_name="Priya Ø", groups=["dns", "ops", "dns"])
    assert made["groups"] == ["dns", "ops"]
    assert (made["status"], made["version"]) == ("active", 1)
    assert await world.identities.get(await world.caller(), "priya") == made
    last = (await world.changes())[-1]
    assert (last["operation"], last["identifier"]) == ("identity.created", "priya")


async def test_an_identifier_is_unique_in_its_tenant_alone(world: World) -> None:
    await world.identity()
    await refused(world.identity(), "already_exists")
    platform = await world.platform()
    assert (await world.identities.create(platform, identifier="priya"))["version"] == 1
    assert len((await world.identities.list(platform, ALL)).items) == 1


@pytest.mark.parametrize(
    "identifier", ["", " a", "a b", "a\x00", "a\n", "*", "a" * 201, "e\u0301", "\u200bpriya", "\ud800"]
)
async def test_identifiers_are_bounded(world: World, identifier: str) -> None:
    await refused(world.identity(identifier), "invalid_input", "identifier")


async def test_the_other_texts_are_bounded(world: World) -> None:
    await refused(world.identity(email="no"), "invalid_input", "email")
    await refused(world.identity(email="a@b\x00"), "invalid_input", "email")
    await refused(world.identity(display_name="\x07"), "invalid_input", "display_name")
    await refused(world.identity(groups=["ok", "not ok"]), "invalid_input", "groups.1")
    await refused(world.identity(groups=[f"g{n}" for n in range(101)]), "invalid_input", "groups")


@pytest.mark.parametrize("identifier", ["a/b", "auth0|1", "ops:bot", "müller@acme.example", "x:offboard"])
async def test_odd_identifiers_are_taken_as_they_are(world: World, identifier: str) -> None:
    await world.identity(identifier)
    assert (await world.identities.get(await world.caller(), identifier))["identifier"] == identifier


async def test_changes_and_versions(world: World) -> None:
    await world.identity(email="p@acme.example", groups=["dns"])
    caller = await world.caller()
    changed = await world.identities.change(caller, "priya", {"email": None, "display_name": "P"}, 1)
    assert (changed["email"], changed["display_name"], changed["groups"], changed["version"]) == (
        None,
        "P",
        ["dns"],
        2,
    )
    await refused(world.identities.change(caller, "priya", {"groups": []}, 1), "version_conflict")
    assert (await world.identities.change(caller, "priya", {"groups": []}, None))["version"] == 3
    await refused(world.identities.change(caller, "priya", {}, 3), "invalid_input")
    await refused(world.identities.change(caller, "priya", {"groups": None}, 3), "invalid_input", "groups")
    await refused(world.identities.change(caller, "priya", {"status": "disabled"}, 3), "invalid_input", "status")


async def test_other_groups_are_another_policy(world: World) -> None:
    await world.identity()
    before = await world.policy_version()
    await world.identities.change(await world.caller(), "priya", {"display_name": "P"}, None)
    assert await world.policy_version() == before
    await world.identities.change(await world.caller(), "priya", {"groups": ["dns"]}, None)
    assert await world.policy_version() == before + 1


async def test_near_names_for_those_who_may_list_them(world: World) -> None:
    for name in ("priya", "priyanka", "tom"):
        await world.identity(name)
    problem = await refused(world.identities.get(await world.caller(), "prija"), "unknown_identity")
    assert problem.hint is not None
    assert "`priya`" in problem.hint
    assert "tom" not in problem.hint
    # An agent key hears only the names it lists.
    key = await world.key(identifiers=["prija", "tomas"])
    agent = await world.caller(key["key"])
    problem = await refused(world.session(agent, "prija"), "unknown_identity")
    assert problem.hint is None
    problem = await refused(world.session(agent, "tomas"), "unknown_identity")
    assert problem.hint is None


async def test_pages(world: World) -> None:
    for n in range(5):
        await world.identity(f"i{n}", groups=["even"] if n % 2 == 0 else [])
        world.clock.forward(seconds=1)
    caller, seen, token = await world.caller(), [], None
    for size in (2, 2, 2):
        page = await world.identities.list(caller, read_page(size, token))
        seen += [i["identifier"] for i in page.items]
        token = page.next_page_token
    assert seen == ["i0", "i1", "i2", "i3", "i4"]
    assert token is None
    assert [i["identifier"] for i in (await world.identities.list(caller, ALL, group="even")).items] == [
        "i0",
        "i2",
        "i4",
    ]
    assert not (await world.identities.list(caller, PageRequest(10), status="disabled")).items
