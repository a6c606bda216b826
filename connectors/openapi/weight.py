"""How much work reading a JSON text is, told before it is read: from its length alone it may be a hundredfold more."""

import re
from typing import Final

CONTAINERS_MOST: Final = 100_000
COMMAS_MOST: Final = 500_000
_LIGHT: Final = 64 * 1024
_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def too_heavy(text: bytes, *, aside: bytes | None = None) -> bool:
    """Whether a JSON text may hold more objects, arrays and members than are read for one request.

    What stands in strings counts too. `aside` is how the member begins whose string does not count, as `"name":"`.
    """
    if len(text) <= _LIGHT:
        return False
    containers, commas = _counted(text)
    at = -1 if aside is None else text.find(aside)
    if at >= 0 and aside is not None and (containers > CONTAINERS_MOST or commas > COMMAS_MOST):
        found = _STRING.match(text, at + len(aside))
        inside = (0, 0) if found is None else _counted(found[0])
        containers, commas = containers - inside[0], commas - inside[1]
    return containers > CONTAINERS_MOST or commas > COMMAS_MOST


def _counted(text: bytes) -> tuple[int, int]:
    return text.count(b"{") + text.count(b"["), text.count(b",")
