"""Plays the demo: one act after the other, each told in plain words as it happened."""

import signal
import sys
import time
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final, NoReturn

import typer

from broker.cli import exits
from broker.cli.demo.acts import ACTS, World
from broker.cli.demo.stage import Stage
from broker.cli.demo.telling import Otherwise, Told
from broker.cli.errors import CommandError
from broker.cli.output import Out

WIDTH: Final = 110


@dataclass(slots=True)
class Teller:
    """Tells acts: to people as a numbered list, to machines as one JSON object each."""

    out: Out
    number: int = 0

    def tell(self, title: str, told: Told, seconds: float) -> None:
        """One act that went as it must."""
        self.number += 1
        if self.out.as_json:
            line = {"step": self.number, "ok": True, "title": title, "did": told.did, "seconds": round(seconds, 3)}
            self.out.json(line | {"requests": [{"request": r, "answer": a} for r, a in told.exchanges]})
            return
        self.out.say(f"\n{self.number:2}. {title}")
        self.out.say(f"    {told.did}")
        for request, answer in told.exchanges:
            self.out.say(f"      {request}")
            for row in wrap(answer, WIDTH, initial_indent="      → ", subsequent_indent="        "):
                self.out.say(row)

    def failed(self, title: str, why: str, log: str) -> None:
        """The act that did not go as it must."""
        self.number += 1
        if self.out.as_json:
            self.out.json({"step": self.number, "ok": False, "title": title, "differed": why})
        else:
            self.out.say(f"\n{self.number:2}. {title}\n    ✘ {why}")
        self.out.note(log)


def play(out: Out, *, once: bool, as_json: bool) -> None:
    """All of it. Raises typer.Exit with 1 where an act went otherwise than it must."""
    out = Out(as_json, out.stdout, out.stderr)
    teller = Teller(out)
    signal.signal(signal.SIGTERM, _terminated)
    began = time.monotonic()
    out.say("Keyreeve's main job, against a simulated Cloudflare on this machine.")
    with Stage() as stage:
        world = World(stage)
        try:
            for title, act in ACTS:
                _play(teller, title, act, world)
            total = time.monotonic() - began
            out.say(f"\nAll {teller.number} steps went as they must, in {total:.1f} s.")
            if not once:
                _stay(out, stage)
        except KeyboardInterrupt:
            raise typer.Exit(exits.OK if world.finished else exits.FAILED) from None
        finally:
            world.close()


def _play(teller: Teller, title: str, act: Any, world: World) -> None:
    started = time.monotonic()
    try:
        told = act(world)
    except (Otherwise, CommandError) as error:
        told_why = "; ".join(error.lines()) if isinstance(error, CommandError) else str(error)
        teller.failed(title, told_why, world.stage.server_log())
        raise typer.Exit(exits.FAILED) from None
    teller.tell(title, told, time.monotonic() - started)


def _stay(out: Out, stage: Stage) -> None:
    """Leaves it running to play with, until Ctrl-C."""
    if out.as_json:
        out.json({"event": "playing", "url": stage.url, "data_dir": str(stage.data_dir)})
    with_dir = f"--data-dir {stage.data_dir} --tenant acme"
    for line in (
        "\nIt stays up now to play with. In another terminal:",
        f"  keyreeve tools -i marco {with_dir}",
        f'  keyreeve call cloudflare_call operation="GET /zones" -i marco {with_dir}',
        f'  keyreeve why marco "DELETE /zones/{{zone_id}}" {with_dir}',
        f"  keyreeve tail --since 10m {with_dir}",
        f"\nServer: {stage.url}   operator key: {stage.data_dir / 'admin.key'}",
        "Ctrl-C ends it and removes everything.",
    ):
        out.say(line)
    stage.wait()


def _terminated(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)
