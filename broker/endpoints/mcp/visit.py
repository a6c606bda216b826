"""One request at an MCP endpoint, as its headers, URL and message say it: nothing here is believed yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.endpoints.mcp.message import Headers, Message
from broker.endpoints.mcp.place import Options, Place
from broker.errors import Problem, invalid
from broker.identity.authenticate import Asked
from broker.identity.tokens import ParsedToken

META_IDEMPOTENCY: Final = "keyreeve/idempotency_key"
META_RUN: Final = "keyreeve/run_id"
META_AGENT: Final = "keyreeve/agent"
META_INTENT: Final = "keyreeve/intent"
META_DEADLINE: Final = "keyreeve/deadline_seconds"


@dataclass(frozen=True, slots=True)
class Visit:
    """The parts of one request."""

    place: Place
    options: Options
    token: ParsedToken
    headers: Headers
    message: Message

    def asked(self, connection: str | None) -> Asked:
        """What it says about who asks. Raises Problem `invalid_input`."""
        meta = self.message.meta
        return Asked(
            tenant=self.place.tenant or _header(self.headers, "x-keyreeve-tenant", 63),
            identifier=_header(self.headers, "x-keyreeve-identifier", 200),
            connection=connection,
            client=self.message.client or _header(self.headers, "user-agent", 300),
            agent=text_of(meta, META_AGENT, 100),
            run_id=text_of(meta, META_RUN, 100) or _trace(meta.get("traceparent")),
            access=self.options.access,
            audience=self.place.path,
        )


def check_tenant(place: Place, headers: Headers) -> None:
    """Refuses a header that names another tenant than the path: one of the two is not what somebody meant. Raises
    Problem `invalid_input`."""
    named = headers.get("x-keyreeve-tenant")
    if place.tenant is not None and named not in (None, "", place.tenant):
        raise invalid("X-Keyreeve-Tenant", "names another tenant than the path; leave it out")


def text_of(meta: Mapping[str, Any], key: str, limit: int) -> str | None:
    """A text of `_meta`, or None. Raises Problem `invalid_input` where it is no printable text within `limit`."""
    value = meta.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
        raise invalid(f"_meta.{key}", f"must be printable and at most {limit} characters")
    return value


def seconds_of(meta: Mapping[str, Any], key: str, default: float, most: float) -> float:
    """A number of seconds of `_meta`, from 1 to `most`. Raises Problem `invalid_input`."""
    value = meta.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= most:
        raise invalid(f"_meta.{key}", f"must be a number from 1 to {most:g}")
    return float(value)


def _header(headers: Headers, name: str, limit: int) -> str | None:
    value = headers.get(name)
    if not value:
        return None
    if len(value) > limit or not value.isprintable():
        raise invalid(name, f"must be printable and at most {limit} characters")
    return value


def _trace(traceparent: object) -> str | None:
    """The trace id of a W3C `traceparent` (Trace Context § 3.2): what groups the calls of one run where nobody named
    it."""
    parts = traceparent.split("-") if isinstance(traceparent, str) and len(traceparent) <= 100 else []
    well_formed = len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() and set(parts[1]) != {"0"}
    return parts[1] if well_formed else None


def problem_object(problem: Problem) -> dict[str, Any]:
    """A refusal as the error object of a tool result: without what only HTTP needs."""
    return {key: value for key, value in problem.as_wire().items() if key not in ("type", "title", "status")}
