"""The vendor's place at the other end of a connector: every request goes to the mock, and is judged on its way."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from connectors.errors import ConnectorError
from contract import schema
from contract.preparation import Document
from contract.verdict import ABSENT, Asked, Mode, Verdict, mock_faults

Edit = Callable[[Document], Document]

Run = Callable[[httpx.AsyncClient, str], Awaitable[object]]
"""Has a connector ask, over this client and at this base URL."""


class MockFailed(Exception):
    """The mock gave no answer, so nothing can be judged."""


@dataclass(frozen=True)
class Answer:
    """What the vendor says in a case, where an example or made-up values would end it too early."""

    body: Any = None
    status: int = 200


@dataclass(frozen=True)
class Case:
    """Something a connector does, with the data it does it with.

    Attributes:
        script: Answers in place of the mock's, by method and path as called (``POST /contacts``). The request is judged
            all the same.
    """

    name: str
    run: Run
    script: Mapping[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A vendor's file: a pattern of its name, and what its document needs before those of other files join it."""

    pattern: str
    edits: Sequence[Edit] = ()


@dataclass(frozen=True)
class Vendor:
    """A vendor, its files and what is asked of it.

    Attributes:
        files: All of them are needed.
        edits: What the whole document needs before it can be served.
        absent: Operations that we ask for and the files do not have, with the reason. Any other is a violation.
        excused: What the files forbid and the vendor takes, by method, path and fault (a part of it), with the reason.
        mock_blind: Why the mock does not look at bodies; None where it does.
        remarks: What cannot be judged, and why.
        operations: Everything that the connector can ask for and the files have.
    """

    name: str
    files: Sequence[File]
    cases: Sequence[Case]
    operations: Sequence[str]
    edits: Sequence[Edit] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    excused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    mock_blind: str | None = None
    remarks: Sequence[str] = ()

    def found(self, directory: Path) -> list[Path]:
        """Its files in a directory, the last by name where a pattern fits several.

        Raises:
            FileNotFoundError: One is not there; the message names its pattern.
        """
        paths: list[Path] = []
        for file in self.files:
            fitting = sorted(directory.glob(file.pattern))
            if not fitting:
                raise FileNotFoundError(file.pattern)
            paths.append(fitting[-1])
        return paths


class Peer(httpx.AsyncBaseTransport):
    """Sends every request to the mock and notes what the mock and the document say of it."""

    def __init__(
        self,
        vendor: Vendor,
        document: Document,
        case: Case,
        mode: Mode,
        mock: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.asked: list[Asked] = []
        self._vendor = vendor
        self._document = document
        self._case = case
        self._mode = mode
        self._mock = mock or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        if self._mode == "dynamic":
            request.headers["Prefer"] = "dynamic=true"
        try:
            answered = await self._mock.handle_async_request(request)
            await answered.aread()
        except httpx.HTTPError as error:
            raise MockFailed(f"the mock gave no answer ({type(error).__name__})") from error
        self.asked.append(self._judged(request, answered))
        scripted = self._case.script.get(f"{request.method} {request.url.path}")
        if scripted is None:
            return answered
        return httpx.Response(scripted.status, json=scripted.body)

    async def aclose(self) -> None:
        await self._mock.aclose()

    def _judged(self, request: httpx.Request, answered: httpx.Response) -> Asked:
        # Prism and we must agree on which operation this is, so the path is read as it went over the wire.
        path = request.url.raw_path.decode().partition("?")[0]
        called = f"{request.method} {path}"
        operation = schema.operation(self._document, request.method, path)
        if operation is None:
            known = next((known for known in self._vendor.absent if _is(called, known)), None)
            if known is None:
                return Asked(self._case.name, self._mode, called, ["no such operation in the spec"], ["schema"])
            return Asked(self._case.name, self._mode, known, unjudged=f"{ABSENT}: {self._vendor.absent[known]}")
        name = f"{operation.method} {operation.path}"
        content_type = request.headers.get("content-type", "")
        told, unseen = mock_faults(answered)
        found = [
            *operation.query_faults(request.url.query.decode()),
            *operation.body_faults(content_type, request.content),
        ]
        judges = ["schema"] if operation.judges(content_type) else []
        if self._is_nested_form(content_type, request.content):
            told, unseen = [], "a nested form, which the mock cannot read: judged by the schema alone"
        elif unseen is None:
            judges.append("mock")
            if request.content and self._vendor.mock_blind:
                unseen = self._vendor.mock_blind
        faults = [fault for fault in dict.fromkeys([*told, *found]) if not self._excuse(name, fault)]
        excuses = [why for fault in [*told, *found] if (why := self._excuse(name, fault))]
        return Asked(self._case.name, self._mode, name, faults, judges, unseen or (excuses[0] if excuses else None))

    def _excuse(self, operation: str, fault: str) -> str | None:
        excused = self._vendor.excused.items()
        return next((why for (where, part), why in excused if where == operation and part in fault), None)

    @staticmethod
    def _is_nested_form(content_type: str, body: bytes) -> bool:
        return content_type.startswith(schema.FORM) and (b"%5B" in body or b"[" in body)


async def judge(
    vendor: Vendor, document: Document, base_url: str, mock: httpx.AsyncBaseTransport | None = None
) -> Verdict:
    """Runs every case of a vendor twice, with answers that are examples and with answers that are made up.

    An answer may make no sense to the connector, which then says so with a ``ConnectorError``: what is judged is what
    it asked. Any other exception means that it broke.

    Args:
        base_url: Where the mock is.
        mock: How to reach it; None: over the network.

    Raises:
        MockFailed: The mock gave no answer.
    """
    verdict = Verdict(vendor.name, remarks=vendor.remarks)
    modes: tuple[Mode, ...] = ("static", "dynamic")
    for mode in modes:
        for case in vendor.cases:
            peer = Peer(vendor, document, case, mode, mock)
            async with httpx.AsyncClient(transport=peer, timeout=30) as client:
                try:
                    await case.run(client, base_url)
                except ConnectorError:
                    pass
                except MockFailed:
                    raise
                except Exception as error:
                    verdict.broken.append(f"{case.name} ({mode}): the connector broke: {type(error).__name__}: {error}")
            if not peer.asked:
                verdict.broken.append(f"{case.name} ({mode}): asked for nothing")
            verdict.asked += peer.asked
    reached = {asked.operation for asked in verdict.asked}
    verdict.never_asked += [operation for operation in vendor.operations if operation not in reached]
    return verdict


def _is(called: str, known: str) -> bool:
    """Whether a request is the operation that a template such as ``GET /notes/{id}`` names."""
    ours, theirs = called.split("/"), known.split("/")
    return len(ours) == len(theirs) and all(
        there == here or there.startswith("{") for here, there in zip(ours, theirs, strict=True)
    )
