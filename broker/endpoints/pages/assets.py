"""The pages' own style sheet, script and icon: the only files a page loads."""

from starlette.responses import Response

from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.view import assets
from broker.errors import Problem

router = pages()


@router.get("/assets/{name}")
async def asset(name: str) -> Response:
    """One file. Its address changes with its content, so it may be kept for a year."""
    found = assets().get(name)
    if found is None:
        raise Problem("not_found", "there is no such file")
    content, media_type = found
    return Response(content, media_type=media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"})
