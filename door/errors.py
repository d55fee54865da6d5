"""Whatever goes wrong, the caller gets one shape: ``{"error": {"code": ..., "message": ...}}``."""

import traceback
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from door.rendering import page

log = structlog.get_logger()

RETRY_AFTER = 5
"""Seconds a sender should wait while the database is away."""

_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "unavailable",
    500: "internal",
    503: "unavailable",
}


class ErrorDetail(BaseModel):
    """``code`` is for programs and does not change; ``message`` is for people and may."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """Every 4xx and 5xx answer."""

    error: ErrorDetail


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for the API page."""
    named: dict[int | str, dict[str, Any]] = {s: {"model": ErrorBody, "description": _CODES[s]} for s in statuses}
    return {**named, "default": {"model": ErrorBody, "description": "any other error"}}


def error_body(status: int, message: str) -> dict[str, dict[str, str]]:
    """The body of an error answer."""
    return {"error": {"code": _CODES.get(status, "error"), "message": message}}


def answer_failures_with(request: Request, status: int) -> None:
    """From here on a failure of ours is answered with this status, the only one at which the sender sends again."""
    request.state.failure_status = status


def failure_status(scope: Scope, usual: int) -> int:
    """What a failure of ours is answered with."""
    status: int = scope.get("state", {}).get("failure_status", usual)
    return status


def handle_errors(app: FastAPI) -> None:
    """Teaches an app to answer errors in our shape."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse(error_body(400, f"{where}: {first['msg']}"), 400)

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(NoConnectionFree)
    async def unavailable(request: Request, error: Exception) -> Response:
        log.warning("request.database_away", error=type(error).__name__)
        headers, status = {"Retry-After": str(RETRY_AFTER)}, failure_status(request.scope, 503)
        if "text/html" in request.headers.get("accept", ""):
            return page("unavailable.html", status=status, headers=headers)
        return JSONResponse(error_body(status, "the database is out of reach; please send it again"), status, headers)


class Unexpected:
    """Answers what nobody foresaw with 500, or with what its sender understands, and logs where it happened.

    The log has the kind of error and its place in the code but not its message, which may hold a contact's data.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            return
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            log.error("request.failed", error=type(error).__name__, where=where)
            status = failure_status(scope, 500)
            await JSONResponse(error_body(status, "something went wrong on our side"), status)(scope, receive, send)
