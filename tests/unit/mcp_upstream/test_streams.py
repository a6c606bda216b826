"""Streams in pieces cut anywhere, and reading no further than the answer."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream.streams import MAX_EVENTS, AnswerWatch, Events

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)


@settings(deadline=None)
@given(events=st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=5), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_where_a_stream_is_cut_makes_no_difference(events: list[list[str]], end: str) -> None:
    text = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in events).encode()
    wanted = [joined.encode() for lines in events if (joined := "\n".join(lines))]
    whole = list(Events().feed(text))
    assert whole == wanted
    for size in (1, 2, 3, 7):
        pieces = Events()
        found = [event for at in range(0, len(text), size) for event in pieces.feed(text[at : at + size])]
        assert found == wanted


def test_other_fields_and_comments_are_nothing() -> None:
    text = b"\xef\xbb\xbf: hello\nevent: message\nid: 7\nretry: 10\ndata\ndata:x\n\ndata: never ended"
    assert list(Events().feed(text)) == [b"x"]


def message(**members: object) -> bytes:
    return b"data: " + orjson.dumps({"jsonrpc": "2.0", **members}) + b"\n\n"


def test_the_answer_ends_it() -> None:
    heard: list[object] = []
    watch = AnswerWatch(3, heard.append)
    assert watch.begins(200, {"content-type": "Text/Event-Stream; charset=utf-8"})
    assert not watch.feed(message(method="notifications/progress", params={"progress": 1}))
    assert not watch.feed(message(id=3, method="sampling/createMessage"))
    assert not watch.feed(message(id="3", result={}))
    assert not watch.feed(message(id=4, result={}))
    assert watch.feed(message(id=3, result={"a": 1}) + message(method="notifications/late") + b"data: {\n\n")
    assert watch.answer is not None
    assert orjson.loads(watch.answer)["result"] == {"a": 1}
    assert [m["method"] for m in heard] == ["notifications/progress"], "no request, and nothing after the answer"  # type: ignore[index]


def test_what_is_no_stream_is_read_whole() -> None:
    assert not AnswerWatch(1).begins(200, {"content-type": "application/json"})
    assert not AnswerWatch(1).begins(401, {"content-type": "text/event-stream"})


def test_streams_are_bounded() -> None:
    watch = AnswerWatch(1)
    with pytest.raises(UpstreamUnreachable):
        watch.feed(message(method="x") * (MAX_EVENTS + 1))
    with pytest.raises(UpstreamUnreachable):
        AnswerWatch(1).feed(b"data: {\n\n")
