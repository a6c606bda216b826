"""Running `keyreeve` in a pipe, and on a terminal."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        return json.loads(self.err)


@dataclass(frozen=True)
class Shell:
    """An environment to run commands in. `always` is added to every command."""

    environment: Mapping[str, str] = field(repr=False)
    always: Sequence[str] = field(default_factory=list)

    def _start(self, words: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("KEYREEVE_")}
        clean |= {"COLUMNS": "200", **self.environment}
        return subprocess.Popen([sys.executable, "-m", "broker.cli", *words, *self.always], env=clean, **streams)

    def run(self, *words: str, text: str = "") -> Ran:
        """In a pipe, with `text` on standard input."""
        with self._start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(text.encode(), timeout=60)
        return Ran(process.returncode, out.decode(), err.decode())

    def ok(self, *words: str, text: str = "") -> Any:
        """In a pipe; it must succeed. Its JSON."""
        ran = self.run(*words, text=text)
        assert ran.code == 0, (words, ran)
        return ran.json

    def on_terminal(self, *words: str, typed: str = "") -> Ran:
        """On a terminal, where `typed` is typed; `out` is all that it showed."""
        ours, theirs = pty.openpty()
        shown: list[bytes] = []

        def read() -> None:
            with contextlib.suppress(OSError):  # the last one to hold the other side is gone
                while chunk := os.read(ours, 65536):
                    shown.append(chunk)

        with self._start(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
            os.close(theirs)
            reader = threading.Thread(target=read)
            reader.start()
            os.write(ours, typed.encode())
            code = process.wait(60)
        reader.join(10)
        os.close(ours)
        return Ran(code, b"".join(shown).decode().replace("\r\n", "\n"), "")
