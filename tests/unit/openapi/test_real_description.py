"""The real descriptions: every operation's request is built, in time, and is what the description says."""

import random
import statistics
import time

import jsonschema_rs
import orjson
import pytest

from connectors.errors import ConnectorError
from connectors.openapi.diff import compare
from connectors.openapi.examples import example_input
from connectors.openapi.index import SpecIndex
from connectors.openapi.load import compile_in_subprocess
from connectors.openapi.model import ABSENT, OperationDetails
from connectors.openapi.request import build
from connectors.openapi.schema import input_schema, split_input
from connectors.openapi.validate import is_json
from tests.unit.openapi.support import raw_description, real_index

COUNTS = {"2026-07": 2754, "2024-08": 1533}


@pytest.mark.parametrize("name", COUNTS)
async def test_it_compiles_in_the_child_and_opens(name: str) -> None:
    raw = raw_description(name)
    started = time.perf_counter()
    compiled = await compile_in_subprocess(raw)
    took = time.perf_counter() - started
    started = time.perf_counter()
    opened = SpecIndex.load(compiled)
    opening = time.perf_counter() - started
    print(f"\n{name}: compiled in {took:.2f} s to {len(compiled):,} bytes, opened in {opening * 1e3:.0f} ms")
    print(f"  dropped: {dict(opened.counts)}")
    assert len(opened.rows) == COUNTS[name]
    assert opened.base_path == "/client/v4"


def expected(details: OperationDetails, opened: SpecIndex) -> str | None:
    """Builds the operation's request from a generated valid input; says what is wrong with it, or None."""
    made = example_input(details)
    row = details.row
    try:
        built = build(details, path_params=made.path_params, query=made.query, body=made.body)
    except ConnectorError as error:
        return f"not built: {error}"
    match = opened.match(row.method, built.path)
    if match is None or match[0] is not row:
        return f"{built.path} is another operation's path"
    if {n: str(v) for n, v in made.path_params.items()} != match[1] and all(
        isinstance(v, str) for v in made.path_params.values()
    ):
        return "path values changed"
    if built.problems:
        return f"body: {built.problems[0].path} {built.problems[0].problem}"
    if made.body is not ABSENT and is_json(built.media_type or "") and orjson.loads(built.body or b"") != made.body:
        return "the body changed"
    if (made.body is ABSENT) != (built.body is None) or (built.body is not None and not built.headers):
        return "body or content type missing"
    return None


@pytest.mark.parametrize("name", COUNTS)
def test_every_operation_is_built(name: str) -> None:
    opened = real_index(name)
    failed = {row.ref: why for row in opened.rows if (why := expected(opened.details(row), opened)) is not None}
    print(f"\n{name}: {len(opened.rows) - len(failed)} of {len(opened.rows)} operations built and as described")
    for ref, why in failed.items():
        print(f"  {ref}: {why[:200]}")
    assert len(failed) <= 0.005 * len(opened.rows)


@pytest.mark.parametrize("name", COUNTS)
def test_every_schema_is_sound_and_every_example_fits_a_complete_validator(name: str) -> None:
    opened = real_index(name)
    agree = judged = 0
    for row in opened.rows:
        details = opened.details(row)
        for parameter in details.parameters:
            jsonschema_rs.meta.validate(details.standalone(parameter.schema))
        made = example_input(details)
        media = next((m for m in details.bodies if is_json(m)), None)
        if media is None or made.body is ABSENT:
            continue
        reference = jsonschema_rs.Draft202012Validator(
            details.standalone(details.bodies[media].schema),
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
        ours = not build(
            details, path_params=made.path_params, query=made.query, body=made.body, content_type=media
        ).problems
        judged += 1
        agree += ours == reference.is_valid(made.body)
    print(f"\n{name}: {agree} of {judged} bodies judged as by a complete validator")
    assert agree == judged


@pytest.mark.parametrize("name", COUNTS)
def test_every_operation_makes_a_typed_tool(name: str) -> None:
    opened = real_index(name)
    for row in opened.rows:
        details = opened.details(row)
        schema = input_schema(details)
        assert len(orjson.dumps(schema)) <= 32 * 1024
        assert "$ref" not in schema.get("properties", {})
        path, query, _ = split_input(details, dict.fromkeys(schema["properties"], "x"))
        assert set(path) == set(details.located("path"))
        assert set(query) == set(details.located("query"))


def test_names_are_found_and_suggested() -> None:
    opened = real_index("2026-07")
    for row in opened.rows:
        assert opened.find(row.id) is row
        assert opened.find(row.ref) is row
        assert opened.find(f"{row.method.lower()} /client/v4{row.path}") is row
    chooser = random.Random(1)
    times = []
    for row in chooser.sample(list(opened.rows), 100):
        for asked in (
            row.ref.replace("{", "{x"),
            row.id[:-2],
            "GET /zones/{id}/nothing/here",
            "zones accounts list get dns",
        ):
            started = time.perf_counter()
            found = opened.nearest(asked, lambda _: True)
            times.append(time.perf_counter() - started)
            assert len(found) <= 5
    times.sort()
    print(f"\nnearest names in {statistics.median(times) * 1e3:.1f} ms (median), {times[-1] * 1e3:.1f} (worst)")


def test_two_years_of_changes_are_reported() -> None:
    old, new = real_index("2024-08"), real_index("2026-07")
    started = time.perf_counter()
    diff = compare(old, new)
    print(f"\ncompared in {time.perf_counter() - started:.2f} s: {diff.report(1)}")
    assert len(diff.added) - len(diff.removed) == len(new.rows) - len(old.rows)
    assert compare(new, new).empty
