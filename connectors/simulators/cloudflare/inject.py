"""Spoils answers as a fault says. Some need the transport itself: a real server would never send such bytes
by choice.
"""

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from connectors.simulators.cloudflare.answers import Answer
from connectors.simulators.cloudflare.faults import Fault

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HTML = b"<!DOCTYPE html><html><head><title>%d</title></head><body>Error %d</body></html>"
MAX_HUGE = 4096
MAX_BOMB = 256
LONGEST = 3600.0


class NoTransportError(RuntimeError):
    """The fault needs the connection itself, and this server doesn't lend it (uvicorn does)."""


async def spoil(
    fault: Fault, answer: Answer, ray: bytes, credential: bytes, receive: Receive, send: Send
) -> int | None:
    """Answer as `fault` says instead of with `answer`.

    Returns the status sent, None where none was. Raises NoTransportError outside a uvicorn server for cuts
    and false lengths.
    """
    kind = fault.kind
    if kind == "hang":
        await _until_gone(receive)
        return None
    if kind == "reset":
        await _cut(send, receive)
        return None
    if kind in {"truncated", "wrong_length"}:
        await _raw(fault, answer, ray, send, receive)
        return answer.status
    if kind == "huge":
        await _huge(fault, ray, send)
        return 200
    if kind == "slow":
        await _slow(fault, answer, ray, send)
        return answer.status
    if kind == "latency":
        await asyncio.sleep(min(LONGEST, fault.number("seconds", 0.5)))
        changed = answer
    else:
        changed = _replaced(fault, credential)
    await _send(send, changed, ray)
    return changed.status


def _replaced(fault: Fault, credential: bytes) -> Answer:
    """The other answer that garbage, bomb, status, redirect and echo give."""
    kind = fault.kind
    if kind == "garbage":
        return Answer(b"\x00\xff{not json" + bytes(range(256)))
    if kind == "bomb":
        size = int(min(MAX_BOMB, fault.number("megabytes", 64)) * 2**20)
        packed = gzip.compress(b'{"result":"' + b"x" * size + b'"}', compresslevel=6)
        return Answer(packed, headers=((b"content-encoding", b"gzip"),))
    if kind == "status":
        status = int(fault.number("status", 502))
        wait = fault.params.get("retry_after")
        headers = ((b"retry-after", str(wait).encode("latin-1")),) if wait is not None else ()
        return Answer(HTML % (status, status), status, b"text/html; charset=UTF-8", headers)
    if kind == "redirect":
        location = str(fault.params.get("location", "https://attacker.invalid/")).encode("latin-1")
        return Answer(b"", int(fault.number("status", 307)), headers=((b"location", location),))
    status, where = int(fault.number("status", 400)), fault.params.get("where", "message")
    text = credential.decode("latin-1")
    error = {"code": 10000, "message": f"Authentication error for token {text}"}
    body = orjson.dumps({"success": False, "errors": [error], "messages": [], "result": None})
    if where == "escaped":
        hidden = "".join(f"\\u{ord(char):04x}" for char in text)
        body = body.replace(text.encode("latin-1"), hidden.encode("ascii")) if text else body
    headers = ((b"x-debug-authorization", credential),) if where == "header" else ()
    return Answer(body, status, headers=headers)


def _headers(answer: Answer, ray: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", answer.media_type),
        (b"cf-ray", ray),
        (b"server", b"cloudflare"),
        *answer.headers,
    ]


async def _send(send: Send, answer: Answer, ray: bytes) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [*_headers(answer, ray), length]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _transport(send: Send) -> asyncio.Transport:
    """The connection behind `send`: uvicorn's own request object holds it."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise NoTransportError("this fault needs a uvicorn server")
    return transport  # type: ignore[no-any-return]  # as uvicorn has it


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(send: Send, receive: Receive) -> None:
    """Cut the connection with a TCP reset."""
    transport = _transport(send)
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _until_gone(receive)


async def _raw(fault: Fault, answer: Answer, ray: bytes, send: Send, receive: Receive) -> None:
    """Write past the server: a short body whose length is honest, or a length that isn't; then close."""
    body, claimed = answer.body, len(answer.body)
    if fault.kind == "truncated":
        body = body[: int(len(body) * min(1.0, fault.number("keep", 0.5)))]
        claimed = len(body)
    else:
        claimed = max(0, claimed + int(fault.number("delta", 10)))
    lines = [b"HTTP/1.1 %d Spoilt" % answer.status, b"content-length: %d" % claimed, b"connection: close"]
    lines += [name + b": " + value for name, value in _headers(answer, ray)]
    transport = _transport(send)
    transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    transport.close()
    await _until_gone(receive)


async def _huge(fault: Fault, ray: bytes, send: Send) -> None:
    """Stream one JSON string of so many MB, as fast as the reader takes it."""
    headers = _headers(Answer(b""), ray)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    chunk = b"x" * 2**16
    await send({"type": "http.response.body", "body": b'{"success":true,"result":"', "more_body": True})
    for _ in range(int(min(MAX_HUGE, fault.number("megabytes", 64)) * 16)):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b'"}'})


async def _slow(fault: Fault, answer: Answer, ray: bytes, send: Send) -> None:
    """The true answer, `chunk` bytes every `seconds`."""
    size, pause = max(1, int(fault.number("chunk", 1))), min(LONGEST, fault.number("seconds", 0.2))
    headers = [*_headers(answer, ray), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(pause)
        more = start + size < len(answer.body)
        await send({"type": "http.response.body", "body": answer.body[start : start + size], "more_body": more})
