"""``/healthz`` and ``/readyz``: for load balancers and for people who wonder."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from door.door import Door
from door.errors import ErrorDetail

_PATIENCE = 1.0


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether events can be taken.

    Temporal does not decide it: while it is away events are accepted, and dispatched when it is back. ``temporal`` is
    absent where this process does not know. ``refused`` counts the requests turned away since the start, by source and
    status.
    """

    ready: bool
    postgresql: bool
    temporal: bool | None = None
    refused: dict[str, dict[str, int]]
    error: ErrorDetail | None = None


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(tags=["Health"])

    @router.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Alive:
        """Always 200 while the process can answer."""
        return Alive()

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": Readiness, "description": "PostgreSQL does not answer"}
    }

    @router.get("/readyz", summary="Can it take events?", response_model_exclude_none=True, responses=not_ready)
    async def readyz(response: Response) -> Readiness:
        """200 if PostgreSQL answers within a second, else 503."""
        postgresql, temporal = await asyncio.gather(_postgresql(door), _temporal(door))
        error = None if postgresql else ErrorDetail(code="unavailable", message="PostgreSQL does not answer")
        response.status_code = 200 if postgresql else 503
        refused: dict[str, dict[str, int]] = {}
        for (source, status), count in sorted(door.refused.items()):
            refused.setdefault(source, {})[str(status)] = count
        return Readiness(ready=postgresql, postgresql=postgresql, temporal=temporal, refused=refused, error=error)

    return router


async def _postgresql(door: Door) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE), door.intake.engine.connect() as conn:
            await conn.execute(text("SELECT 1"))
    except (SQLAlchemyError, TimeoutError):
        return False
    return True


async def _temporal(door: Door) -> bool | None:
    if door.temporal is None:
        return None
    try:
        async with asyncio.timeout(_PATIENCE):
            return await door.temporal()
    except TimeoutError:
        return False
