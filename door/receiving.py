"""From an HTTP request to a verified one."""

from datetime import UTC, datetime

import structlog
from fastapi import Request
from starlette.exceptions import HTTPException

from connectors import base
from door.door import Door

log = structlog.get_logger()


async def verified(door: Door, source: base.Source, request: Request) -> base.Request:
    """The request as its sender made it, once the source says that it is genuine.

    The address is the public one: senders sign what they call, and no proxy's header is believed about it.

    Raises:
        HTTPException: The source refuses it; it is counted and leaves nothing else behind.
    """
    path, query = (request.scope[part].decode("latin-1") for part in ("raw_path", "query_string"))
    sent = base.Request(
        method=request.method,
        url=door.settings.public_url + path + (f"?{query}" if query else ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.body(),
    )
    try:
        source.verify(sent, datetime.now(UTC))
    except base.Refused as refusal:
        door.refused[source.name, refusal.status] += 1
        log.info("request.refused", source=source.name, status=refusal.status, reason=refusal.reason)
        raise HTTPException(refusal.status, refusal.reason) from None
    return sent
