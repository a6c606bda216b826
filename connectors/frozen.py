"""Frozen values that are cheap to make: a call makes some fifty of them."""

from dataclasses import MISSING, fields
from types import MemberDescriptorType
from typing import Any, TypeVar, cast

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """`cls`, a `@dataclass(frozen=True, slots=True)`, with an `__init__` that does the same in less than half the time.

    The generated one sets each field through `object.__setattr__`, which looks it up by name; this one calls the slots'
    own setters. Nothing else changes: values stay frozen, arguments and defaults are the same. Raises TypeError for a
    class of another kind, or with a field that is not a plain argument.
    """
    params = getattr(cls, "__dataclass_params__", None)
    if params is None or not params.frozen:
        raise TypeError(f"{cls.__name__} is not a frozen dataclass")
    known: dict[str, Any] = {"_none": MISSING}
    arguments, lines = ["self"], []
    for field in fields(cast(Any, cls)):
        name, slot = field.name, getattr(cls, field.name, None)
        if not isinstance(slot, MemberDescriptorType) or not field.init or field.kw_only:
            raise TypeError(f"{cls.__name__}.{name} is not a plain slot")
        known[f"_set_{name}"] = slot.__set__
        value = name
        if field.default_factory is not MISSING:
            known[f"_make_{name}"] = field.default_factory
            arguments.append(f"{name}=_none")
            value = f"_make_{name}() if {name} is _none else {name}"
        elif field.default is not MISSING:
            known[f"_default_{name}"] = field.default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        lines.append(f"    _set_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    source = "\n".join([f"def __init__({', '.join(arguments)}):", *lines])
    exec(source, known)  # noqa: S102 - it holds the names of fields and nothing else: identifiers of ours
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    setattr(cls, "__init__", made)  # noqa: B010 - as data: a method may not be assigned
    return cls
