"""The outside of a run: activities that do as a test says, and a run held by its handle."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities import signatures as ask
from contacts.clock import Clock
from worker import RUNNER
from workflows.base import Journey, RunInput


async def eventually(look: Callable[[], Awaitable[Any]], within: float = 30) -> Any:
    """What ``look`` finds, as soon as it is true."""
    async with asyncio.timeout(within):
        while not (found := await look()):  # noqa: ASYNC110  # what a server does sets no event
            await asyncio.sleep(0.02)
    return found


class World:
    """Every activity a run may ask for.

    Attributes:
        asked: All requests, in order.
        answers: What ``deliver`` says, one each; after that, ``sent``.
        recorded: The answer that counts to what a run asked; None: whatever the run was told.
    """

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: deque[ask.Delivery] = deque()
        self.contact = ask.ContactNow(0, False, (), (), None)
        self.recorded: ask.ApprovalSettled | None = None
        self.handed = ask.HandOffDone("sales", datetime(2030, 1, 1, tzinfo=UTC), 3600, 1)
        self._held: dict[str, asyncio.Event] = {}

    def hold(self, name: str) -> Callable[[], None]:
        """The next calls of that activity wait until the returned function is called."""
        self._held[name] = asyncio.Event()
        return self._held[name].set

    def requests(self, kind: type) -> list[Any]:
        """The requests of one kind."""
        return [r for r in self.asked if isinstance(r, kind)]

    @property
    def lines(self) -> list[ask.Line]:
        """Every line a run wrote down, in order."""
        return [line for request in self.asked for line in request.lines]

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """For a worker."""

        @activity.defn(name=ask.DELIVER)
        async def deliver(request: ask.DeliverRequest) -> ask.Delivery:
            await self._note(ask.DELIVER, request)
            return self.answers.popleft() if self.answers else ask.Delivery("sent")

        @activity.defn(name=ask.FACTS)
        async def facts(request: ask.FactsRequest) -> ask.ContactNow:
            await self._note(ask.FACTS, request)
            return self.contact

        @activity.defn(name=ask.HAND_OFF)
        async def hand_off(request: ask.HandOffRequest) -> ask.HandOffDone:
            await self._note(ask.HAND_OFF, request)
            return self.handed

        @activity.defn(name=ask.REMIND)
        async def remind(request: ask.RemindRequest) -> None:
            await self._note(ask.REMIND, request)

        @activity.defn(name=ask.ACKNOWLEDGE)
        async def acknowledge(request: ask.AcknowledgeRequest) -> None:
            await self._note(ask.ACKNOWLEDGE, request)

        @activity.defn(name=ask.ASK_APPROVAL)
        async def ask_approval(request: ask.ApprovalRequest) -> None:
            await self._note(ask.ASK_APPROVAL, request)

        @activity.defn(name=ask.SETTLE_APPROVAL)
        async def settle(request: ask.SettleApprovalRequest) -> ask.ApprovalSettled:
            await self._note(ask.SETTLE_APPROVAL, request)
            if self.recorded is not None:
                return self.recorded
            return ask.ApprovalSettled(request.approved is True, None if request.approved is None else "Mia")

        @activity.defn(name=ask.NOTE)
        async def note(request: ask.NoteRequest) -> None:
            await self._note(ask.NOTE, request)

        @activity.defn(name=ask.FINISH)
        async def finish(request: ask.FinishRequest) -> None:
            await self._note(ask.FINISH, request)

        @activity.defn(name=ask.RECORD_EVENT)
        async def record_event(request: ask.RecordEventRequest) -> None:
            await self._note(ask.RECORD_EVENT, request)

        @activity.defn(name=ask.LEAVE)
        async def leave(request: ask.LeaveRequest) -> None:
            await self._note(ask.LEAVE, request)

        return [deliver, facts, hand_off, remind, acknowledge, ask_approval, settle, note, finish, record_event, leave]

    async def _note(self, name: str, request: Any) -> None:
        self.asked.append(request)
        if name in self._held:
            await self._held[name].wait()


@dataclass
class Run:
    """One run under test."""

    handle: WorkflowHandle[Any, str]
    given: RunInput

    async def tell(self, page: str, id: str | None = None, **changes: Any) -> None:
        """Signals an event: a page view."""
        payload = {
            "id": id or str(uuid4()),
            "type": "page.viewed",
            "occurred_at": self.given.started_at.isoformat(),
            "data": {"page": page},
            "run": self.given.run_id,
        }
        await self.handle.signal("event", payload | changes)

    async def exit(self, outcome: str = "exited", run: str | None = None) -> None:
        """Signals the exit."""
        await self.handle.signal("exit", {"outcome": outcome, "by": "message.replied", "run": run or self.given.run_id})

    async def story(self) -> dict[str, Any]:
        """What the query says."""
        answer: dict[str, Any] = await self.handle.query("story")
        return answer

    async def texts(self) -> list[str]:
        """The story's lines."""
        return [line["text"] for line in (await self.story())["lines"]]

    async def doing(self, words: str) -> None:
        """Waits until the run says that it does so."""

        async def look() -> bool:
            return words in (await self.story())["doing"]

        await eventually(look)

    async def says(self, words: str) -> None:
        """Waits until a line of the story is this."""

        async def look() -> bool:
            return words in await self.texts()

        await eventually(look)

    async def idle(self) -> None:
        """Waits until the run has nothing to do: no task of its own is under way, and no activity."""

        async def look() -> bool:
            found = (await self.handle.describe()).raw_description
            if found.pending_activities or found.HasField("pending_workflow_task"):
                return False
            return (await self.history())[-1].event_type not in (
                EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
                EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
            )

        await eventually(look)

    async def history(self) -> list[HistoryEvent]:
        """What Temporal has recorded."""
        return [event async for event in self.handle.fetch_history_events()]

    async def recorded(self, kind: str) -> None:
        """Waits until Temporal has recorded an event of this kind."""

        async def look() -> bool:
            return kind in await self._kinds()

        await eventually(look)

    async def seen(self, kind: str) -> None:
        """Waits until the run has dealt with an event of this kind: a workflow task has completed after it."""

        async def look() -> bool:
            kinds = await self._kinds()
            return kind in kinds and "WorkflowTaskCompleted" in kinds[kinds.index(kind) :]

        await eventually(look)

    async def _kinds(self) -> list[str]:
        names = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in await self.history()]
        return [name.title().replace("_", "") for name in names]

    async def outcome(self) -> str:
        """How it ends."""
        async with asyncio.timeout(30):
            return str(await self.handle.result())


