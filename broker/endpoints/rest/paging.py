"""What bodies and queries have in common: the page a list is asked for, the shape it answers in, and
times."""

from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

from broker.db.paging import MAX_PAGE, PageRequest, read_page

T = TypeVar("T")


class PageOf(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_page_token: str | None = Field(
        None, description="Ask again with it as `page_token` for the next page; null at the end."
    )


def page_request(
    page_size: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many items at most.")] = 100,
    page_token: Annotated[
        str | None, Query(max_length=200, description="`next_page_token` of the page before.")
    ] = None,
) -> PageRequest:
    """The page that the query asks for. Raises Problem `invalid_input`."""
    return read_page(page_size, page_token)


PageDep = Annotated[PageRequest, Depends(page_request)]


def _text(value: Any) -> Any:
    """Times are RFC 3339 texts; a number would be read as seconds since 1970, which nobody means here."""
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError("must be an RFC 3339 time, like 2027-01-31T00:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text)]
"""A time in a request's body."""


def _printable(value: str) -> str:
    """`value`, if PostgreSQL can keep it and a line of a log can show it."""
    if not value.isprintable():
        raise ValueError("must be printable characters")
    return value


Line = Annotated[str, AfterValidator(_printable)]
"""One line of text in a request: a name, a reason. PostgreSQL knows no NUL."""
