"""Descriptions resolved and shared: equal to what resolving in place gives, and bounded whatever they hold."""

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tools.codemode.spec import bounds
from broker.tools.codemode.spec.operations import Row, product_of
from broker.tools.codemode.spec.prepare import order, prepare, resolve
from connectors.errors import SpecError
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex
from tests.unit.codemode_guest.documents import chunks, document, read_back, rows, sections

NAMES = ["A", "B", "C", "D"]
refs = st.sampled_from(NAMES).map(lambda name: {"$ref": f"#/components/schemas/{name}"})
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "x", "é"]), st.just(1.0))
schemas = st.recursive(
    st.one_of(refs, st.builds(dict, type=st.sampled_from(["string", "integer"]), default=scalars)),
    lambda inner: st.one_of(
        st.builds(
            lambda p: {"type": "object", "properties": p},
            st.dictionaries(st.sampled_from(["a", "b", "default"]), inner, max_size=3),
        ),
        st.builds(lambda i: {"type": "array", "items": i}, inner),
        st.builds(lambda i: {"allOf": i}, st.lists(inner, max_size=3)),
        st.builds(lambda r, d: {**r, "description": d}, refs, st.sampled_from(["x", "y"])),
        st.builds(lambda i: {"example": i, "x-private": i}, inner),
    ),
    max_leaves=8,
)


def naive(value: Any, root: Any, inside: tuple[str, ...] = (), names: bool = False, opaque: bool = False) -> Any:
    """References written out in place, one by one."""
    if isinstance(value, list):
        return [naive(item, root, inside, opaque=opaque) for item in value]
    if not isinstance(value, dict):
        return value
    if opaque:
        return {key: naive(item, root, inside, opaque=True) for key, item in value.items()}
    if "$ref" in value and not names:
        ref = value["$ref"]
        if ref in inside:
            target: Any = {"$circular": ref}
        else:
            target = naive(root["components"]["schemas"][ref.rpartition("/")[2]], root, (*inside, ref))
        siblings = {key: item for key, item in value.items() if key != "$ref"}
        return {**target, **naive(siblings, root, inside)}
    out = {}
    for key, item in value.items():
        if key.startswith("x-") and not names:
            continue
        out[key] = naive(
            item,
            root,
            inside,
            names=not names and key == "properties",
            opaque=not names and key in ("default", "example"),
        )
    return out


def of_schemas(found: dict[str, Any], used: list[Any]) -> dict[str, Any]:
    content = {f"application/{n}": {"schema": schema} for n, schema in enumerate(used)}
    return document({"/x": {"post": {"requestBody": {"content": content}}}}, found)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, schemas)), st.lists(schemas, min_size=1, max_size=3))
def test_resolving_equals_writing_out_in_place(found: dict[str, Any], used: list[Any]) -> None:
    root = of_schemas(found, used)
    (deep,) = read_back(chunks(root))
    content = deep["requestBody"]["content"]
    for n, schema in enumerate(used):
        shown = content[f"application/{n}"]["schema"]
        assert json.dumps(shown) == json.dumps(naive(schema, root)), (found, schema)


def test_equal_subtrees_are_kept_once() -> None:
    shared = {"type": "object", "properties": {"name": {"type": "string", "description": "d" * 500}}}
    paths = {
        f"/x{n}": {"get": {"responses": {"200": {"content": {"a/b": {"schema": dict(shared)}}}}}} for n in range(100)
    }
    made = chunks(document(paths))
    assert sum(chunk.count(b"d" * 500) for chunk in itertools.chain(*sections(made)[1:3])) == 1
    for deep in read_back(made):
        assert deep["responses"]["200"]["content"]["a/b"]["schema"] == shared


def test_siblings_of_a_reference_stay() -> None:
    root = of_schemas(
        {"A": {"type": "string", "description": "a"}}, [{"$ref": "#/components/schemas/A", "description": "b"}]
    )
    (deep,) = read_back(chunks(root))
    assert deep["requestBody"]["content"]["application/0"]["schema"] == {"type": "string", "description": "b"}


def test_second_uses_of_a_reference_are_no_cycles() -> None:
    ref = {"$ref": "#/components/schemas/A"}
    root = of_schemas({"A": {"type": "string"}}, [{"allOf": [ref, ref, {"items": ref}]}])
    text = b"".join(chunks(root))
    assert b"$circular" not in text
    assert b"$ref" not in text


def test_parameters_of_the_path_are_merged() -> None:
    zone = {"name": "zone", "in": "path", "description": "of the path"}
    own = {"name": "zone", "in": "path", "description": "of the operation"}
    page = {"name": "page", "in": "query"}
    root = document({"/zones/{zone}": {"parameters": [zone, page], "get": {"parameters": [own]}}})
    (deep,) = read_back(chunks(root))
    assert deep["parameters"] == [own, page]


