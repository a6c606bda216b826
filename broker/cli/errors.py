"""What ends a command: `CommandError` and its kinds. Each knows its exit code and what to tell."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.cli import exits


class CommandError(Exception):
    """Ends the command. `hint` says what to do next."""

    exit_code = exits.FAILED

    def __init__(self, what: str, hint: str | None = None) -> None:
        self.what = what
        self.hint = hint
        super().__init__(what)

    def as_json(self) -> dict[str, Any]:
        """For whoever reads standard error by machine."""
        return {"error": self.what} | ({} if self.hint is None else {"hint": self.hint})

    def lines(self) -> Sequence[str]:
        """For people."""
        return [self.what, *([] if self.hint is None else [f"→ {self.hint}"])]


class Usage(CommandError):
    """The command line makes no sense."""

    exit_code = exits.USAGE


class Unreachable(CommandError):
    """No server answered."""

    exit_code = exits.SERVER


class NoKey(CommandError):
    """There is a server, and nothing to say who asks."""

    exit_code = exits.UNAUTHENTICATED


class Refused(CommandError):
    """The server answered with a problem (API.md, Errors)."""

    def __init__(self, problem: Mapping[str, Any], status: int) -> None:
        self.problem = dict(problem)
        self.code = str(problem.get("code", "internal"))
        self.status = status
        super().__init__(str(problem.get("detail") or f"the server answered {status}"), problem.get("hint"))
        self.exit_code = exits.of_problem(self.code, status)

    def as_json(self) -> dict[str, Any]:
        return self.problem

    def lines(self) -> Sequence[str]:
        told = [f"{self.code}: {self.what}"]
        for field in self.problem.get("fields") or []:
            line = f"{field.get('path')}: {field.get('problem')}"
            if line != self.what:
                told.append(f"  {line}")
        if self.problem.get("sent") in (True, "unknown"):
            told.append(
                "  the request reached the upstream" if self.problem["sent"] is True else "  it may have been sent"
            )
        if self.problem.get("retry_after") is not None:
            told.append(f"  try again in {self.problem['retry_after']} s")
        if self.hint is not None:
            told.append(f"→ {self.hint}")
        if self.problem.get("connect_url"):
            told.append(f"→ {self.problem['connect_url']}")
        mended_by = f"keyreeve allow {self.problem.get('execution_id')}"
        if self.code == "not_granted" and self.problem.get("execution_id") and mended_by not in (self.hint or ""):
            told.append(f"→ {mended_by}")
        return told
