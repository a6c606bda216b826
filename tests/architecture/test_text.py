"""What must not stand in any file, and what the locks promise."""

import re
import tomllib

import pytest

from tests.architecture.repository import ROOT, texts

REGISTRIES = [
    f"{name}.{end}"
    for name, end in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("proxy.golang", "org"),
        ("anaconda", "org"),
        ("quay", "io"),
        ("ghcr", "io"),
        ("docker", "io"),
        ("gcr", "io"),
    )
]
WORKSHOP = "/" + "work" + "/"
"""Paths of the machine somebody happened to write this on."""
MARKED = re.compile(r"\b(?:cf(?:k|ut|at|oat)_[A-Za-z0-9]{40}[a-f0-9]{8}|krv_(?:op|ag|st)_[A-Za-z0-9]{60})\b")
"""Tokens in the full length of the formats that mark themselves: no real one is that repetitive, see below."""

LOCKS = ("requirements/runtime.txt", "requirements/dev.txt")
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)


def test_no_registry_host_and_no_path_of_a_workshop() -> None:
    """An installation chooses its own registry; a lock that names one would choose for it."""
    named = [f"{name}: {word}" for name, text in texts() for word in (*REGISTRIES, WORKSHOP) if word in text]
    assert named == []


def test_no_token_that_could_be_real() -> None:
    found = []
    for name, text in texts():
        for match in MARKED.finditer(text):
            if len(set(match[0].partition("_")[2])) > 20:
                found.append(f"{name}: {match[0][:8]}…")
    assert found == []


def test_no_private_key() -> None:
    opening = re.compile("-----BEGIN [A-Z ]*" + "PRIVATE KEY-----")
    assert [name for name, text in texts() if opening.search(text)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_pin_every_package_by_version_and_hash(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:[0-9a-f]{64}\b)", text, re.MULTILINE), "an option other than a hash"
    blocks = re.split(r"\n(?=\S)", text.strip())
    unpinned = [b.splitlines()[0] for b in blocks if b[0] != "#" and not (PINNED.match(b) and "--hash=sha256:" in b)]
    assert unpinned == []


def test_both_locks_agree() -> None:
    runtime, dev = (dict(PINNED.findall((ROOT / lock).read_text(encoding="utf-8"))) for lock in LOCKS)
    assert {name: dev.get(name) for name in runtime} == runtime


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = dict(PINNED.findall((ROOT / "requirements/runtime.txt").read_text(encoding="utf-8")))
    wanted = {re.split(r"[<>=!\[; ]", line, maxsplit=1)[0].lower() for line in project["project"]["dependencies"]}
    assert wanted - locked.keys() == set()
