"""``/`` and ``/mailbox``: pages for whoever tries Perennial on their own machine. Never in production."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from connectors.mailbox import Letters, letter_page, list_page
from door.door import Door
from door.rendering import page


def routes(door: Door, letters: Letters) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def index() -> HTMLResponse:
        return page("index.html", temporal_ui=door.temporal_ui)

    @router.get("/mailbox")
    def mailbox() -> HTMLResponse:
        return HTMLResponse(list_page(letters.list(), "/mailbox"))

    @router.get("/mailbox/{id}")
    def letter(id: str) -> HTMLResponse:
        found = letters.get(id)
        if found is None:
            raise HTTPException(404, "there is no such letter")
        return HTMLResponse(letter_page(found, "/mailbox"))

    return router
