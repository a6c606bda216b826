"""Signing an editor out, from the person's own page."""

from typing import Annotated

from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response

from broker.endpoints.pages.forms import read_form
from broker.endpoints.pages.route import required_login
from broker.endpoints.pages.route import router as pages
from broker.endpoints.rest.deps import services_of

router = pages()


@router.post("/editors/{sign_in_id}/revoke")
async def end(request: Request, sign_in_id: Annotated[str, Path(max_length=36)]) -> Response:
    """Ends one sign-in of the person's own."""
    services = services_of(request)
    login = await required_login(request)
    await read_form(request, login.csrf)
    await services.oauth.sign_ins.end_mine(login, sign_in_id, services.clock.now())
    return RedirectResponse("/#signed-in", 303)
