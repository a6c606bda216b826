"""A quick frozen value is the dataclass it was, made faster."""

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from connectors.frozen import quick


@quick
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plain:
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)


def test_arguments_and_defaults_are_the_same() -> None:
    for made in (Point(1), Point(x=1), Point(1, y=2, tags=[])):
        assert (made.x, made.y, made.tags) == (1, 2, [])
        assert repr(made) == repr(Plain(1)).replace("Plain", "Point")
    assert Point(1) == Point(1) != Point(2)
    assert Point(1).tags is not Point(1).tags
    assert replace(Point(1), y=5) == Point(1, 5)


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError):
            Point(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Point(1, 2, [], 4)  # type: ignore[call-arg]


def test_it_stays_frozen() -> None:
    made = Point(1)
    with pytest.raises(FrozenInstanceError):
        made.x = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.y  # type: ignore[misc]
    assert not hasattr(made, "__dict__")


def test_checks_after_making_still_run() -> None:
    @quick
    @dataclass(frozen=True, slots=True)
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n < 1:
                raise ValueError("positive")

    assert Positive(1).n == 1
    with pytest.raises(ValueError, match="positive"):
        Positive(0)


def test_only_frozen_slots_with_plain_arguments() -> None:
    @dataclass(slots=True)
    class Loose:
        n: int

    @dataclass(frozen=True)
    class Unslotted:
        n: int

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        n: int

    for wrong in (Loose, Unslotted, Named):
        with pytest.raises(TypeError):
            quick(wrong)
