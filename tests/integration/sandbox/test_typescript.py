"""Types taken out of programs: what is left stands where it stood, and means the same."""

import time

import pytest
import pytest_asyncio
import wasmtime as wt

from broker.tools.codemode.sandbox import machine_code
from broker.tools.codemode.sandbox.engine import EPOCH_NEVER, Guest, Imports, make_engine
from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.typescript import LONGEST, Typescript


class Stripping:
    def __init__(self, engine: wt.Engine, typescript: Typescript) -> None:
        self.engine, self.typescript = engine, typescript

    def of(self, code: str) -> str | None:
        """The program without its types."""
        found = self.typescript.strip(code.encode(), lambda guest: guest.store.set_epoch_deadline(EPOCH_NEVER))
        return None if found is None else found.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stripping(images: Images) -> Stripping:
    image = await images.execute_image()
    engine = make_engine()
    module = machine_code.load(engine, image.code).typescript
    return Stripping(engine, Typescript(engine, Imports(engine), module))


FENCED = """```ts
async () => {
  const r: Record<string, unknown> = {'it\\'s': /re[/]x/g, b: `a${1}b`}
  return r satisfies X
}
```
"""
LONG = """type T = { a: 1, b: 'x' }
function f(a: string): void
function f(a: any, { b, c }: { b: T, c?: [any] }) { return a }
export default async () => f('1', {})"""
CLASS = """class A<T> { private readonly x: number = 1; get(k?: string): T { return <any>this.x } }
return new A<number>()"""
INTERFACE = """interface Z { id: string;
 name: string }
// z
return z!.map((z: Z): string => z.id).map(z => z as string)"""


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("const a: number = 1_000;\nreturn a", "const a = 1_000;\nreturn a"),
        ("async (): Promise<Map<string, Zone[]>> => (await f<Zone>()) as any", "async () => await f()"),
        ("const x = y as foo\nfoo()\nreturn x", "const x = y\nfoo()\nreturn x"),
        ("function f({ b }: { b: string } = { b: 'c' }): void { g(b) }", "function f({ b } = { b: 'c' }) { g(b) }"),
        ("return (x as any)!.y + ((a, b) as number)", "return x.y + (a, b)"),
        (INTERFACE, "return z.map((z) => z.id).map(z => z)"),
        (CLASS, "class A { x = 1; get(k) { return this.x } }\nreturn new A()"),
        (FENCED, "async () => {\n  const r = {'it\\'s': /re[/]x/g, b: `a${1}b`}\n  return r\n}"),
        (LONG, "function f(a, { b, c }) { return a }\nexport default async () => f('1', {})"),
    ],
)
def test_types_are_blanked(stripping: Stripping, written: str, left: str) -> None:
    found = stripping.of(written)
    assert found is not None
    # Every character that is left stands where it stood.
    assert len(found) == len(written)
    assert all(new in (old, " ") for new, old in zip(found, written, strict=True))
    assert found.replace("// z", "").split() != written.split()
    assert "".join(found.replace("// z", "").split()) == "".join(left.split())


@pytest.mark.parametrize(
    "code",
    [
        "async () => 1",
        "return 1 < 2 && 3 > (4)",
        "async () => 1 + ",
        "async () => { enum A { X, Y } return A.X }",
        "class A { constructor(private z: number) {} }\nreturn new A(1)",
        "namespace N { export const a = 1 }\nreturn N.a",
        "const a: string = `${`nested`}`; return a",
        f"const a: string = '{'x' * LONGEST}'",
        "\ud800".encode("utf-8", "replace").decode(),
        "",
    ],
)
def test_what_cannot_be_left_as_javascript_is_left_alone(stripping: Stripping, code: str) -> None:
    found = stripping.of(code)
    assert found is None or ": string" not in found


@pytest.mark.parametrize(
    "piece",
    ["(/[", "`\\`", "'\"", "/*", "((((x:a)", "a as b;", "<a>(", "/a/", "x++ / [", "{a:`${", "```\n", "\\u0041", "as "],
)
def test_nothing_takes_long(stripping: Stripping, piece: str) -> None:
    """Its own work is in proportion to the text; a program ended by oxc's limits is left as it was."""
    for head in ("const a: b = 1\n", ""):
        code = head + piece * (LONGEST // len(piece) - len(head))
        started = time.process_time()
        try:
            stripping.of(code)
        except wt.Trap:
            continue
        assert time.process_time() - started < 20


def test_it_is_ended_in_time(stripping: Stripping) -> None:
    def arm(guest: Guest) -> None:
        guest.store.set_epoch_deadline(1)
        stripping.engine.increment_epoch()

    with pytest.raises(wt.Trap):
        stripping.typescript.strip(b"const a: number = 1", arm)
