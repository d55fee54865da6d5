"""``/webhooks/{connector}``: what outside systems tell us."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from door.door import Door
from door.errors import documented
from door.receiving import verified

_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "As the system sends it, signed the way the system signs. At most 1 MiB.",
        "required": True,
        "content": {
            "application/json": {"schema": {}, "example": {"id": "evt_1", "type": "checkout.session.completed"}}
        },
    }
}


class Received(BaseModel):
    """``received``: events found in the request. ``kept``: it is stored, and some of it is not understood yet."""

    received: int
    kept: bool | None = None


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(tags=["Webhooks"])

    @router.post(
        "/webhooks/{connector}",
        summary="Receive a webhook",
        response_model_exclude_none=True,
        responses=documented(400, 401, 404, 413, 503),
        openapi_extra=_BODY,
    )
    async def receive(
        connector: Annotated[str, Path(description="The connector's name", examples=["stripe"])], request: Request
    ) -> Received:
        """Verifies the signature over the raw bytes, keeps the request, and records the events in it.

        A genuine request is always answered 200, also when its body means nothing to us or cannot be understood yet:
        it is kept, and sending it again would change nothing. Repeats are recognised by the sender's own event ids.
        """
        source = door.sources.get(connector)
        if source is None:
            raise HTTPException(404, "there is no connector of this name")
        sent = await verified(door, source, request)
        now = door.settings.clock.now()
        outcome = await door.inbox.accept(
            source.name,
            method=sent.method,
            url=sent.url,
            headers=sent.headers,
            body=sent.body,
            parse=lambda: source.parse(sent, now),
            now=now,
        )
        return Received(received=outcome.events, kept=True if outcome.error else None)

    return router
