"""One call's input made into the exact bytes of one HTTP request. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.errors import FieldProblem, InvalidInput
from connectors.frozen import quick
from connectors.openapi.body import choose, encode_body
from connectors.openapi.bounds import MAX_PROBLEMS, MAX_REQUEST_BODY
from connectors.openapi.model import ABSENT, Absent, Json, OperationDetails
from connectors.openapi.template import TemplateError
from connectors.openapi.validate import SAFE_HEADERS, check_body, check_headers, check_path, check_query


@quick
@dataclass(frozen=True, slots=True)
class Built:
    """A request without origin or credential.

    `path` begins with `/` and lacks the base path; `query` lacks the `?`. `headers` hold Content-Type where
    there is a body. `media_type` is what the body is sent as, None without one. `problems` are how the body
    differs from the description: advice, unless the connection's configuration makes it a refusal.
    """

    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    media_type: str | None
    problems: tuple[FieldProblem, ...]


def build(
    details: OperationDetails,
    *,
    path_params: Mapping[str, Json] | None = None,
    query: Mapping[str, Json] | None = None,
    body: Json | Absent = ABSENT,
    content_type: str | None = None,
    headers: Mapping[str, Json] | None = None,
    safe_headers: frozenset[str] = SAFE_HEADERS,
    max_body_bytes: int = MAX_REQUEST_BODY,
) -> Built:
    """The request an operation's input means.

    Everything but the body is judged strictly: unknown, missing and ill-typed parameters, values that cannot
    stand in their place. `body` is sent whatever it is (`null`, `0`, `""`, `[]` too) unless it is `ABSENT`.
    Raises InvalidInput (every wrong field, at most 10) and PayloadTooLarge (over `max_body_bytes`).
    """
    wrong: list[FieldProblem] = []
    encoded = check_path(details, path_params or {}, wrong)
    query_text = check_query(details, query or {}, wrong)
    sent_headers = check_headers(details, headers or {}, wrong, safe_headers)
    if body is not ABSENT and not details.bodies and details.row.method in ("GET", "HEAD"):
        wrong.append(FieldProblem("body", f"{details.row.ref} takes no body"))
    if wrong:
        raise InvalidInput(wrong[:MAX_PROBLEMS])
    try:
        path = details.template.fill(encoded)
    except TemplateError as error:
        raise InvalidInput([FieldProblem("path_params", str(error))]) from None
    if isinstance(body, Absent):
        return Built(path, query_text, tuple(sent_headers), None, None, tuple(check_body(details, None, ABSENT)))
    choice = choose(details, body, content_type)
    data, header = encode_body(details, body, choice, max_body_bytes)
    problems = check_body(details, choice.declared, body)
    sent_headers.append(("Content-Type", header))
    return Built(path, query_text, tuple(sent_headers), data, header.split(";")[0].strip(), tuple(problems))
