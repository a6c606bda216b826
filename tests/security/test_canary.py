"""The canary search finds what is there: the guard of the guard."""

import base64
import json
import secrets
from pathlib import Path

import pytest

from broker.identity.tokens import mint
from broker.ids import new_id
from tests.security.canary import find

TOKEN = "cfut_" + secrets.token_hex(24)
KEY = mint("agent", new_id()).text


@pytest.mark.parametrize("secret", [TOKEN, KEY])
@pytest.mark.parametrize(
    "spell",
    [
        lambda s: s,
        lambda s: f"Bearer {s}!".encode().hex(),
        lambda s: f"Bearer {s}!".encode().hex().upper(),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.b64encode(b"a" + s.encode() + b"zz").decode(),
        lambda s: base64.urlsafe_b64encode(b"ab" + s.encode()).decode(),
        lambda s: json.dumps({"t": s}),
        lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
        lambda s: s[:-7],
    ],
    ids=["plain", "hex", "HEX", "base64", "base64+1", "base64+2", "json", "escapes", "cut"],
)
def test_every_spelling_is_found(secret: str, spell, tmp_path: Path) -> None:
    hidden = b"\x00\xffnoise\n" * 100 + spell(secret).encode() + b"\n\x00more"
    file = tmp_path / "heap"
    file.write_bytes(hidden)
    assert find({"memory": hidden}, [TOKEN, KEY])
    assert find({"file": file}, [TOKEN, KEY])


def test_what_is_not_secret_is_no_hit(tmp_path: Path) -> None:
    """Prefixes, the tenant in a token and other tokens are nobody's secret."""
    other = "cfut_" + secrets.token_hex(24)
    assert find({"log": f"{other} cfut_ krv_ag_ {KEY[:29]}".encode()}, [TOKEN, KEY]) == []
