"""Answers: exact where they may be, redacted where they must be."""
# ruff: noqa: E501

import json
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Answer, Prepared, RawAnswer
from connectors.cloudflare.answer import error_codes, read_answer
from connectors.cloudflare.explain import hint_for, learn, learned_denial
from connectors.cloudflare.redact import MARK, hide_fields, scrub
from connectors.errors import UpstreamUnreachable

TOKEN = b"cfut_" + b"a" * 40 + b"12345678"
OLD = b"Zx9_-" * 8

Raw = Callable[..., RawAnswer]
Make = Callable[..., Prepared]


def text_of(answer: Answer) -> bytes:
    return orjson.dumps(answer.data)


@pytest.mark.parametrize(
    "body",
    [
        b'{"success":true,"result":{"n":123456789012345678901234567890,"f":0.1000,"e":1E400,"z":-0.0}}',
        b'{ "success" : true ,\n "result": [ {"b":1,"a":2} ] }',
        '{"success":true,"result":"zoë 🦉 \\u00e9"}'.encode(),
        b'{"success":true,"result":"\\ud800"}',
        b'{"a":1,"a":2,"success":true}',
        b"[]", b"0", b'""', b"null", b"false", b"{}",
    ],
)  # fmt: skip
def test_json_passes_byte_for_byte(body: bytes, raw: Raw, request_of: Make) -> None:
    answer = read_answer(request_of(), raw(body), (OLD,))
    assert text_of(answer) == body
    assert not answer.is_error


def test_a_byte_order_mark_is_the_only_thing_taken_off(raw: Raw, request_of: Make) -> None:
    assert text_of(read_answer(request_of(), raw(b"\xef\xbb\xbf{}"), ())) == b"{}"


def test_empty_text_and_binary_bodies(raw: Raw, request_of: Make) -> None:
    assert read_answer(request_of(), raw(b"", 204), ()).data is None
    assert read_answer(request_of(), raw(b"", 200), ()).data is None
    assert read_answer(request_of(), raw(b"@ IN A 1\n", media="text/dns; charset=utf-8"), ()).data == "@ IN A 1\n"
    answer = read_answer(request_of(), raw(b"\x89PNG\xff", media="image/png"), ())
    assert answer.data == {"$binary": {"media_type": "image/png", "bytes": 5, "base64": "iVBOR/8="}}
    assert read_answer(request_of(), raw(b"\xff\xfe", media="text/plain"), ()).data["$binary"]["bytes"] == 2
    assert read_answer(request_of(), raw(b"x", media='"><script>'), ()).media_type == "application/octet-stream"


@pytest.mark.parametrize(
    "body", [b'{"success":tr', b"<html>", b"{'a':1}", b"NaN", b"\xff", b'{"a":1}{"b":2}', b"[" * 9000]
)
def test_a_success_that_is_not_json_is_a_fault_that_was_sent(body: bytes, raw: Raw, request_of: Make) -> None:
    with pytest.raises(UpstreamUnreachable) as fault:
        read_answer(request_of(), raw(body), ())
    assert fault.value.sent is True


def test_an_upstream_error_is_explained_and_bounded(raw: Raw, request_of: Make) -> None:
    errors = [{"code": 1000 + n, "message": "m" * 2_000, "source": {"pointer": "/x"}, "junk": 1} for n in range(50)]
    body = orjson.dumps({"success": False, "errors": errors, "messages": [], "result": None})
    answer = read_answer(request_of(), raw(body, 400, cf_ray="8f1-AMS", retry_after="7"), ())
    assert answer.is_error
    assert answer.error is not None
    assert answer.error["status"] == 400
    assert answer.error["retry_after"] == 7
    assert len(answer.error["detail"]) <= 1_000
    assert len(answer.error["errors"]) == 20
    assert answer.error["errors"][0] == {"code": 1000, "message": "m" * 500, "source": {"pointer": "/x"}}
    assert answer.ray == "8f1-AMS"
    assert error_codes(answer)[:2] == (1000, 1001)


