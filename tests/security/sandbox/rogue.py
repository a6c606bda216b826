"""A worker that was taken over: greets as an honest one does, then does what its argument names.

Run as `python rogue.py WHAT`. Where WHAT is `honest`, it answers each run with 1.
"""

import json
import struct
import sys
import time

HEADER = struct.Struct(">IcI")
DONE = struct.Struct(">IIII")
GREETING = json.dumps({"done": ["rlimits", "no_new_privs", "landlock", "seccomp"]}).encode()


def read() -> tuple[bytes, int, bytes]:
    header = sys.stdin.buffer.read(HEADER.size)
    if len(header) < HEADER.size:
        raise SystemExit
    length, kind, run = HEADER.unpack(header)
    return kind, run, sys.stdin.buffer.read(length)


def say(kind: bytes, run: int, payload: bytes = b"", *, length: int | None = None) -> None:
    sys.stdout.buffer.write(HEADER.pack(len(payload) if length is None else length, kind, run) + payload)
    sys.stdout.buffer.flush()


def done(told: object, value: bytes = b"1", calls: int = 0) -> bytes:
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return DONE.pack(0, calls, len(text), len(value)) + text + value


def call(number: int, name: bytes = b"request", argument: bytes = b"{}") -> bytes:
    return struct.pack(">IB", number, len(name)) + name + argument


OK = {"ok": True, "error": None, "logs": [], "log_dropped": 0}


FAILED = {"ok": False, "error": {"kind": "fine"}, "logs": [], "log_dropped": 0}

SAID = {
    "honest": [(b"D", 0, done(OK), None)],
    "oversized": [(b"D", 0, b"", 0x7FFFFFFF)],
    "another run": [(b"D", 1, done(OK), None)],
    "run zero": [(b"D", None, done(OK), None)],
    "unknown kind": [(b"Z", 0, b"", None)],
    "greeting again": [(b"H", 0, GREETING, None)],
    "waits for nothing": [(b"W", 0, b"", None)],
    "drop unasked": [(b"X", 0, b"", None)],
    "done twice": [(b"D", 0, done(OK), None), (b"D", 0, done(OK), None)],
    "lengths that lie": [(b"D", 0, DONE.pack(0, 0, 5, 500) + b"{}", None)],
    "result cut short": [(b"D", 0, b"\0", None)],
    "not JSON": [(b"D", 0, done(b"{nonsense"), None)],
    "deep JSON": [(b"D", 0, done(b"[" * 100_000), None)],
    "wrong shape": [(b"D", 0, done([1, 2]), None)],
    "wrong logs": [(b"D", 0, done(OK | {"logs": [["shout", "x"]]}), None)],
    "too many logs": [(b"D", 0, done(OK | {"logs": [["log", ""]] * 5000}), None)],
    "wrong error": [(b"D", 0, done(FAILED), None)],
    "wrong count": [(b"D", 0, done(OK | {"log_dropped": -1}), None)],
    "more calls than allowed": [(b"D", 0, done(OK, calls=100_000), None)],
    "result too long": [(b"D", 0, done(OK, value=b"1" * 9_000_000), None)],
    "call without a name": [(b"C", 0, call(1, b""), None)],
    "call with a strange name": [(b"C", 0, call(1, b"../etc"), None)],
    "call twice": [(b"C", 0, call(1), None), (b"C", 0, call(1), None)],
    "call too long": [(b"C", 0, b"", 9_500_000)],
    "call cut short": [(b"C", 0, b"\0\0", None)],
    "call flood": [(b"C", 0, call(number), None) for number in range(1, 400)],
}
"""What is said instead of an answer: (kind, how far from the run's id or None for run 0, payload, length claimed)."""


def misbehave(what: str, run: int) -> None:
    if what == "garbage":
        sys.stdout.buffer.write(b"\xff" * 4096)
        sys.stdout.buffer.flush()
    elif what == "silence":
        time.sleep(1000)
    elif what == "end":
        raise SystemExit(3)
    else:
        for kind, offset, payload, length in SAID[what]:
            say(kind, 0 if offset is None else run + offset, payload, length=length)


def main() -> None:
    read()
    say(b"H", 0, GREETING)
    while True:
        kind, run, payload = read()
        if kind == b"R":
            misbehave("honest" if b"honest" in payload else sys.argv[1], run)
        elif kind == b"X":
            say(b"X", run)


main()
