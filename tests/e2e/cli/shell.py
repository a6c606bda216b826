"""Running `keyreeve` in a pipe, and on a terminal."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from typer.testing import CliRunner

from broker.cli.program import program

PROGRAM = program()


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
        """The last line of standard error; what stands before it is for people."""
        return json.loads(self.err.splitlines()[-1])


@dataclass(frozen=True)
class Shell:
    """An environment to run commands in. `always` is added to every command.

    Commands that only speak with the server run in this process, which saves starting one for each; with `own_process`,
    and on a terminal, they are started as people start them.
    """

    environment: Mapping[str, str] = field(repr=False)
    always: Sequence[str] = field(default_factory=list)
    own_process: bool = False

    def _start(self, words: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("KEYREEVE_")}
        clean |= {"COLUMNS": "200", **self.environment}
        return subprocess.Popen([sys.executable, "-m", "broker.cli", *words, *self.always], env=clean, **streams)

    def run(self, *words: str, text: str = "") -> Ran:
        """In a pipe, with `text` on standard input."""
        if not self.own_process:
            forgotten: dict[str, str | None] = {k: None for k in os.environ if k.startswith("KEYREEVE_")}
            done = CliRunner().invoke(
                PROGRAM, [*words, *self.always], input=text, env={**forgotten, **self.environment}
            )
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            return Ran(done.exit_code, done.stdout, done.stderr)
        with self._start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(text.encode(), timeout=60)
        return Ran(process.returncode, out.decode(), err.decode())

    def ok(self, *words: str, text: str = "") -> Any:
        """In a pipe; it must succeed. Its JSON."""
        ran = self.run(*words, text=text)
        assert ran.code == 0, (words, ran)
        return ran.json

    def on_terminal(self, *words: str, answers: Sequence[tuple[str, str]] = ()) -> Ran:
        """On a terminal. Each of `answers` is typed once its question has been shown; `out` is all that was shown."""
        ours, theirs = pty.openpty()
        shown = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):  # the last one to hold the other side is gone
                while chunk := os.read(ours, 65536):
                    shown.extend(chunk)

        process = self._start(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for question, answer in answers:
                _until(lambda q=question: q.encode() in shown, f"{question!r} was not asked: {shown!r}")
                os.write(ours, answer.encode() + b"\n")
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
            reader.join(10)
            os.close(ours)
        return Ran(code, shown.decode().replace("\r\n", "\n"), "")


def _until(reached: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
