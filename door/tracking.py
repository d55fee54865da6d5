"""``/v1``: the tracking API, for web pages, apps and servers that speak the wire format of analytics.js."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.track import PATHS, Call
from door.batches import Fault, take
from door.door import Door
from door.errors import documented

_WHO = {"anonymousId": "3f0c2c8e", "messageId": "m-1", "timestamp": "2026-03-02T09:00:00Z"}
_SUMMARIES: dict[str, tuple[str, dict[str, Any]]] = {
    "identify": (
        "Say who somebody is",
        {
            "userId": "42",
            **_WHO,
            "traits": {
                "email": "alice@example.com",
                "firstName": "Alice",
                "timezone": "Europe/Berlin",
                "consent": {"email": ["promotional", "lifecycle"]},
            },
        },
    ),
    "track": (
        "Say what somebody did",
        {
            **_WHO,
            "event": "Order Completed",
            "properties": {"order_id": "1001", "checkout_id": "c-1", "total": 49.90, "currency": "EUR"},
        },
    ),
    "page": ("Say which page somebody looks at", {**_WHO, "name": "Pricing", "properties": {"path": "/pricing"}}),
    "screen": ("Say which screen of an app somebody looks at", {**_WHO, "name": "Pricing"}),
    "group": ("Say which company somebody belongs to", {"userId": "42", "groupId": "acme", "traits": {"name": "Acme"}}),
    "alias": ("Say that two ids are one person", {"previousId": "3f0c2c8e", "userId": "42"}),
    "batch": (
        "Send many calls at once",
        {"batch": [{"type": "page", **_WHO, "name": "Pricing"}], "sentAt": "2026-03-02T09:00:01Z"},
    ),
}

_TEXT = {
    "identify": (
        "Traits are kept as given; `email`, `phone`, `firstName`, `lastName`, `name`, `company`, `timezone` and "
        "`locale` are used. The trait `consent` records what the person agreed to, by channel. What the visitor "
        "did under the same `anonymousId` stays theirs."
    ),
    "track": (
        "Our own event types (`resource.downloaded`, `custom.anything`) pass with their properties as data. "
        "`Checkout Started`, `Order Completed` and `Order Refunded` follow the e-commerce names; their `total` is "
        "decimal. Any other name becomes `custom.<name>`. Types that only an operator or a provider may speak of are "
        "refused."
    ),
    "page": "The page is `properties.page`, else the name, else the last part of the path (`home` for `/`).",
    "batch": "At most 500 KB and 2,500 calls. Calls are taken one by one: a bad one does not cost the others.",
}


class Tracked(BaseModel):
    """``errors`` names the calls that were kept but not, or not wholly, understood."""

    success: bool = True
    errors: list[Fault] | None = None


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(prefix="/v1", tags=["Tracking"])

    async def call(request: Request) -> Tracked:
        _, faults = await take(door, door.track, request)
        return Tracked(errors=faults or None)

    for path, name in PATHS.items():
        summary, example = _SUMMARIES[name]
        router.add_api_route(
            f"/{path}",
            call,
            methods=["POST"],
            name=f"{name}_{path}",
            include_in_schema=path == name,
            summary=summary,
            description=_TEXT.get(name, "")
            + "\n\nThe write key is the user of Basic authorization, or `writeKey` in the body.",
            response_model_exclude_none=True,
            responses=documented(400, 401, 413, 415, 503),
            openapi_extra=_described(name, {"writeKey": "dev-write-key", **example}),
        )
    return router


def _described(name: str, example: dict[str, Any]) -> dict[str, Any]:
    call = Call.model_json_schema()
    if name == "batch":
        fields = {"batch": {"type": "array", "items": call}, "sentAt": call["properties"]["sentAt"]}
    else:
        fields = {field: schema for field, schema in call["properties"].items() if field != "type"}
    schema = {"type": "object", "properties": {"writeKey": {"type": "string"}, **fields}}
    content = {"schema": schema, "example": example}
    return {
        "security": [{"writeKey": []}, {}],
        "requestBody": {
            "description": "Plain or gzip. At most 32 KB a call.",
            "required": True,
            "content": {"application/json": content, "text/plain": content},
        },
    }


class FromAnySite:
    """Lets pages of any site call the tracking API, and nothing else of ours, from a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app, allow_origins=["*"], allow_methods=["POST"], allow_headers=["authorization", "content-type"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_tracking = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._open if is_tracking else self._app)(scope, receive, send)
