"""Reading a form: bounded, one value a field, and never repeated in an error."""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from broker.endpoints.pages.hardening import check_same_origin
from broker.errors import Problem, invalid
from broker.identity.tickets import check_csrf

MAX_BYTES: Final = 32 * 1024
MAX_FIELDS: Final = 20
TYPE: Final = "application/x-www-form-urlencoded"


async def read_form(request: Request, csrf: str, *, most: int = MAX_FIELDS) -> dict[str, str]:
    """The fields of a form that this very page sent, at most `most`. Raises Problem `forbidden`, `invalid_input`,
    `unsupported_media_type`, `payload_too_large`."""
    check_same_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TYPE:
        raise Problem("unsupported_media_type", "a form is sent as application/x-www-form-urlencoded")
    raw = await request.body()
    if len(raw) > MAX_BYTES:
        raise Problem("payload_too_large", f"a form must not exceed {MAX_BYTES} bytes")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=most, errors="strict")
    except ValueError:
        raise invalid("body", "is not a form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise invalid("body", "names a field twice")
    check_csrf(csrf, fields.pop("csrf", ""))
    return fields
