"""From an HTTP request to a verified one."""

from datetime import UTC, datetime

import structlog
from fastapi import Request
from starlette.exceptions import HTTPException

from connectors import base
from connectors.errors import ConnectorError
from door.door import Door
from door.errors import answer_failures_with, failure_status

log = structlog.get_logger()


async def verified(door: Door, source: base.Source, request: Request) -> base.Request:
    """The request as its sender made it, once the source says that it is genuine.

    The address is the public one: senders sign what they call, and no proxy's header is believed about it. From here on
    whatever fails on our side is answered so that this sender sends again.

    Raises:
        HTTPException: The source refuses it; it is counted and leaves nothing else behind.
    """
    if isinstance(source, base.SendsAgainOn):
        answer_failures_with(request, source.again_on)
    path, query = (request.scope[part].decode("latin-1") for part in ("raw_path", "query_string"))
    sent = base.Request(
        method=request.method,
        url=door.settings.public_url + path + (f"?{query}" if query else ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.body(),
    )
    try:
        if isinstance(source, base.Prepares):
            await source.prepare(sent)
        source.verify(sent, datetime.now(UTC))
    except base.Refused as refusal:
        raise refused(door, source, refusal) from None
    except ConnectorError as problem:
        raise later(request, source, problem) from None
    return sent


def refused(door: Door, source: base.Source, refusal: base.Refused) -> HTTPException:
    """Counts a request that is turned away; the answer to it."""
    door.refused[source.name, refusal.status] += 1
    log.info("request.refused", source=source.name, status=refusal.status, reason=refusal.reason)
    return HTTPException(refusal.status, refusal.reason)


def later(request: Request, source: base.Source, problem: ConnectorError) -> HTTPException:
    """The answer where the sender's own system did not answer us: send it again."""
    log.warning("request.not_now", source=source.name, reason=problem.reason)
    status = failure_status(request.scope, 503)
    return HTTPException(status, "this cannot be checked right now", headers={"Retry-After": "30"})
