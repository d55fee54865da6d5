"""One outgoing HTTP call, and what its failures mean in the words of ``connectors.errors``.

==================================  ==================  ==============
what happened                       an idempotent call  any other call
==================================  ==================  ==============
no connection                       ``TryAgain``        ``TryAgain``
connection, then no answer          ``TryAgain``        ``Unknown``
a status the provider calls busy    ``TryAgain``        ``TryAgain``
one it calls unclear, or other 5xx  ``TryAgain``        ``Unknown``
any other status but 2xx            ``Rejected``        ``Rejected``
2xx with an unreadable body         ``TryAgain``        ``Unknown``
==================================  ==================  ==============

Idempotent is a call whose caller simply makes it again, whatever came of it: a read, or a write that says how things
are. What makes a message or a task is not, though the provider may drop a repeat by its key: there the caller must
know that it may have been made.

A connection that fails is tried twice more within two seconds, for a blip should not cost an activity attempt.
Nothing else is repeated here: Temporal's retry policy does that, with the provider's delay.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from tenacity import retry, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_random_exponential

from connectors.errors import NeverAgain, TryAgain, Unknown

# They log the address of every call, and some systems want their key, or a person's address, in it.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

Answer = TypeVar("Answer", bound=BaseModel)

Pace = Callable[[], Awaitable[None]]
"""Returns when the next call may be made; raises ``TryAgain`` where that is too far away."""

_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NOT_SENDABLE = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Rejected(NeverAgain):
    """The provider answered with a ``status`` that no repeat will change."""

    def __init__(self, connector: str, reason: str, status: int, *, request_id: str | None = None) -> None:
        super().__init__(connector, reason, request_id=request_id)
        self.status = status


@dataclass(frozen=True)
class Refusal:
    """What a provider says about an answer of its own.

    Attributes:
        reason: Why it did not do as asked: codes, never its prose, for that quotes what we sent: personal data.
        request_id: Its id of the request.
        delay: When to ask again, where it says so elsewhere than in ``Retry-After``.
    """

    reason: str = ""
    request_id: str | None = None
    delay: timedelta | None = None


@dataclass(frozen=True)
class Provider:
    """How one provider says no.

    Attributes:
        name: The connector's name.
        busy: Statuses that mean that nothing was done and that asking later may work.
        unclear: Statuses below 500 that do not say whether it was done, as 408: somebody on the way waited in vain.
        read: Reads an answer, for its request's id also a good one; must not raise.
    """

    name: str
    busy: frozenset[int]
    read: Callable[[httpx.Response], Refusal]
    unclear: frozenset[int] = frozenset({408})


class Unread(BaseModel):
    """The shape of an answer whose status says it all: its body may be empty, or anything."""

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **how: Any) -> Self:
        """Takes any body, and reads none."""
        return cls()


def new_client(pace: Pace | None = None) -> httpx.AsyncClient:
    """A pool of connections with time limits that fit inside an activity: 3 s to connect, 10 s for each step after.

    Args:
        pace: Kept before every call.
    """

    async def keep(_: httpx.Request) -> None:
        if pace is not None:
            await pace()

    return httpx.AsyncClient(timeout=httpx.Timeout(10, connect=3), event_hooks={"request": [keep]}, verify=_trust())


@cache
def _trust() -> ssl.SSLContext:
    """Whom we trust: read from disk once, for all clients."""
    return httpx.create_ssl_context()


async def call(
    client: httpx.AsyncClient, provider: Provider, request: httpx.Request, answer: type[Answer], *, idempotent: bool
) -> Answer:
    """Makes the call and reads its answer.

    Args:
        client: The pool to use.
        provider: Who is asked.
        request: What is asked.
        answer: The shape of a good answer (an empty body reads as null); ``Unread`` where its status says it all.
        idempotent: Whether the caller makes it again without having to know what came of this call; see above.

    Raises:
        TryAgain, Rejected, NeverAgain, Unknown: see the table above.
    """
    said, _ = await exchange(client, provider, request, answer, idempotent=idempotent)
    return said


async def exchange(
    client: httpx.AsyncClient, provider: Provider, request: httpx.Request, answer: type[Answer], *, idempotent: bool
) -> tuple[Answer, str | None]:
    """Makes the call; its answer, and the provider's id of the request where it gives one. See ``call``."""
    response = await ask(client, provider, request, idempotent=idempotent)
    request_id = provider.read(response).request_id
    try:
        return answer.model_validate_json(response.content or b"null"), request_id
    except ValidationError:
        lost = TryAgain if idempotent else Unknown
        reason = f"{response.status_code} with a body of another shape"
        raise lost(provider.name, reason, request_id=request_id) from None


async def ask(
    client: httpx.AsyncClient, provider: Provider, request: httpx.Request, *, idempotent: bool
) -> httpx.Response:
    """Makes the call; for providers whose good answer says what it says in its headers. See ``call``."""
    lost = TryAgain if idempotent else Unknown
    # Causes are cut off below: an HTTP library's own message can quote a header, and that holds a token.
    try:
        response = await _send(client, request)
    except _NOT_CONNECTED as error:
        raise TryAgain(provider.name, f"no connection ({type(error).__name__})") from None
    except _NOT_SENDABLE as error:
        raise NeverAgain(provider.name, f"unsendable request ({type(error).__name__}): check URL and token") from None
    except httpx.HTTPError as error:
        raise lost(provider.name, f"no answer ({type(error).__name__})") from None

    status = response.status_code
    if not response.is_success:
        said = provider.read(response)
        reason = f"{status} {said.reason}".strip()
        unclear = status >= 500 or status in provider.unclear
        if status in provider.busy or (unclear and idempotent):
            delay = _retry_after(response) or said.delay
            raise TryAgain(provider.name, reason, delay=delay, request_id=said.request_id)
        if unclear:
            raise Unknown(provider.name, reason, request_id=said.request_id)
        raise Rejected(provider.name, reason, status, request_id=said.request_id)
    return response


def body_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in an answer; empty where there is none."""
    try:
        body = from_json(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def codes(*parts: object) -> str:
    """The parts that are codes (short texts), joined for a reason."""
    return " ".join(part for part in parts if isinstance(part, str) and 0 < len(part) <= 60)


@retry(
    retry=retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout)),
    stop=stop_after_attempt(3) | stop_after_delay(2),
    wait=wait_random_exponential(multiplier=0.2, max=1),
    reraise=True,
)
async def _send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    return await client.send(request)


def _retry_after(response: httpx.Response) -> timedelta | None:
    seconds = response.headers.get("retry-after", "")
    return timedelta(seconds=int(seconds)) if seconds.isascii() and seconds.isdigit() and len(seconds) < 7 else None
