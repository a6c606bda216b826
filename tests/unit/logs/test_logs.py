"""Logs: valid JSON lines, no secrets, no injected lines, no locals in tracebacks."""

import io
import json
import logging
from collections.abc import Iterator
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from broker import logs
from broker.logs import CallLine, configure, log_call, redact
from vault.secret import Secret

TOKENS = [
    "cfut_" + "A1b2C3d4" * 5,
    "cfk_" + "0123456789abcdef" * 2,
    "cfat_" + "Zz9_-yX" * 6,
    "cfoat_" + "q" * 40,
    "krv_op_" + "a0Z" * 20,
    "krv_ag_" + "b1Y" * 20,
    "krv_st_" + "c2X" * 20,
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    out = io.StringIO()
    configure(json=True, node="n1", stream=out)
    yield out
    structlog.reset_defaults()
    logs._calls.go_to(None, "")
    root.handlers[:], root.level = before[0], before[1]


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_masked_wherever_they_stand(stream: io.StringIO, token: str) -> None:
    log = structlog.get_logger("t")
    log.info(
        " ".join(["event", token]), value=token, nested={"list": [f"x {token} y", {token: token}]}, raw=token.encode()
    )
    log.warning("headers", headers={"Authorization": "Bearer whatever-it-was", "X-Auth-Key": "f00ba4"})
    logging.getLogger("uvicorn.error").error("bad request: %s", token)
    try:
        raise ValueError(f"no {token}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("elsewhere").exception("failed too")
    assert token not in stream.getvalue()
    assert "whatever" not in stream.getvalue()
    assert "f00ba4" not in stream.getvalue()
    assert len(_lines(stream)) == 5


@pytest.mark.parametrize("before", ["\n", "\t", "\r\n", "\b", "\x1c", "\\n", "x", "_", "\x1b[31m"])
@pytest.mark.parametrize("token", TOKENS)
def test_whatever_stands_before_a_token_does_not_hide_it(token: str, before: str) -> None:
    """Lines are masked as JSON, where a line break ends in the letter `n`."""
    for text in (f"refused:{before}{token}", f"refused:{before}Bearer {token}"):
        line = redact(json.dumps({"event": text}))
        assert json.loads(line)["event"].startswith(f"refused:{before}")
        assert token not in line


@given(st.text(st.sampled_from("\x00\x08\x1b\x1c\n\\ cfkbearsi_"), max_size=40))
def test_masking_cuts_no_escape_in_two(text: str) -> None:
    json.loads(redact(json.dumps({"a": text + "fk_" + "A" * 20, "b": text + "earer " + "B" * 20}, ensure_ascii=False)))


def test_a_url_shows_no_password() -> None:
    shown = redact("postgresql://app:hunter2@db:5432/x and https://example.com/@me")
    assert shown == "postgresql://app:[redacted]@db:5432/x and https://example.com/@me"


@given(st.text(max_size=300))
def test_masking_keeps_json_valid(text: str) -> None:
    line = json.dumps({"a": text, "b": f"{TOKENS[0]}{text}", "c": f"Bearer {TOKENS[4]}"}, ensure_ascii=False)
    assert json.loads(redact(line)).keys() == {"a", "b", "c"}


def test_tracebacks_hold_no_locals(stream: io.StringIO) -> None:
    def inner() -> None:
        password = "correct horse battery"  # noqa: F841 - must not be shown
        secret = Secret(b"plain text")  # noqa: F841
        raise RuntimeError("broken")

    try:
        inner()
    except RuntimeError:
        structlog.get_logger("t").exception("failed")
    assert "correct horse" not in stream.getvalue()
    assert "plain text" not in stream.getvalue()
    assert "broken" in stream.getvalue()


def test_nothing_begins_a_line_of_its_own(stream: io.StringIO) -> None:
    forged = 'x\n{"event":"forged"}\r\n\u2028y\x1b[31m'
    structlog.get_logger("t").info(forged, value=forged)
    logging.getLogger("uvicorn.error").warning(forged)
    assert stream.getvalue().count("\n") == 2
    assert [line["event"] for line in _lines(stream)] == [forged, forged]


def test_nor_on_a_console() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    out = io.StringIO()
    try:
        configure(json=False, node="n1", stream=out)
        structlog.get_logger("t").info("a\nb\x1b[31m", value="c\nd", token="s3cr3t", other=TOKENS[0])
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = before[0], before[1]
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()
    assert "s3cr3t" not in out.getvalue()
    assert TOKENS[0] not in out.getvalue()


def _call(**more: object) -> CallLine:
    known: dict[str, object] = {
        "tenant": "acme", "identity": "priya", "actor": "session:priya", "tool": "cf_call", "operation": "zones-get",
        "outcome": "ok", "status": 200, "execution_id": UUID(int=7),
    }  # fmt: skip
    return CallLine(**(known | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("token", TOKENS)
def test_no_secret_and_no_endless_text_in_a_calls_line(stream: io.StringIO, token: str) -> None:
    log_call(_call(identity=token, operation="x" * 10_000, actor='a"b\nc'))
    assert token not in stream.getvalue()
    (line,) = _lines(stream)
    assert line["identity"] == "[redacted]"
    assert line["operation"] == "x" * 4000 + "…"
    assert line["actor"] == 'a"b\nc'
    assert str(line["at"]).endswith("Z")


def test_a_calls_line_is_the_same_with_and_without_structlog(stream: io.StringIO) -> None:
    log_call(_call(ms=1.23456))
    logs._calls.go_to(None, "")
    log_call(_call(ms=1.23456))
    direct, through = _lines(stream)
    assert {**direct, "at": ""} == {**through, "at": ""}
    assert len(str(direct["at"])) == len(str(through["at"]))


def test_a_calls_line_is_left_out_where_only_warnings_are_wanted(stream: io.StringIO) -> None:
    configure(json=True, node="n1", stream=stream, level=logging.WARNING)
    log_call(_call())
    assert stream.getvalue() == ""


def test_one_line_for_a_call(stream: io.StringIO) -> None:
    log_call(
        CallLine(
            tenant="acme",
            identity="priya",
            actor="session:priya",
            tool="cf_call",
            operation="dns-records-list",
            outcome="ok",
            status=200,
            execution_id=UUID(int=7),
            ms=12.34567,
            upstream_ms=10.0,
        )
    )
    (line,) = _lines(stream)
    assert line["event"] == "call"
    assert line["ms"] == 12.346
    assert line["execution_id"] == str(UUID(int=7))
    assert line["node"] == "n1"
    assert "wait_ms" not in line


def test_uvicorns_access_log_is_silent(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info("GET /v1/x?token=abc")
    assert stream.getvalue() == ""
