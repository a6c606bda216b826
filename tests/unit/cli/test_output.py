"""Results: JSON in a pipe, tables for people, and nothing that a terminal would obey."""

import io
import json

from broker.cli.output import Out, cell, plain


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


ITEMS = [{"name": "a\x1b[31m", "n": None, "who": {"x": True}}, {"name": "[bold]b[/bold]", "n": 2, "who": {"x": False}}]


def test_a_pipe_gets_one_line_of_exact_json() -> None:
    out = Out(True, io.StringIO(), io.StringIO())
    out.items(ITEMS, {"name": "name"}, none="none")
    out.say("not for machines")
    text = out.stdout.getvalue()  # type: ignore[attr-defined]
    assert text.count("\n") == 1
    assert json.loads(text) == {"items": ITEMS}


def test_a_terminal_gets_a_table_without_escapes_and_without_markup() -> None:
    out = Out(False, Terminal(), Terminal())
    out.items(ITEMS, {"name": "name", "number": "n", "x": "who.x", "twice": lambda i: [i["n"], i["n"]]}, none="none")
    text = out.stdout.getvalue()  # type: ignore[attr-defined]
    assert "\\u001b[31m" in text
    assert "[bold]b[/bold]" in text
    assert "yes" in text
    assert "2, 2" in text
    assert "\x1b[31m" not in text


def test_an_empty_list_is_told_in_words() -> None:
    out = Out(False, io.StringIO(), io.StringIO())
    out.items([], {"name": "name"}, none="Nothing there.")
    assert out.stdout.getvalue() == "Nothing there.\n"  # type: ignore[attr-defined]


def test_json_on_a_terminal_is_indented_and_obeys_nothing() -> None:
    out = Out(True, Terminal(), Terminal())
    out.json({"a": "\x9b31m\u202e"})
    text = out.stdout.getvalue()  # type: ignore[attr-defined]
    assert json.loads(text) == {"a": "\x9b31m\u202e"}
    assert "\x9b" not in text
    assert "\u202e" not in text


def test_cells() -> None:
    assert cell({"a": 1, "b": None}) == "a: 1"
    assert cell([]) == "none"
    assert cell(False) == "no"
    assert plain("é\n中") == "é\n中"
