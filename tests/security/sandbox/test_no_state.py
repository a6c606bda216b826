"""Nothing of a run is there in the next one, whoever's it is."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.tools.codemode.sandbox.images import Images
from tests.integration.sandbox.kit import HERE, THERE, Kit, kit

FINGERPRINT = """async () => {
  const seen = [];
  for (const o of [globalThis, Object, Object.prototype, Array.prototype, Function.prototype, Promise,
                   Promise.prototype, JSON, Math, Error, Error.prototype, Map.prototype, String.prototype,
                   Symbol, Reflect, cloudflare, console])
    seen.push(Reflect.ownKeys(o).map(String).join());
  return [seen, Object.isExtensible(globalThis), typeof globalThis.secret, Symbol.for('mine').description, context];
}"""
POLLUTE = """async () => {
  globalThis.secret = 'of the first tenant'; Symbol.for('secret'); context.secret = 1;
  const all = [Object, Array, Function, Promise, Error, Map, String, Symbol];
  for (const o of all) { o.secret = 1; o.prototype.secret = 1; }
  for (const o of [JSON, Math, Reflect, console]) o.secret = 1;
  JSON.stringify = () => 'mine'; Promise.prototype.then = () => {}; Object.prototype.toJSON = () => 'mine';
  Math.random = () => 4; globalThis.cloudflare = null;
  Object.preventExtensions(globalThis); Object.freeze(Array.prototype);
  return 1;
}"""


@pytest.fixture
async def alone(images: Images) -> AsyncIterator[Kit]:
    async with kit(images, workers=1) as box:
        yield box


async def test_pollution_does_not_outlive_its_run(alone: Kit) -> None:
    before = await alone.value(FINGERPRINT)
    for tenant in (HERE, THERE):
        await alone.run(POLLUTE, tenant=HERE, cpu_seconds=0.5)
        assert await alone.value(FINGERPRINT, tenant=tenant) == before
    assert alone.sandbox.stats().replaced == 0


async def test_memory_is_not_handed_on(alone: Kit) -> None:
    await alone.run(
        "async () => { const k = []; for (let i = 0; i < 200; i++) k.push('SECRET' + i + 'x'.repeat(9999)); }"
    )
    found = await alone.value(
        "async () => { const b = new BigUint64Array(new ArrayBuffer(8 << 20)); return b.some((x) => x !== 0n); }",
        tenant=THERE,
    )
    assert found is False


async def test_chance_differs_from_run_to_run(alone: Kit) -> None:
    drawn = [await alone.value("async () => [Math.random(), Math.random()]") for _ in range(5)]
    assert len({tuple(pair) for pair in drawn}) == 5


async def test_one_run_cannot_answer_for_another(alone: Kit) -> None:
    """Two runs in one worker use the same call ids; each gets its own answers."""

    async def host(name: str, argument: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return argument

    code = """async () => {{
      const out = [];
      for (let i = 0; i < 5; i++) out.push(await cloudflare.request('{0}' + i));
      return out;
    }}"""
    answers = await asyncio.gather(
        *(alone.value(code.format(letter), host, tenant=tenant) for letter, tenant in (("a", HERE), ("b", THERE)))
    )
    assert answers == [[f"{letter}{number}" for number in range(5)] for letter in "ab"]
