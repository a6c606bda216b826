"""`list_scoped_tools`, whoever asks."""

from keyreeve import tools
from keyreeve._async.asker import AsyncAsker
from keyreeve.models import ToolList


async def list_scoped_tools(asker: AsyncAsker, identifier: str | None, connection_name: str | None) -> ToolList:
    """All pages."""
    pages: list[tools.ScopedPage] = []
    token: str | None = None
    while True:
        page = await asker.ask(tools.scoped(identifier, connection_name, token))
        pages.append(page)
        token = page.next_page_token
        if token is None:
            return tools.joined(pages)
