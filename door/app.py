"""Puts the front door together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from door import cards, cloudevents, development, health, metrics, people, tracking, webhooks
from door.door import Door
from door.errors import Unexpected, handle_errors
from door.limits import BodyLimit

log = structlog.get_logger()

_PAUSE = 5.0

_ABOUT = """
What happened to a contact comes in here: as a webhook of a system you use, as a call of the tracking API, or as a
CloudEvent. An answer of 2xx means that it is stored, and that no message goes out any more which it forbids.

Whatever goes wrong is answered as `{"error": {"code": "...", "message": "..."}}`. 503 with `Retry-After` means that
nothing was stored and the sender should try again; every event may be sent twice.
"""


def create_app(door: Door) -> FastAPI:
    """The ASGI application. Its lifespan keeps the door's chores and its monitor running."""
    chores = {**door.chores, **({"monitor": door.monitor.run} if door.monitor is not None else {})}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        kept = [asyncio.create_task(_keep_running(name, chore)) for name, chore in chores.items()]
        yield
        for task in kept:
            task.cancel()
        if kept:
            await asyncio.wait(kept)

    app = FastAPIOffline(redoc_url=None, title="Perennial", version="1", description=_ABOUT, lifespan=lifespan)
    handle_errors(app)
    for part in (webhooks, tracking, cloudevents, cards, health, metrics, people):
        app.include_router(part.routes(door))
    if door.settings.environment == "development" and door.letters is not None:
        app.include_router(development.routes(door, door.letters))
    _describe_security(app)
    for layer in (BodyLimit, tracking.FromAnySite, Unexpected):  # the last one is the outermost
        app.add_middleware(layer)
    return app


def _describe_security(app: FastAPI) -> None:
    schema = app.openapi()
    schema.setdefault("components", {})["securitySchemes"] = {
        "writeKey": {"type": "http", "scheme": "basic", "description": "The write key as user, no password"},
        "standardWebhooks": {
            "type": "apiKey",
            "in": "header",
            "name": "Webhook-Signature",
            "description": "Standard Webhooks, over Webhook-Id, Webhook-Timestamp and the body",
        },
    }


async def _keep_running(name: str, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await chore()
        except Exception as error:
            log.error(f"{name}.stopped", error=type(error).__name__, starting_again_in=_PAUSE)
        await asyncio.sleep(_PAUSE)
