"""`list_scoped_tools`, whoever asks.

Made from `_async` by unasync.py; edit that.
"""

from keyreeve import tools
from keyreeve._sync.asker import Asker
from keyreeve.models import ToolList


def list_scoped_tools(asker: Asker, identifier: str | None, connection_name: str | None) -> ToolList:
    """All pages."""
    pages: list[tools.ScopedPage] = []
    token: str | None = None
    while True:
        page = asker.ask(tools.scoped(identifier, connection_name, token))
        pages.append(page)
        token = page.next_page_token
        if token is None:
            return tools.joined(pages)