@pytest.mark.parametrize(
    ("body", "status", "is_error"),
    [
        (b'{"success":false,"errors":[]}', 200, True),
        (b'{"data":null,"errors":[{"message":"x"}]}', 200, True),
        (b'{"data":{"a":1},"errors":[{"message":"x"}]}', 200, False),
        (b'{"data":{"a":1},"errors":null}', 200, False),
        (b"{}", 304, True),
        (b"{}", 302, True),
        (b'{"success":true}', 500, True),
        (b'{"errors":"no","success":false}', 403, True),
        (b'{"errors":[1,null,{"code":true,"message":5}],"success":false}', 403, True),
    ],
)
def test_what_counts_as_an_error(body: bytes, status: int, is_error: bool, raw: Raw, request_of: Make) -> None:
    answer = read_answer(request_of(), raw(body, status), ())
    assert answer.is_error is is_error
    assert (answer.error is not None) is is_error


def test_an_html_error_page_is_text_and_cut(raw: Raw, request_of: Make) -> None:
    answer = read_answer(request_of(), raw(b"<html>" + b"x" * 100_000, 502, "text/html"), ())
    assert answer.is_error
    assert len(answer.data) == 65_536
    assert answer.error is not None
    assert answer.error["detail"] == "Cloudflare answered 502: the body is text/html, not JSON"


def test_a_stored_object_that_looks_like_an_envelope_is_not_one(raw: Raw, request_of: Make) -> None:
    answer = read_answer(request_of(binary_answer=True), raw(b'{"success":false}'), ())
    assert not answer.is_error
    assert read_answer(request_of(binary_answer=True), raw(b"{not json"), ()).data["$binary"]["bytes"] == 9


@pytest.mark.parametrize("media", ["application/json", "text/plain", "application/octet-stream", "text/html"])
@pytest.mark.parametrize("secret", [TOKEN, OLD, b"cfk_" + b"B" * 40, b"cfat_" + b"c" * 48, b"cfoat_" + b"d" * 20])
def test_secrets_never_come_back(media: str, secret: bytes, raw: Raw, request_of: Make) -> None:
    body = b'{"success":false,"errors":[{"code":1,"message":"bad token ' + secret + b'"}],"n":1.50}'
    for status in (200, 403):
        answer = read_answer(request_of(), raw(body, status, media), (OLD,))
        shown = text_of(answer) + orjson.dumps(answer.error)
        assert secret not in shown
        if media == "application/json":
            assert MARK in shown.decode()
            assert b"1.50" in shown


@pytest.mark.parametrize("secret", [TOKEN, OLD])
def test_a_secret_spelled_with_escapes_is_found(secret: bytes, raw: Raw, request_of: Make) -> None:
    escaped = b"".join(b"\\u%04x" % c for c in secret)
    half = b"".join(b"\\u%04X" % c if n % 3 else bytes((c,)) for n, c in enumerate(secret))
    for spelled in (escaped, half):
        body = b'{"success":true,"result":"\\\\x \\n ' + spelled + b' \\u00e9"}'
        answer = read_answer(request_of(), raw(body), (OLD,))
        value = json.loads(text_of(answer))
        assert value == {"success": True, "result": f"\\x \n {MARK} é"}


def test_an_escaped_backslash_before_u_is_no_escape() -> None:
    body = b'{"a":"\\\\u0063fut_' + b"a" * 40 + b'"}'
    assert scrub(body, (), json_text=True) is body


def test_the_authorization_header_echoed_in_an_error_is_redacted(raw: Raw, request_of: Make) -> None:
    body = b'{"success":false,"errors":[{"code":6003,"message":"Bearer ' + OLD + b'"}]}'
    answer = read_answer(request_of(), raw(body, 400), (OLD,))
    assert OLD.decode() not in str(answer)


def test_named_fields_are_hidden_and_every_number_is_kept(raw: Raw, request_of: Make) -> None:
    body = b'{"result":{"id":"x","value":"s3cret","n":12345678901234567890123,"f":1.10,"keys":[{"v":"a"},{"v":"b"}]},"success":true}'
    prepared = replace(request_of(), redact=("result.value", "result.keys.*.v", "result.absent", "nothing.here"))
    expected = body.replace(b"s3cret", MARK.encode()).replace(b'"a"', f'"{MARK}"'.encode())
    expected = expected.replace(b'"v":"b"', f'"v":"{MARK}"'.encode())
    assert text_of(read_answer(prepared, raw(body), ())) == expected


