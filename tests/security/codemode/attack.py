"""A hostile program as a session would send it, and how it must end.

`ends` are the error codes it may end with, `ok` where it does no harm; `sent` how many requests may have left at most.
`ZONE` stands for a zone's id, `ACCOUNT` for the account's, `OTHER` for the other account's, `PORT` for the simulator's.
"""

from dataclasses import dataclass

INPUT, EGRESS, UNKNOWN, CODE = "invalid_input", "egress_refused", "unknown_operation", "code_error"
REFUSED, FORBIDDEN, UPSTREAM, LARGE = "not_granted", "forbidden", "upstream_error", "payload_too_large"


@dataclass(frozen=True)
class Attack:
    """`said`: what the error's text must hold. `value`: what it answers where it ends well."""

    name: str
    code: str
    ends: tuple[str, ...]
    sent: int = 0
    said: str = ""
    value: object = None


def request(request: str) -> str:
    return f"async () => cloudflare.request({request})"
