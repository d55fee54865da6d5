"""How much of a body is read."""

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from door.errors import error_body

BODY_LIMIT = 1024 * 1024
"""Bytes of a request body. None of the systems we hear from sends a larger one."""

_REASON = f"the body is larger than {BODY_LIMIT} bytes"


class BodyLimit:
    """Stops reading at ``BODY_LIMIT`` and answers 413, whatever Content-Length says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > BODY_LIMIT:
            await JSONResponse(error_body(413, _REASON), 413)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > BODY_LIMIT:
                raise HTTPException(413, _REASON)
            return message

        await self._app(scope, counted, send)
