"""Why a server does not start."""


class CannotStart(Exception):
    """A sentence for the person who started it, and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what} ({fix})")