@dataclass
class Stage:
    """Where runs are played: a server, a worker on a queue of its own, and the world around it.

    Attributes:
        journeys: What the worker knows.
        cached: How many runs it keeps in memory.
    """

    client: Client
    world: World
    journeys: list[type[Journey]]
    cached: int
    task_queue: str = field(default_factory=lambda: f"test-{uuid4()}")
    runs: list[Run] = field(default_factory=list)

    async def start(
        self,
        journey: type[Journey],
        *,
        rate: float = 1,
        first_signal: tuple[str, Mapping[str, Any]] | None = None,
        **changes: Any,
    ) -> Run:
        """Starts a run whose clock goes ``rate`` times as fast as the machine's."""
        now = datetime.now(UTC)
        given = RunInput(
            run_id=str(uuid4()),
            contact_id=str(uuid4()),
            entry={"id": "entry", "type": "form.submitted", "occurred_at": now.isoformat(), "data": {"form": "demo"}},
            entry_point="form.submitted",
            started_at=now,
            clock=Clock(now, now, rate),
        )
        given = replace(given, **changes)
        handle = await self.client.start_workflow(
            journey.card.name,
            args=[given],
            id=f"journey/{journey.card.name}/{given.contact_id}",
            task_queue=self.task_queue,
            result_type=str,
            # Without a cache the SDK loses a task now and then that a query came upon; the server then waits so long.
            task_timeout=timedelta(seconds=3),
            start_signal=first_signal[0] if first_signal else None,
            start_signal_args=[first_signal[1]] if first_signal else [],
        )
        run = Run(handle, given)
        self.runs.append(run)
        return run

    async def enter(self) -> None:
        """The worker of the runs begins to work; that of the activities has all the time."""
        self._worker = Worker(
            self.client,
            task_queue=self.task_queue,
            workflows=self.journeys,
            workflow_runner=RUNNER,
            max_cached_workflows=self.cached,
        )
        await self._worker.__aenter__()

    async def leave(self) -> None:
        """The worker of the runs stops: what happens now, a run sees in one go when it is back."""
        await self._worker.__aexit__(None, None, None)

    async def failed_tasks(self) -> list[str]:
        """Why workflow tasks failed: the mark of a wedged or a nondeterministic run."""
        found = [
            event.workflow_task_failed_event_attributes
            for run in self.runs
            for event in await run.history()
            if event.HasField("workflow_task_failed_event_attributes")
        ]
        # A signal that meets the end of a run makes the task be done over, and that is right.
        usual = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
        return [f.failure.message for f in found if f.cause != usual]

    async def found(self, workflow_id: str, run_id: str, contact_id: str) -> Run:
        """A run that somebody else has started."""
        now = datetime.now(UTC)
        handle = self.client.get_workflow_handle(workflow_id, result_type=str)
        return Run(handle, RunInput(run_id, contact_id, {}, "", now))

    async def asked(self, kind: type, number: int = 1) -> list[Any]:
        """Waits until so many requests of a kind have been made."""

        async def look() -> list[Any]:
            found = self.world.requests(kind)
            return found if len(found) >= number else []

        found: list[Any] = await eventually(look)
        return found


def in_(**span: float) -> datetime:
    """A moment from now."""
    return datetime.now(UTC) + timedelta(**span)
