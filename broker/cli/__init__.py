"""The command `keyreeve`: everything of API.md from a shell, and the operator's own commands on the data directory.

Promises: tables on a terminal and JSON in a pipe; an exit code per kind of refusal (`exits.py`); no secret is ever an
argument, and none is printed but a key that was minted this moment, once. Nothing is imported before it is needed, so
that `keyreeve --help` answers at once.
"""


def main() -> None:
    """The entry of the script `keyreeve`."""
    from broker.cli.program import program

    program()(prog_name="keyreeve")
