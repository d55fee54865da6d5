"""``/events``: CloudEvents from systems of our own."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from connectors.cloudevents import Envelope
from door.batches import Fault, take
from door.door import Door
from door.errors import documented

_EXAMPLE = {
    "specversion": "1.0",
    "id": "d-7",
    "source": "https://shop.example.com",
    "type": "resource.downloaded",
    "time": "2026-03-02T09:00:00Z",
    "data": {"identities": {"email": "alice@example.com"}, "resource": "seo-guide", "topic": "seo"},
}
_SCHEMA = Envelope.model_json_schema()
_BODY: dict[str, Any] = {
    "security": [{"standardWebhooks": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": _SCHEMA, "example": _EXAMPLE},
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "items": _SCHEMA},
                "example": [_EXAMPLE],
            },
            "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE["data"]},
        },
    },
}


class Taken(BaseModel):
    """``accepted``: events taken. ``errors`` names those that were kept but not understood."""

    accepted: int
    errors: list[Fault] | None = None


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(tags=["CloudEvents"])

    @router.post(
        "/events",
        status_code=202,
        summary="Receive CloudEvents",
        response_model_exclude_none=True,
        responses=documented(400, 401, 413, 415, 503),
        openapi_extra=_BODY,
    )
    async def receive(request: Request) -> Taken:
        """Takes CloudEvents 1.0 in structured, batched or binary mode.

        `type` is one of our event types; `source` and `id` together name the occurrence, so a repeat changes nothing;
        `time` says when it happened. `data.identities` says to whom (`{"email": "alice@example.com"}`), or `subject`
        does (`email:alice@example.com`, `user:42`); the other fields of `data` are the event's.

        Requests are signed by Standard Webhooks (`Webhook-Id`, `Webhook-Timestamp`, `Webhook-Signature`). The signature
        is over the body: in binary mode it does not cover the attributes, which are headers.
        """
        accepted, faults = await take(door, door.cloudevents, request)
        return Taken(accepted=accepted, errors=faults or None)

    return router
