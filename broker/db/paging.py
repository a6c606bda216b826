"""Keyset paging: a page is asked for after a key, so it neither skips nor repeats rows while others are added.

A page token is the last row's sort key and the list's name, written as base64url JSON. It holds nothing secret and is
checked for form: a forged one can only ask for another place in the same tenant's list.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import Problem, invalid

T = TypeVar("T")

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page: `size` rows (1 to 1,000) after `after` (a time and an id) in list `of`, or from the beginning."""

    size: int = 100
    after: tuple[datetime, UUID] | None = None
    of: str | None = None

    def past(self, of: str) -> tuple[datetime, UUID] | None:
        """`after`, for list `of`. Raises Problem `invalid_input` for the token of another list: its keys mean nothing
        here, and would skip rows unseen."""
        if self.after is not None and self.of != of:
            raise _bad_token()
        return self.after


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows and the token of the next page, or None at the end."""

    items: Sequence[T]
    next_page_token: str | None = None

    def wire(self) -> dict[str, Any]:
        """As API.md writes a list."""
        return {"items": list(self.items), "next_page_token": self.next_page_token}


def page_token(at: datetime, row_id: UUID, of: str) -> str:
    """The token of the page after the row with this key, in list `of`."""
    return base64.urlsafe_b64encode(orjson.dumps([at.isoformat(), str(row_id), of])).decode("ascii").rstrip("=")


def read_page(page_size: int, token: str | None) -> PageRequest:
    """The request that query parameters spell. Raises Problem `invalid_input`."""
    if not 1 <= page_size <= MAX_PAGE:
        raise invalid("page_size", f"must be 1 to {MAX_PAGE}")
    if token is None:
        return PageRequest(page_size)
    try:
        if len(token) > 200:
            raise ValueError(token[:10])
        at, row_id, of = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        when = datetime.fromisoformat(at)
        if when.tzinfo is None or not 1970 <= when.year < 9000:
            raise ValueError(at)
        return PageRequest(page_size, (when, UUID(row_id)), of)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise _bad_token() from None


def _bad_token() -> Problem:
    return invalid("page_token", "is not one that this server gave", hint="start again without it")


async def keyset(
    conn: AsyncConnection,
    statement: Select[Any],
    key: tuple[ColumnElement[Any], ColumnElement[Any]],
    page: PageRequest,
    *,
    of: str,
    newest_first: bool = False,
) -> Page[Any]:
    """One page of `statement`, ordered by `key` (a time, then an id), of the list called `of`. The rows have columns
    named like the key's. Raises Problem `invalid_input` for the token of another list.
    """
    at, row_id = key
    after = page.past(of)
    if after is not None:
        here = tuple_(at, row_id)
        statement = statement.where(here < after if newest_first else here > after)
    order = (at.desc(), row_id.desc()) if newest_first else (at, row_id)
    rows = (await conn.execute(statement.order_by(*order).limit(page.size + 1))).all()
    shown = rows[: page.size]
    more = len(rows) > page.size
    last = shown[-1] if more else None
    names = (str(getattr(at, "key", "")), str(getattr(row_id, "key", "")))
    token = None if last is None else page_token(getattr(last, names[0]), getattr(last, names[1]), of)
    return Page(shown, token)
