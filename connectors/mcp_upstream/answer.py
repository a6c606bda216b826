"""Reads an answer: what a tool returned goes on bounded and without secrets, everything else is told in words."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors.base import Answer, Json, Prepared, RawAnswer
from connectors.errors import UpstreamUnreachable
from connectors.limits import rate_hint
from connectors.mcp_upstream.blocks import MAX_BLOCKS, is_block
from connectors.mcp_upstream.oauth.challenge import read_challenge
from connectors.mcp_upstream.prompts import read_completion, read_messages
from connectors.mcp_upstream.resources import read_contents, read_listed
from connectors.mcp_upstream.rounds import KINDS, MCP_INPUT, round_of
from connectors.mcp_upstream.rounds import asked as asked_of
from connectors.mcp_upstream.screening import clean_answer, screen
from connectors.mcp_upstream.wire import LEGACY, MCP_RESULT, MODERN, Reply, read_reply

MAX_DEPTH: Final = 200
MAX_TOLD: Final = 1_000
MARK: Final = "[redacted by Keyreeve]"

URL_ELICITATION: Final = -32042
"""URLElicitationRequired (2025-11-25, client/elicitation)."""

UNSUPPORTED_VERSION: Final = -32022
LISTED: Final = (MODERN, *LEGACY)

MISSING_CAPABILITY: Final = -32021
"""MissingRequiredClientCapability (2026-07-28, basic)."""

_SECRET = re.compile(
    r"cf(?:k|ut|at|oat)_[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
_MARKERS: Final = ("cf", "gh", "github_pat_", "PRIVATE KEY")
_HTTPS = re.compile(r"https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:[/?#][!-~]*)?")


def read_answer(prepared: Prepared, raw: RawAnswer, id_: int, needles: Sequence[bytes]) -> Answer:
    """The answer as its caller may see it. `needles` must not be in it.

    Raises:
        UpstreamUnreachable: it does not answer the request, or cannot be read. (`sent` is True: it was answered.)
    """
    kind = prepared.operation.id.partition(":")[0]
    called = kind != "maintenance"
    # Definitions keep what hides in them: screening looks for it, and their digests are over what the server said.
    clean = _Clean(needles, smuggled=called)
    reply = read_reply(raw, id_)
    error: Mapping[str, Json] | None
    media_type = MCP_RESULT if reply.result is not None else "application/json"
    if reply.result is None:
        data, error = None, _failed(raw, reply, clean)
    else:
        data = clean.value(reply.result, 0)
        error = None
        if called:
            wants = _wants(prepared, data)
            if isinstance(wants, dict):
                data, media_type = wants, MCP_INPUT
            elif wants is not None:
                data, error = _text(wants), {"detail": wants, "status": 200}
            elif kind == "tool":
                data, error = _called(data)
            else:
                data = _READ[kind if kind == "prompt" else prepared.operation.id](data)
    retry = rate_hint(raw.headers).retry_after_seconds
    if error is not None and retry is not None:
        error = {**error, "retry_after": retry}
    return Answer(
        status=raw.status,
        data=data,
        is_error=error is not None,
        error=error,
        ray=None,
        request_bytes=len(prepared.body or b""),
        response_bytes=len(raw.body),
        rate=rate_hint(raw.headers),
        media_type=media_type,
    )


def clean(message: Mapping[str, Json], needles: Sequence[bytes]) -> Mapping[str, Json]:
    """A notification as whoever listens may see it. Raises UpstreamUnreachable where it is nested too deeply."""
    found: Mapping[str, Json] = _Clean(needles, smuggled=True).value(message, 0)
    return found


class _Clean:
    """Takes secrets, and smuggled characters where asked to, out of every text of a value."""

    def __init__(self, needles: Sequence[bytes], *, smuggled: bool) -> None:
        self._smuggled = smuggled
        self._needles = [needle.decode("latin-1") for needle in needles if len(needle) >= 6]

    def value(self, value: Any, depth: int) -> Any:
        """The value, cleaned. Raises UpstreamUnreachable where it is nested too deeply."""
        if depth > MAX_DEPTH:
            raise UpstreamUnreachable("the server's answer is nested too deeply", sent=True)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        return value

    def text(self, text: str) -> str:
        """One text, cleaned."""
        if self._smuggled:
            text = clean_answer(text)
        for needle in self._needles:
            if needle in text:
                text = text.replace(needle, MARK)
        if any(marker in text for marker in _MARKERS):
            text = _SECRET.sub(MARK, text)
        return text


_READ: Final[Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Json]]]] = {
    "resource:list": read_listed,
    "resource:read": read_contents,
    "completion:complete": read_completion,
    "prompt": read_messages,
}


def _wants(prepared: Prepared, result: Mapping[str, Any]) -> dict[str, Json] | str | None:
    """What the server wants of the caller's client before it answers, as that may see it; as words for the model, where
    the client cannot be asked; None where it wants nothing."""
    if result.get("resultType", "complete") != "input_required":
        return None
    round_ = round_of(prepared)
    asked = result.get("inputRequests")
    if round_ is not None and round_.passed:
        return asked_of(round_, result)
    return _asked(list(asked.values()) if isinstance(asked, dict) else [])


def _called(result: Mapping[str, Any]) -> tuple[Json, Mapping[str, Json] | None]:
    """What a tool returned, with its blocks checked; and its own word where it failed."""
    content = result.get("content", [])
    if not isinstance(content, list) or len(content) > MAX_BLOCKS:
        raise UpstreamUnreachable("the server's answer is no tool result", sent=True)
    blocks = [block for block in content if is_block(block)]
    kept: dict[str, Json] = {"content": blocks}
    structured = result.get("structuredContent")
    if isinstance(structured, dict):
        kept["structuredContent"] = structured
    if result.get("isError") is not True:
        return kept, None
    said = next((block["text"] for block in blocks if block["type"] == "text"), "it did not say why")
    return kept, {"detail": f"the tool failed: {screen(said, MAX_TOLD).text}", "status": 200}


def _text(text: str) -> dict[str, Json]:
    return {"content": [{"type": "text", "text": text}]}


def _asked(requests: Sequence[Any]) -> str:
    """What a server that wants something first is told to the model and its person."""
    told = []
    for request in requests[:5]:
        params = request.get("params") if isinstance(request, dict) else None
        if isinstance(params, dict) and params.get("mode") == "url":
            told.append(_url(params))
    if told:
        return " ".join(told)
    return "the server asks for information through the client; Keyreeve passes no such request on, nothing was given"


def _url(params: Mapping[str, Any]) -> str:
    url, message = params.get("url"), params.get("message")
    if not isinstance(url, str) or len(url) > 2_000 or _HTTPS.fullmatch(url) is None:
        return "the server wants an address opened that is not plain https; it is not shown."
    why = screen(message, 300).text if isinstance(message, str) else ""
    host = url[8:].partition("/")[0]
    return (
        f"the server wants its person to open a page of {host} and then to be called again: {url} "
        f"(it says: {why!r}). Show the person the address; never enter anything there yourself."
    )


def _failed(raw: RawAnswer, reply: Reply, clean: _Clean) -> Mapping[str, Json]:
    """The error object of a refused or failed request."""
    if reply.code == URL_ELICITATION and isinstance(reply.data, dict):
        asked = reply.data.get("elicitations")
        told = _asked([{"params": item} for item in asked] if isinstance(asked, list) else [])
        return {"detail": clean.text(told), "status": raw.status}
    if 300 <= raw.status < 400:
        return {"detail": f"the server answered {raw.status}, a redirect, which is not followed", "status": raw.status}
    said = clean.text(screen(reply.message, MAX_TOLD).text)
    if raw.status == 401:
        said = "the server does not accept the credential; deposit another one"
    challenge = read_challenge(raw.headers) if raw.status == 403 else None
    if challenge is not None and challenge.error == "insufficient_scope" and challenge.scope is not None:
        told = f"the server answered 403: the sign-in lacks a scope of {challenge.scope!r}; connect the account again"
        return {"detail": clean.text(told), "status": 403, "scope": challenge.scope}
    error: dict[str, Json] = {"detail": f"the server answered {raw.status}" + (f": {said}" if said else "")}
    if reply.code:
        error["detail"] = f"the server answered {reply.code}: {said or 'it did not say why'}"
        error["errors"] = [{"code": reply.code, "message": said}]
    if reply.code == UNSUPPORTED_VERSION and isinstance(reply.data, dict):
        versions = reply.data.get("supported")
        error["supported"] = [v for v in LISTED if isinstance(versions, list) and v in versions]
    if reply.code == MISSING_CAPABILITY and isinstance(reply.data, dict):
        wanted = reply.data.get("requiredCapabilities")
        error["required_capabilities"] = [k for k in KINDS.values() if isinstance(wanted, dict) and k in wanted]
    return {**error, "status": raw.status}