def test_what_leads_nowhere_is_marked() -> None:
    root = of_schemas({}, [{"$ref": "#/components/schemas/Gone"}, {"$ref": "https://evil.example/x"}])
    (deep,) = read_back(chunks(root))
    content = deep["requestBody"]["content"]
    assert content["application/0"]["schema"] == {"$missing": "#/components/schemas/Gone"}
    assert content["application/1"]["schema"] == {"$missing": "https://evil.example/x"}


def test_keys_that_would_mean_something_else_are_renamed() -> None:
    schema = {"properties": {"$n": {"type": "string"}, "__proto__": {"type": "string"}}}
    root = of_schemas({}, [schema, {"default": json.loads('{"__proto__": {"polluted": 1}, "$n": 0}')}])
    made = chunks(root)
    assert not [chunk for chunk in made if b'"__proto__"' in chunk and b"post" not in chunk]
    (deep,) = read_back(made)
    assert set(deep["requestBody"]["content"]["application/0"]["schema"]["properties"]) == {"$n_", "__proto___"}


@pytest.mark.parametrize(
    ("path", "product"),
    [
        ("/zones/{zone_id}/dns_records/{id}", "dns_records"),
        ("/accounts/{account_id}/workers/scripts", "workers"),
        ("/zones/{zone_id}", "zones"),
        ("/user/tokens/{id}", "user"),
        ("/radar/bgp/routes", "radar"),
        ("/", ""),
    ],
)
def test_the_product_is_what_cloudflares_server_calls_it(path: str, product: str) -> None:
    assert product_of(path) == product


def hostile() -> list[tuple[str, dict[str, Any]]]:
    def named(n: int) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/S{n}"}

    laughs = {f"S{n}": {"allOf": [named(n + 1)] * 10} for n in range(60)} | {"S60": {"type": "string"}}
    tangle = {f"S{n}": {"properties": {f"p{m}": named(m) for m in range(30)}} for n in range(30)}
    chain = {f"S{n}": {"items": named(n + 1)} for n in range(900)} | {"S900": {"type": "string"}}
    ring = {f"S{n}": {"items": named((n + 1) % 300)} for n in range(300)}
    wide = {"S0": {"enum": ["x" * 30] * 20_000, "description": "y" * 2_000_000}}
    same = {"S0": named(0)}
    found = {"laughs": laughs, "tangle": tangle, "chain": chain, "ring": ring, "wide": wide, "same": same}
    return [(name, of_schemas(schemas, [named(0)])) for name, schemas in found.items()]


@pytest.mark.parametrize(("name", "root"), hostile())
def test_hostile_descriptions_end_in_time_and_in_bounds(name: str, root: dict[str, Any]) -> None:
    began = time.process_time()
    made = chunks(root)
    assert sum(map(len, made)) < 40_000_000, name
    (text,) = sections(made)[3]
    assert len(text) <= 4 * bounds.MAX_TEXT
    assert time.process_time() - began < 20


def test_a_chain_too_long_is_cut_and_a_longer_one_refused() -> None:
    def chained(length: int) -> dict[str, Any]:
        links = {f"S{n}": {"items": {"$ref": f"#/components/schemas/S{n + 1}"}} for n in range(length)}
        return of_schemas(links | {f"S{length}": {}}, [{"$ref": "#/components/schemas/S0"}])

    assert b"$truncated" in b"".join(chunks(chained(300)))
    with pytest.raises(SpecError, match="too deep"):
        chunks(chained(3000))


def test_rows_of_another_description_are_refused() -> None:
    root = document({"/x": {"get": {}}})
    with pytest.raises(SpecError, match="not the one"):
        resolve(root, [Row("a", "GET", "/y", (), "read")])
    with pytest.raises(SpecError, match="not the one"):
        resolve(root, [])


def test_an_order_is_what_the_compiled_index_says() -> None:
    import zlib

    root = document(
        {
            "/b/{id}": {"get": {"operationId": "one", "summary": "s"}, "delete": {}},
            "bad": {"get": {}},
            "/a": {"head": {}},
        }
    )
    raw = json.dumps(root).encode()
    listed = SpecIndex.load(compile_spec(raw)).rows

    def facts(row: Any) -> dict[str, Any]:
        return {"permissions": ("P",), "effect": "read" if row.method != "DELETE" else "destructive"}

    made = order(zlib.compress(raw), listed, facts)
    assert made.digest == order(zlib.compress(raw), listed, facts).digest
    assert made.digest != order(zlib.compress(raw), listed, lambda row: {**facts(row), "guarded": True}).digest
    light, _, _, texts = sections(prepare(made.parts))
    assert json.loads(light[0]) == ["/b/{id}", "/a"]
    assert len(texts) == len(listed) == 3
    assert json.loads(light[-1]) == [row.id for row in listed]
    with pytest.raises(SpecError, match="damaged"):
        list(prepare((b"junk", made.parts[1])))


def test_texts_are_lower_case_and_plain() -> None:
    root = document({"/x": {"get": {"summary": "It’s – “A”…", "description": "É"}}})
    assert rows(root)[0].method == "GET"
    (text,) = sections(chunks(root))[3]
    told = json.loads(text)
    assert (told["summary"], told["description"], told["path"]) == ('it\'s - "a"...', "é", "/x")
