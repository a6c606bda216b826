"""A Secret spreads by no road that anyone has thought of."""

import copy
import dataclasses
import gc
import inspect
import io
import json
import logging
import pickle
import pprint
import traceback

import orjson
import pytest
import structlog
from rich.console import Console
from rich.pretty import pretty_repr

from vault.reveal import reveal
from vault.secret import MASK, Secret

CANARY = b"canary-7Qz1-plaintext"
TEXT = CANARY.decode()


@pytest.fixture
def secret() -> Secret:
    return Secret(CANARY)


def test_reveal_is_the_door(secret: Secret) -> None:
    assert reveal(secret) == CANARY
    with pytest.raises(TypeError):
        reveal(CANARY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        "{!r}".format,
        "%s".__mod__,
        "%r".__mod__,
        lambda s: f"{s}",
        pprint.pformat,
        pretty_repr,
        ascii,
        lambda s: repr([s, {"a": s}]),
        lambda s: repr(inspect.getmembers(s)),
    ],
)
def test_shown_masked(secret: Secret, show) -> None:
    shown = show(secret)
    assert MASK in shown or r"Secret(\u2026)" in shown
    assert TEXT not in shown


@pytest.mark.parametrize(
    "use",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        orjson.dumps,
        hash,
        len,
        bool,
        iter,
        bytes,
        list,
        vars,
        memoryview,
        lambda s: s == s,
        lambda s: s != b"",
        lambda s: s == CANARY,
        lambda s: s in {CANARY},
        lambda s: s in [CANARY],
        lambda s: b"c" in s,
        lambda s: s[0],
        lambda s: s + b"",
        lambda s: b"" + s,
        lambda s: s.__getstate__(),
        lambda s: s.__reduce__(),
        dataclasses.asdict,
    ],
)
def test_refused(secret: Secret, use) -> None:
    with pytest.raises(TypeError) as caught:
        use(secret)
    assert TEXT not in str(caught.value)


def test_json_with_a_default_shows_the_mask(secret: Secret) -> None:
    assert TEXT not in json.dumps({"s": secret}, default=str)
    assert TEXT not in orjson.dumps({"s": secret}, default=str).decode()


def test_immutable_and_final(secret: Secret) -> None:
    with pytest.raises(AttributeError):
        secret._open = lambda: b""
    with pytest.raises(AttributeError):
        del secret._open
    with pytest.raises(TypeError):
        type("Child", (Secret,), {})


def test_no_attribute_is_the_plaintext(secret: Secret) -> None:
    for name in dir(secret):
        if name == "__hash__":
            continue
        assert getattr(secret, name) is not CANARY
    assert not any(found is CANARY for found in gc.get_referents(secret))


def _logged(secret: Secret) -> str:
    out = io.StringIO()
    logger = logging.getLogger("keyreeve.tests.canary")
    logger.propagate = False
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(message)s %(secret)s %(secret)r"))
    logger.addHandler(handler)
    logger.error("opened %s %r", secret, secret, extra={"secret": secret})
    logger.removeHandler(handler)
    return out.getvalue()


def test_logging(secret: Secret) -> None:
    assert MASK in _logged(secret)
    assert TEXT not in _logged(secret)


def _fails(secret: Secret) -> None:
    held = {"in": [secret]}
    raise RuntimeError(f"while holding {secret} {len(held)}")


def test_tracebacks_with_locals(secret: Secret) -> None:
    try:
        _fails(secret)
    except RuntimeError as problem:
        plain = "".join(traceback.TracebackException.from_exception(problem, capture_locals=True).format())
        out = io.StringIO()
        Console(file=out, width=200).print_exception(show_locals=True)
        structured = structlog.tracebacks.ExceptionDictTransformer(show_locals=True)(
            (type(problem), problem, problem.__traceback__)
        )
    for shown in (plain, out.getvalue(), json.dumps(structured)):
        assert "_fails" in shown
        assert "held" in shown
        assert TEXT not in shown


def test_made_of_bytes_only() -> None:
    for wrong in (TEXT, bytearray(CANARY), None):
        with pytest.raises(TypeError) as caught:
            Secret(wrong)  # type: ignore[arg-type]
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
        assert TEXT not in str(frames[-1].locals)
