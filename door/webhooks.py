"""``/webhooks/{connector}``: what outside systems tell us."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from connectors import base
from connectors.errors import ConnectorError
from contacts.inbox import TokenReused
from door.door import Door
from door.errors import documented
from door.receiving import later, refused, verified

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
        response_model=Received,
        response_model_exclude_none=True,
        responses=documented(400, 401, 404, 413, 429, 503),
        openapi_extra=_BODY,
    )
    async def receive(
        connector: Annotated[str, Path(description="The connector's name", examples=["stripe"])], request: Request
    ) -> Received | Response:
        """Verifies the signature over the raw bytes, keeps the request, and records the events in it.

        A genuine request is always answered 200, also when its body means nothing to us or cannot be understood yet:
        it is kept, and sending it again would change nothing. Repeats are recognised by the sender's own event ids.
        """
        source = door.sources.get(connector)
        if source is None:
            raise HTTPException(404, "there is no connector of this name")
        sent = await verified(door, source, request)
        now = door.settings.clock.now()
        try:
            outcome = await door.inbox.accept(
                source.name,
                method=sent.method,
                url=sent.url,
                headers=sent.headers,
                body=sent.body,
                parse=lambda: source.parse(sent, now),
                now=now,
                token=source.token(sent) if isinstance(source, base.SingleUse) else None,
            )
        except TokenReused:
            refusal = base.Refused(401, "what is signed came with another body before")
            raise refused(door, source, refusal) from None
        if isinstance(source, base.Confirms):
            try:
                await source.confirm(sent)
            except ConnectorError as problem:
                raise later(request, source, problem) from None
        reply = source.reply(sent) if isinstance(source, base.Replies) else None
        if reply is not None:
            return Response(reply.body, reply.status, media_type=reply.media_type)
        return Received(received=outcome.events, kept=True if outcome.error else None)

    @router.head("/webhooks/{connector}", include_in_schema=False)
    async def probe(connector: str) -> Response:
        """Some systems ask whether the address is there before they send to it."""
        return Response(status_code=200 if connector in door.sources else 404)

    return router