def test_an_answer_that_cannot_be_redacted_is_not_handed_on(raw: Raw, request_of: Make) -> None:
    prepared = replace(request_of(), redact=("result",))
    assert read_answer(prepared, raw(b"the token", media="text/plain"), ()).data == MARK
    odd = read_answer(prepared, raw(b'{"success":true,"result":"x","t":"\\ud800"}'), ())
    assert json.loads(text_of(odd)) == {"success": True, "result": MARK, "t": "\ud800"}
    deep = b'{"result":' + b'{"a":' * 1_000 + b'"x"' + b"}" * 1_001
    with pytest.raises(UpstreamUnreachable):
        read_answer(prepared, raw(deep), ())


def test_hiding_covers_strings_objects_lists_and_odd_text() -> None:
    body = b'{"result":{"a":["x",{"b":"y","n":5}],"c":"\\ud800"},"t":"\\ud800"}'
    hidden = hide_fields(body, json.loads(body), ("result",))
    assert hidden is not None
    assert json.loads(hidden)["result"] == {"a": [MARK, {"b": MARK, "n": 5}], "c": MARK}
    whole = b'{"result":"the new token"}'
    assert hide_fields(whole, orjson.loads(whole), ("result",)) == f'{{"result":"{MARK}"}}'.encode()
    assert hide_fields(b'{"result":{}}', {"result": {}}, ("result",)) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda t: st.lists(t) | st.dictionaries(st.text(), t)
    )
)
def test_scrubbing_what_holds_no_secret_changes_nothing(value: object) -> None:
    body = json.dumps(value).encode()
    assert scrub(body, (OLD,), json_text=True) is body


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=20),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=20),
)
def test_scrubbed_json_is_still_json_without_the_secret(before: str, after: str) -> None:
    body = json.dumps({"x": before + " " + OLD.decode() + " " + after, "k": [1, before]}).encode()
    scrubbed = scrub(body, (OLD,), json_text=True)
    assert json.loads(scrubbed) == {"x": f"{before} {MARK} {after}", "k": [1, before]}


DENIED = b'{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}'


def test_a_403_that_proves_a_missing_permission_is_learned_for_what_it_named(raw: Raw, request_of: Make) -> None:
    from connectors.base import Permissions

    prepared = request_of("DNS Write", zones=("z1",))
    answer = read_answer(prepared, raw(DENIED, 403), ())
    text = learn(prepared, answer)
    assert text == "DNS Write (zone z1)"
    known = Permissions("unknown", learned={"op": text})
    denied = learned_denial(prepared, known)
    assert denied is not None
    assert (denied.verdict, denied.missing) == ("denied", "DNS Write")
    assert learned_denial(request_of("DNS Write", zones=("z2",)), known) is None
    assert learned_denial(request_of("DNS Write"), known) is None
    everywhere = request_of("User Details Read")
    assert learn(everywhere, answer) == "User Details Read"
    assert learned_denial(everywhere, Permissions("unknown", learned={"op": "User Details Read"})) is not None


@pytest.mark.parametrize(
    ("body", "status", "groups"),
    [
        (DENIED, 403, ()),
        (DENIED, 401, ("DNS Write",)),
        (DENIED, 400, ("DNS Write",)),
        (b'{"success":false,"errors":[{"code":9109,"message":"Invalid access token"}]}', 403, ("DNS Write",)),
        (b'{"success":false,"errors":[{"code":1000,"message":"Invalid API Token"}]}', 403, ("DNS Write",)),
        (b"<html>", 403, ("DNS Write",)),
    ],
)
def test_other_refusals_prove_nothing(
    body: bytes, status: int, groups: tuple[str, ...], raw: Raw, request_of: Make
) -> None:
    prepared = request_of(*groups, zones=("z1",))
    media = "application/json" if body[:1] == b"{" else "text/html"
    assert learn(prepared, read_answer(prepared, raw(body, status, media), ())) is None


def test_hints_name_the_permission_and_the_bodys_mismatches(raw: Raw, request_of: Make) -> None:
    prepared = request_of("DNS Write", zones=("z1",))
    assert "DNS Write" in str(hint_for(prepared, read_answer(prepared, raw(DENIED, 403), ())))
    advised = replace(prepared, warnings=("body.ttl: must be 1",))
    bad = raw(b'{"success":false,"errors":[{"code":9000,"message":"bad"}]}', 400)
    assert "body.ttl: must be 1" in str(hint_for(advised, read_answer(advised, bad, ())))
    assert hint_for(prepared, read_answer(prepared, raw(b'{"success":true}'), ())) is None
