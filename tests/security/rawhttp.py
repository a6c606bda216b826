"""HTTP by hand: exactly these bytes out, and whatever comes back."""

import socket
import time
from dataclasses import dataclass, field

from bench.harness import Stand


@dataclass
class Raw:
    """What came back: status 0 where the connection was closed without an answer, -1 where nothing came in time."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    closed: bool = False
    seconds: float = 0.0


def open_socket(stand: Stand) -> socket.socket:
    host, _, port = stand.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def receive(sock: socket.socket, seconds: float) -> Raw:
    """Reads one answer, for at most so long."""
    began, data = time.perf_counter(), b""
    try:
        while time.perf_counter() - began < seconds:
            sock.settimeout(max(0.01, seconds - (time.perf_counter() - began)))
            part = sock.recv(65536)
            if not part:
                return parsed(data, closed=True, seconds=time.perf_counter() - began)
            data += part
            answer = parsed(data, closed=False, seconds=time.perf_counter() - began)
            if answer.status > 0 and len(answer.body) >= int(answer.headers.get("content-length", "0")):
                return answer
    except TimeoutError:
        pass
    except ConnectionError:
        return parsed(data, closed=True, seconds=time.perf_counter() - began)
    answer = parsed(data, closed=False, seconds=time.perf_counter() - began)
    answer.status = answer.status or -1
    return answer


def parsed(data: bytes, *, closed: bool, seconds: float) -> Raw:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/"):
        return Raw(0, closed=closed, seconds=seconds)
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Raw(int(first.split(" ")[1]), headers, body, closed, seconds)


def exchange(stand: Stand, data: bytes, seconds: float = 5.0) -> Raw:
    """Sends these bytes on a fresh connection and reads one answer."""
    with open_socket(stand) as sock:
        try:
            sock.sendall(data)
        except ConnectionError:
            return Raw(0, closed=True)
        return receive(sock, seconds)


def request(
    stand: Stand,
    target: str | bytes,
    *,
    method: str = "GET",
    headers: tuple[str, ...] = (),
    body: bytes = b"",
    host: str | None = "",
    key: str | None = None,
) -> bytes:
    """A request's bytes, with a Host (this server's unless named; None for none) and a length where there is a body."""
    lines = []
    if host is not None:
        lines.append(f"Host: {host or stand.url.removeprefix('http://')}")
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    path = target.encode("latin-1") if isinstance(target, str) else target
    head = "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")
    return method.encode() + b" " + path + b" HTTP/1.1\r\n" + head + body
