"""What the documents say is there: files, commands, make targets, paths of the API, settings."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from broker.cli.program import program
from tests.architecture.repository import ROOT, files, texts
from tests.architecture.test_contract import described

DOCUMENTS = sorted(p.relative_to(ROOT).as_posix() for p in files() if p.suffix == ".md" and "vectors" not in p.parts)
TOPS = {path.relative_to(ROOT).parts[0] for path in files()}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|\s|/)keyreeve (?!import |https?:)((?:[a-z][a-z-]+ ?)+)")
OPTION = re.compile(r"(--[a-z][a-z-]+)")
ROUTE = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/(?:v1/[\w/{}.:-]*|healthz|readyz|metrics))")
VARIABLE = re.compile(r"\bKEYREEVE_[A-Z_]+\b")
MAKE = re.compile(r"\bmake ([a-z]+)\b")


def body(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def code(document: str) -> Iterator[str]:
    """Everything set as code: spans and the lines of blocks."""
    text = body(document)
    for block in FENCE.findall(text):
        yield from block.splitlines()
    yield from CODE.findall(FENCE.sub("", text))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    dead = [to for to in LINK.findall(body(document)) if "://" not in to and not (here / to).exists()]
    assert dead == []


def is_path(word: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+(?:/[\w.-]+)+/?", word)) and word.split("/")[0] in TOPS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_exist(document: str) -> None:
    """Any code that is a path from the root, or from the document's own folder."""
    gone = []
    for line in code(document):
        for word in re.split(r"[\s,;:()\"'=]+", line):
            if is_path(word) and not (ROOT / word).exists() and not (ROOT / document).parent.joinpath(word).exists():
                gone.append(word)
    assert gone == []


@cache
def commands() -> Any:
    return typer.main.get_command(program())


def unknown_in(line: str) -> str | None:
    """What a line of shell asks of `keyreeve` that it cannot do, or None."""
    for match in COMMAND.finditer(line):
        here, said = commands(), ""
        for word in match[1].split():
            inner = getattr(here, "commands", None)
            if inner is None:
                break
            if word not in inner:
                return f"keyreeve {said}{word}"
            here, said = inner[word], f"{said}{word} "
        else:
            rest = re.split(r"[|;&)]|\s{2,}", line[match.start() :])[0]
            known = {option for parameter in here.params for option in (*parameter.opts, *parameter.secondary_opts)}
            for option in OPTION.findall(rest):
                if option not in known:
                    return f"keyreeve {said}{option}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_named_exist(document: str) -> None:
    assert [wrong for line in code(document) if (wrong := unknown_in(line)) is not None] == []


def test_the_check_of_commands_can_fail() -> None:
    assert unknown_in("keyreeve frobnicate") == "keyreeve frobnicate"
    assert unknown_in("keyreeve grants forge") == "keyreeve grants forge"
    assert unknown_in("keyreeve up --turbo") == "keyreeve up --turbo"
    assert unknown_in("keyreeve up --port 8700") is None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_measurements_named_exist(document: str) -> None:
    named = {name for line in code(document) for name in re.findall(r"python -m bench\.(\w+)", line)}
    assert [name for name in named if not (ROOT / "bench" / f"{name}.py").exists()] == []


def test_every_measurement_is_described() -> None:
    runs = {p.stem for p in (ROOT / "bench").glob("*.py") if '__name__ == "__main__"' in p.read_text(encoding="utf-8")}
    assert runs - set(re.findall(r"python -m bench\.(\w+)", body("bench/README.md"))) == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_named_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for line in code(document) for target in MAKE.findall(line)}
    assert named - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_calls_of_the_api_named_exist(document: str) -> None:
    there = {("POST", "/v1/tools/execute")}
    for path, operations in described().items():
        there |= {(method.upper(), re.sub(r"\{[^}]*\}", "{}", path)) for method in operations}
    named = {(method, re.sub(r"\{[^}]*\}", "{}", path).rstrip(".:")) for method, path in ROUTE.findall(body(document))}
    assert named - there == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_named_exist(document: str) -> None:
    """A variable is real where code, a test or a file of deploy/ reads it."""
    read = {name for path, text in texts() if Path(path).suffix != ".md" for name in VARIABLE.findall(text)}
    assert set(VARIABLE.findall(body(document))) - read == set()


def test_a_newcomer_sees_what_it_is_and_the_commands_first() -> None:
    first_screen = "\n".join(body("README.md").splitlines()[:40])
    for needed in (
        "make demo",
        "make test",
        "keyreeve up",
        "keyreeve connect cloudflare",
        "keyreeve call cloudflare_call",
    ):
        assert needed in first_screen
    assert len(body("README.md").splitlines()) <= 200
