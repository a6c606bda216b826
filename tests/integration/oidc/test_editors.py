"""Editors that people let in end with the sign-in that let them: also one that is being let in at that very moment."""

import asyncio
import base64
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from broker.gate import revoke
from broker.identity.oauth.choices import Choice
from broker.identity.oauth.codes import Codes
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.sign_ins import SignIns, Tokens
from tests.integration.oidc.conftest import Stage

VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:1/callback"


async def test_one_let_in_while_the_link_is_taken_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.world.identity("priya")
    await stage.set()
    await stage.link()
    login = await stage.sign_in()
    sign_ins = SignIns(db=stage.world.db, trail=stage.world.trail, revocation=revoke, key=b"k" * 32)
    codes = Codes(db=stage.world.db, sign_ins=sign_ins)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asking: Any = SimpleNamespace(
        client=SimpleNamespace(client_id="editor", name="An editor"),
        redirect_uri=REDIRECT,
        challenge=challenge,
        resource=SimpleNamespace(path=f"/t/{stage.world.tenant}/mcp"),
    )
    now = stage.world.clock.now()
    code = await codes.issue(login, asking, Choice(None, "read"), now=now)
    let_in, go_on = asyncio.Event(), asyncio.Event()
    begin_in = SignIns.begin_in

    async def slowly(*given: Any) -> Any:
        made = await begin_in(*given)
        let_in.set()
        await go_on.wait()
        return made

    monkeypatch.setattr(SignIns, "begin_in", slowly)
    redeem: dict[str, Any] = {
        "client_id": "editor",
        "redirect_uri": REDIRECT,
        "verifier": VERIFIER,
        "resource": None,
        "now": now,
    }
    redeeming = asyncio.create_task(codes.redeem(login.tenant_id, code, **redeem))
    await asyncio.wait_for(let_in.wait(), 30)
    caller = await stage.world.caller()
    unlinking = asyncio.create_task(stage.oidc.people.unlink(caller, "priya"))
    async with asyncio.timeout(30), stage.world.db.platform() as conn:
        waiting = text("select count(*) from pg_locks where not granted")
        while not unlinking.done() and not await conn.scalar(waiting):
            await asyncio.sleep(0.01)
    go_on.set()
    tokens: Tokens = await redeeming
    assert (await unlinking)["signed_out"] == 2
    with pytest.raises(OAuthRefusal):
        await sign_ins.refreshed(login.tenant_id, tokens.refresh, "editor", None, now)
