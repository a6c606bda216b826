"""An exported file is a whole export, or it is not there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from broker.cli.admin.audit import export
from broker.cli.client import Api
from broker.cli.errors import CommandError, Refused, Unreachable, Usage
from broker.cli.place import Place

END = b'{"kind":"end","items":1,"cursor":"7"}\n'


def exported(answer: httpx.Response | Exception, output: Path) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    api = Api(Place("http://127.0.0.1:1", "krv_op_x"), transport=httpx.MockTransport(handler))
    cli: Any = SimpleNamespace(api=api)
    with api:
        export(cli, output=output)


def test_a_whole_one(tmp_path: Path) -> None:
    file = tmp_path / "audit.ndjson"
    content = '{"name":"a\u2028b"}\n'.encode() + END
    exported(httpx.Response(200, content=content), file)
    assert file.read_bytes() == content
    with pytest.raises(Usage):
        exported(httpx.Response(200, content=END), file)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, content=b'{"kind":"call"}\n'), CommandError),
        (httpx.Response(200, content=b'{"kind":"call"}\n{"kind":"e'), CommandError),
        (httpx.Response(200, content=b""), CommandError),
        (httpx.Response(403, json={"code": "forbidden", "detail": "no"}), Refused),
        (httpx.ConnectError("gone"), Unreachable),
    ],
    ids=["no end", "cut off", "nothing", "refused", "no server"],
)
def test_anything_else_leaves_nothing_behind(
    tmp_path: Path, answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    file = tmp_path / "audit.ndjson"
    with pytest.raises(error):
        exported(answer, file)
    assert not file.exists()
