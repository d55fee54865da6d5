"""The base every journey shares: stages, waits, exits, touches and hand-offs on Temporal.

A journey is a class with stages that are plain ``async`` methods. Handlers only put what arrives into ``mail``; the
run itself opens it. Everything a run knows is in ``State``, which is carried over when the run continues as new.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from inspect import iscoroutinefunction
from typing import Any, ClassVar, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from activities import signatures as ask
from contacts.clock import Clock
from contacts.specs import (
    LIFECYCLE,
    NAME,
    PROMOTIONAL,
    TRANSACTIONAL,
    Card,
    Condition,
    Heard,
    InvalidCard,
    Pattern,
    Purpose,
    Reentry,
    Trigger,
    always,
    days,
    hours,
    minutes,
    often,
    on,
    once,
    once_per,
)
from workflows import search_attributes as attributes

__all__ = [
    "LIFECYCLE",
    "PROMOTIONAL",
    "TRANSACTIONAL",
    "Heard",
    "Journey",
    "always",
    "days",
    "hours",
    "journey",
    "minutes",
    "often",
    "on",
    "once",
    "once_per",
]

CARRY_ON_AFTER = 500
"""History events after which a run moves to a fresh history at the end of its stage: replay stays below a second."""

HANDOFF_ANSWERED = on("handoff.acknowledged", "conversation.started")
"""What a run hears when a person has taken a hand-off; a conversation counts only once a person of ours is in it."""

APPROVAL_ANSWERED = on("approval.answered")
"""What a run hears when a person has answered an approval."""

_KEEP_SEEN = 1000
_KEEP_HEARD = 500
_KEEP_STORY = 200
_ASK_AGAIN = timedelta(minutes=15)

_CALL = timedelta(seconds=60)
_LANDING = timedelta(seconds=75)
"""How long a run that has to go on waits for a call to a provider: until it is answered, or given up and settled."""

Stage = Callable[[], Awaitable[Any]]
T = TypeVar("T")


@dataclass
class State:
    """Everything a run knows, carried over a continue-as-new.

    Attributes:
        stage: The stage the run is in or begins with; None before the first.
        touches: How many touches were asked for; numbers their keys.
        mail: What signals and updates brought and the run has not opened yet.
        heard: Events that no wait has taken yet; ``passed`` once a wait for something else has seen one.
        seen: Ids of events already heard, newest last.
        ending: Outcome and cause, once something has ended the run.
        asking: What the run has asked to be allowed: its name, and the id of the newest approval of that name.
        approvals: The answers, by id, however they came. By name in runs that asked before people were told.
        lines: What the journal does not know yet. ``seq`` numbers lines.
        story: The last lines, for the ``story`` query.
        memory: The journey's own, for what later stages must know: plain JSON values.
    """

    stage: str | None = None
    touches: int = 0
    mail: list[dict[str, Any]] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    ending: dict[str, Any] | None = None
    paused: bool = False
    move_to: str | None = None
    asking: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, bool] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    needs_review: bool = False
    lines: list[ask.Line] = field(default_factory=list)
    seq: int = 0
    story: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass
class RunInput:
    """What a run is started with.

    Attributes:
        run_id: The run's row; stays the same over continue-as-new, unlike Temporal's run id.
        entry: The event that started it, as ``Heard``.
        started_at: When it began, on the journeys' clock; ``max_run`` counts from here.
        carry_on_after: See ``CARRY_ON_AFTER``.
    """

    run_id: str
    contact_id: str
    entry: dict[str, Any]
    entry_point: str
    started_at: datetime
    key: str | None = None
    clock: Clock = field(default_factory=Clock)
    state: State | None = None
    carry_on_after: int = CARRY_ON_AFTER


class Journey:
    """Base of all journeys. Subclasses are decorated with ``journey`` and define stages.

    A stage is a public ``async`` method; the first one in the class is where a run begins. It returns the next stage
    (``return self.educate``) or nothing, which completes the run. Whatever a stage awaits, an exit cancels it at once:
    ``try/finally`` around an await is where a stage cleans up.
    """

    card: ClassVar[Card]

    @workflow.init
    def __init__(self, start: RunInput) -> None:
        self._start = start
        self.state = start.state or State()
        self.entry = _heard(start.entry)
        self._sleeping = ""
        self._unsettled: set[str] = set()

    @property
    def now(self) -> datetime:
        """The run's time (UTC)."""
        return self._start.clock.at(workflow.now())

    @property
    def memory(self) -> dict[str, Any]:
        """What this run wants to remember between stages: plain JSON values."""
        return self.state.memory

    def after(self, *, days: float = 0, hours: float = 0, minutes: float = 0) -> datetime:
        """The run's time so much later."""
        return self.now + timedelta(days=days, hours=hours, minutes=minutes)

    # What a stage may ask for.

    async def send(
        self,
        template: str,
        *,
        purpose: Purpose | None = None,
        channel: str | None = None,
        valid_for: timedelta | None = None,
        **context: Any,
    ) -> ask.Delivery:
        """Sends a touch as soon as the gate lets it out, and returns what became of it.

        Waits out holds, quiet hours and frequency caps; what is no longer valid then is dropped with its reason.

        Args:
            template: A template's name.
            purpose: Why; the card's purpose if not given.
            channel: Where; if not given, the best of the template's channels for this contact by then.
            valid_for: How long the message is worth sending, from now; the policy's default if not given.
            context: Values for the template besides the contact's facts and the entry event. JSON only.
        """
        self.state.touches += 1
        asked_at = self.now
        key = f"{self._start.run_id}/{self.state.stage}/{self.state.touches}"
        while True:
            await self._unpaused()
            request = ask.DeliverRequest(
                run=self._ref(),
                key=key,
                template=template,
                channel=channel,
                purpose=purpose or self.card.purpose,
                asked_at=asked_at,
                valid_until=asked_at + valid_for if valid_for is not None else None,
                entry=self._start.entry,
                context=context,
                lines=self._lines(),
            )
            known = self.state.seen
            self._unsettled.add(key)
            try:
                delivery = await self._deliver(request)
            except ActivityError as error:
                workflow.logger.warning("%s could not be delivered yet: %s", template, error.cause)
                delivery = ask.Delivery("waiting", "provider_away", until=self.now + _ASK_AGAIN)
            if delivery.status != "waiting":
                self._unsettled.discard(key)
                self._tell(f"{template}: {delivery.status}" + (f" ({delivery.reason})" if delivery.reason else ""))
                if delivery.reason == "exited":
                    # The exit is on its way to us; nothing of this stage may go on until it is here.
                    await workflow.wait_condition(lambda: self.state.ending is not None)
                return delivery
            await self._sleep_before(template, delivery, known)

    async def wait(
        self,
        *conditions: Trigger,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        until: datetime | None = None,
    ) -> Heard | None:
        """Waits for an event, at most so long. Returns the event, or None when the time is over.

        An event that arrived before the wait began counts, once: behaviour is never missed because the run was busy
        sending. Only what an earlier stage waited past, for something else, is over with that stage.
        """
        end = until if until is not None else self.after(days=days, hours=hours, minutes=minutes)
        what = " or ".join(map(str, conditions)) or "the time"
        if (found := self._take(conditions)) is not None:
            return found
        self._line("wait", until=end, data={"reason": what})
        await self._note(end, f"waits for {what}")
        await self._until(lambda: self._matching(conditions) is not None, end, f"until {end:%d %b %H:%M} for {what}")
        found = self._take(conditions)
        for event in self.state.heard:
            event["passed"] = event.get("passed", False) or not _meets(event, conditions)
        return found

    async def sleep(self, *, days: float = 0, hours: float = 0, minutes: float = 0) -> None:
        """Lets time pass. Nothing but an exit ends it early."""
        await self.wait(days=days, hours=hours, minutes=minutes)

    async def facts(self) -> ask.ContactNow:
        """What is true of the contact now, for a stage to branch on."""
        return await self._execute(
            ask.FACTS, ask.FactsRequest(self._ref(), self._lines()), ask.ContactNow, "look at the contact"
        )

    async def showed(self, behaviour: Pattern) -> bool:
        """Whether the contact has shown this behaviour, up to now, for a stage to branch on.

        Args:
            behaviour: ``often(on("page.viewed", page="pricing"), times=2, days=7, without=on("meeting.booked"))``.
        """
        request = ask.FactsRequest(self._ref(), self._lines(), behaviour)
        return (await self._execute(ask.FACTS, request, ask.ContactNow, f"look for {behaviour}")).shown

    async def hand_off(
        self, reason: str, *, because_at: datetime | None = None, owner: str | None = None
    ) -> str | None:
        """Gives the contact to a person, reminds them, and returns who took it; None if nobody did.

        Promotion to the contact rests from the moment this is asked for. Without an answer the hand-off ends up in the
        review queue.

        Args:
            reason: What the person should know first, in a sentence.
            because_at: When what caused it happened; delays are measured from there. The entry event's time if not
                given.
            owner: Who takes it; the policy's owner of hand-offs if not given.
        """
        handoff_id = str(workflow.uuid4())
        # Asked once and here: a run that handed over before this was so goes on as it began.
        of_ours = workflow.patched("handoff-answered-by-a-rep")
        occurred = because_at or self.entry.occurred_at
        request = ask.HandOffRequest(self._ref(), handoff_id, reason, occurred, owner, self._lines())
        done = await self._execute(ask.HAND_OFF, request, ask.HandOffDone, f"hand over: {reason}")
        self._tell(f"handed over to {done.owner}: {reason}")
        end = done.contact_by
        for reminder in range(1, done.reminders + 2):
            await self._note(end, f"waits for {done.owner} to take the hand-off")
            answer = f"until {end:%d %b %H:%M} for {done.owner} to answer"
            await self._until(lambda: self._answer(handoff_id, of_ours) is not None, end, answer)
            if (who := self._answer(handoff_id, of_ours)) is not None:
                self._tell(f"taken by {who}")
                if handoff_id in self.state.acknowledged:
                    taken = ask.AcknowledgeRequest(self._ref(), handoff_id, who, self._lines())
                    await self._execute(ask.ACKNOWLEDGE, taken, None, f"{who} has the hand-off")
                return who
            self.state.needs_review = last = reminder > done.reminders
            remind = ask.RemindRequest(self._ref(), handoff_id, reminder, last, self._lines())
            await self._execute(ask.REMIND, remind, None, "leave it to a review" if last else f"remind {done.owner}")
            end = self.now + timedelta(seconds=done.remind_every_seconds)
        return None

    async def approval(self, what: str, *, days: float) -> bool:
        """Asks a person for a yes, at most so long; no answer is a no.

        A person is told, and anybody may answer: with the event ``approval.answered``, as a click on the alert is, or
        with the ``approve`` update. The first answer counts. That nobody can be told delays nothing.

        Args:
            what: What they would allow, in a few words.
            days: How long they have.
        """
        # Asked once and here: a run that asked before people were told goes on as it began.
        told = workflow.patched("approval-told-to-a-person")
        name = f"{self.state.stage}/{what}"
        end = self.now + timedelta(days=days)
        if told:
            self.state.asking[name] = str(workflow.uuid4())
        self._line("approval", until=end, data={"reason": what, "name": name})
        await self._note(end, f"waits for approval: {what}")
        waiting = f"until {end:%d %b %H:%M} for approval: {what}"
        if not told:
            await self._until(lambda: name in self.state.approvals, end, waiting)
            return self.state.approvals.pop(name, False)
        asked = ask.ApprovalRequest(self._ref(), self.state.asking[name], what, end, self.card.owner)
        telling = self._start_activity(ask.ASK_APPROVAL, asked, None, f"ask for approval: {what}")
        try:
            await self._until(lambda: asked.approval_id in self.state.approvals, end, waiting)
        except asyncio.CancelledError:
            # The stage is left: from now on no answer counts.
            await self._settle(asked, telling)
            raise
        return await self._settle(asked, telling)

    async def _settle(self, asked: ask.ApprovalRequest, telling: workflow.ActivityHandle[Any]) -> bool:
        telling.cancel()
        said = self.state.approvals.pop(asked.approval_id, None)
        request = ask.SettleApprovalRequest(self._ref(), asked, said, self._lines())
        summary = f"who answered: {asked.what}"
        settled = await self._execute(ask.SETTLE_APPROVAL, request, ask.ApprovalSettled, summary)
        verdict = "approved" if settled.approved else "refused"
        self._tell(f"{asked.what}: {f'{verdict} by {settled.by}' if settled.by else 'nobody answered'}")
        return settled.approved

    async def record_event(self, type: str, **data: Any) -> None:
        """Records something the run did or learned as an event of the contact, through the same door as any other.

        Args:
            type: Such as ``consent.withdrawn``.
            data: The event's data, shaped by its type. JSON only.
        """
        request = ask.RecordEventRequest(self._ref(), str(workflow.uuid4()), type, data, self._lines())
        await self._execute(ask.RECORD_EVENT, request, None, f"record {type}")
        self._tell(f"recorded {type}")

    # What reaches a run. Handlers only enqueue.

    @workflow.signal(description="An event the run may be waiting for")
    async def event(self, payload: Any = None, *_: Any) -> None:
        self.state.mail.append({"signal": "event", "payload": payload})

    @workflow.signal(description="End the run: its exit has happened")
    async def exit(self, payload: Any = None, *_: Any) -> None:
        self.state.mail.append({"signal": "exit", "payload": payload})

    @workflow.signal(description="Hold all touches of this run until resume; timers run on")
    async def pause(self, *_: Any) -> None:
        self.state.mail.append({"signal": "pause"})

    @workflow.signal(description="Let touches go out again")
    async def resume(self, *_: Any) -> None:
        self.state.mail.append({"signal": "resume"})

    @workflow.update(description="A person takes the hand-off")
    async def acknowledge(self, handoff_id: str, by: str) -> str:
        self.state.mail.append({"signal": "acknowledge", "handoff_id": handoff_id, "by": by})
        return f"{by} has the hand-off"

    @workflow.update(description="A person answers an approval the run waits for")
    async def approve(self, name: str, approved: bool) -> str:
        self.state.mail.append({"signal": "approve", "name": name, "approved": approved})
        return "approved" if approved else "refused"

    @workflow.update(description="Leave the current stage and go on at another")
    async def move(self, stage: str) -> str:
        self.state.mail.append({"signal": "move", "stage": stage})
        return f"moving to {stage}"

    @move.validator
    def _movable(self, stage: str) -> None:
        if stage not in stages_of(type(self)):
            raise ApplicationError(f"no stage {stage!r}: {', '.join(stages_of(type(self)))}")

    @workflow.query(description="Where the run is, what comes next and how it got here")
    def story(self) -> dict[str, Any]:
        return {
            "journey": self.card.name,
            "contact": self._start.contact_id,
            "key": self._start.key,
            "stage": self.state.stage,
            "doing": self._sleeping,
            "paused": self.state.paused,
            "ending": self.state.ending,
            "owner": self.card.owner,
            "goal": self.card.goal,
            "lines": list(self.state.story),
        }

    # How a run lives.

    async def _live(self) -> str:
        """Goes from stage to stage until the journey, an exit or ``max_run`` ends it. Returns the outcome."""
        try:
            await self._stages()
        except asyncio.CancelledError:
            await self._finish({"outcome": "canceled", "by": "an operator"})
            raise
        ending = self.state.ending or {"outcome": "completed", "by": None}
        await self._finish(ending)
        return str(ending["outcome"])

    async def _stages(self) -> None:
        out_of_time = asyncio.create_task(self._clock_out())
        reading = asyncio.create_task(self._read_mail())
        stage: str | None = self.state.stage or stages_of(type(self))[0]
        self._open_mail()
        while stage is not None and self.state.ending is None:
            self._enter(stage)
            task: asyncio.Task[Any] = asyncio.create_task(_run(getattr(self, stage)()))
            try:
                await workflow.wait_condition(
                    lambda task=task: bool(  # type: ignore[misc]
                        task.done() or self.state.ending or self.state.move_to or out_of_time.done()
                    )
                )
            except asyncio.CancelledError:
                await _left(task)
                raise
            await _left(task)
            following = None if task.cancelled() else task.result()
            self._open_mail()
            if out_of_time.done() and self.state.ending is None:
                self.state.ending = {"outcome": "exhausted", "by": "max_run"}
            if self.state.ending is None:
                await self._settle_touches()
            self.state.heard = [event for event in self.state.heard if not event.get("passed")]
            stage = self.state.move_to or (following.__name__ if following is not None else None)
            self.state.move_to = None
            if stage is not None and self.state.ending is None and self._should_carry_on():
                await self._carry_on(stage)
        out_of_time.cancel()
        reading.cancel()

    async def _settle_touches(self) -> None:
        """Nobody will ask again for what a stage that was left had still to send."""
        # Asked only where there is any: a run that left some before this was so goes on as it began.
        if self._unsettled and workflow.patched("touches-of-a-stage-that-was-left"):
            leave = ask.LeaveRequest(self._ref(), self._lines())
            await self._execute(ask.LEAVE, leave, None, "settle what was still to be sent")
        self._unsettled.clear()

    async def _read_mail(self) -> None:
        while True:
            await workflow.wait_condition(lambda: bool(self.state.mail))
            self._open_mail()

    def _open_mail(self) -> None:
        mail, self.state.mail = self.state.mail, []
        for letter in mail:
            payload = letter.get("payload")
            if isinstance(payload, Mapping) and payload.get("run") not in (None, self._start.run_id):
                # Meant for an earlier run under the same workflow id.
                continue
            match letter["signal"]:
                case "event":
                    self._hear(payload)
                case "exit" if self.state.ending is None:
                    given = payload if isinstance(payload, Mapping) else {}
                    self.state.ending = {"outcome": str(given.get("outcome", "exited")), "by": given.get("by")}
                case "pause" | "resume":
                    self.state.paused = letter["signal"] == "pause"
                    self._tell(f"{letter['signal']}d by an operator")
                case "acknowledge":
                    self.state.acknowledged[letter["handoff_id"]] = letter["by"]
                case "approve" if letter["name"] in self.state.asking:
                    self._answered(self.state.asking[letter["name"]], letter["approved"])
                case "approve":
                    self.state.approvals[letter["name"]] = letter["approved"]
                case "move":
                    self.state.move_to = letter["stage"]
                    self._tell(f"moved to {letter['stage']} by an operator")

    def _hear(self, payload: Any) -> None:
        try:
            event = _heard(payload)
        except (TypeError, KeyError, ValueError):
            workflow.logger.warning("a signal that is no event was ignored")
            return
        if event.id in self.state.seen:
            return
        self.state.seen = [*self.state.seen, event.id][-_KEEP_SEEN:]
        plain = {"id": event.id, "type": event.type, "occurred_at": event.occurred_at.isoformat(), "data": event.data}
        if isinstance(payload.get("patterns"), list):
            plain["patterns"] = [str(p) for p in payload["patterns"]]
        self.state.heard = [*self.state.heard, plain][-_KEEP_HEARD:]
        if APPROVAL_ANSWERED.matches(event.type, event.data) and not event.data.get("void"):
            self._answered(str(event.data.get("approval_id")), event.data.get("approved") is True)

    def _answered(self, approval_id: str, approved: bool) -> None:
        if approval_id in self.state.asking.values():
            self.state.approvals.setdefault(approval_id, approved)

    def _matching(self, conditions: Collection[Trigger]) -> int | None:
        return next((n for n, event in enumerate(self.state.heard) if _meets(event, conditions)), None)

    def _take(self, conditions: Collection[Trigger]) -> Heard | None:
        # What arrived together with the end of a wait was in time.
        self._open_mail()
        n = self._matching(conditions)
        return None if n is None else _heard(self.state.heard.pop(n))

    def _answer(self, handoff_id: str, of_ours: bool) -> str | None:
        if handoff_id in self.state.acknowledged:
            return self.state.acknowledged[handoff_id]
        for event in self.state.heard:
            data = event.get("data") or {}
            if of_ours and event["type"] == "conversation.started" and not data.get("rep"):
                continue
            if HANDOFF_ANSWERED.matches(event["type"], data) and data.get("handoff_id", handoff_id) == handoff_id:
                return str(data.get("by") or data.get("rep") or "somebody")
        return None

    async def _until(self, condition: Callable[[], bool], end: datetime, summary: str) -> None:
        seconds = self._start.clock.machine_seconds(end - self.now)
        if seconds <= 0:
            return
        cancels = _cancels()
        try:
            await workflow.wait_condition(condition, timeout=seconds, timeout_summary=summary)
        except TimeoutError:
            return
        if _cancels() > cancels:
            # Python 3.11 prefers what was waited for to a cancellation that comes with it; an exit must not get lost.
            raise asyncio.CancelledError

    async def _clock_out(self) -> None:
        deadline = self._start.started_at + self.card.max_run
        seconds = self._start.clock.machine_seconds(deadline - self.now)
        await workflow.sleep(max(seconds, 0), summary=f"{self.card.name} may last until {deadline:%d %b}")

    async def _unpaused(self) -> None:
        if self.state.paused:
            self._show("paused by an operator")
            await workflow.wait_condition(lambda: not self.state.paused)

    async def _sleep_before(self, template: str, delivery: ask.Delivery, known: list[str]) -> None:
        """Sleeps until the gate may be asked again: the time it named, or any news while it names a hold.

        ``known`` is what the run had seen when it asked: a release may have come while the gate was answering.
        """
        until = delivery.until or self.now + _ASK_AGAIN
        why = f"{template} waits: {delivery.hold or delivery.reason}"
        self._show(why, until, hold=delivery.hold)
        self._tell(why)
        await self._until(
            lambda: delivery.hold is not None and self.state.seen is not known,
            until,
            f"until {until:%d %b %H:%M}: {why}",
        )
        self._show(f"asks again for {template}", hold=None)

    async def _note(self, until: datetime, doing: str) -> None:
        """Before a sleep: what is known goes to the database and to the Temporal UI."""
        self._show(doing, until)
        note = ask.NoteRequest(self._ref(), self._lines(), until)
        await self._execute(ask.NOTE, note, None, "write down where the run is")

    async def _deliver(self, request: ask.DeliverRequest) -> ask.Delivery:
        """Asks for a touch. Whoever cancels this waits until a message on its way has arrived and is recorded."""
        delivering = workflow.start_activity(
            ask.DELIVER,
            request,
            result_type=ask.Delivery,
            start_to_close_timeout=_CALL,
            heartbeat_timeout=timedelta(seconds=10),
            schedule_to_close_timeout=timedelta(hours=1),
            retry_policy=_BLIP,
            summary=f"{request.channel}: {request.template}" if request.channel else request.template,
        )
        try:
            delivery: ask.Delivery = await asyncio.shield(delivering)
        except asyncio.CancelledError:
            await workflow.wait([delivering], timeout=_LANDING.total_seconds())
            delivering.cancel()
            raise
        return delivery

    async def _execute(self, name: str, request: Any, result: type[T] | None, summary: str) -> T:
        # Shielded, because an activity that ends while it is being cancelled returns, and the cancellation is lost.
        value: T = await asyncio.shield(self._start_activity(name, request, result, summary))
        return value

    def _start_activity(
        self, name: str, request: Any, result: type[T] | None, summary: str
    ) -> workflow.ActivityHandle[Any]:
        return workflow.start_activity(
            name,
            request,
            result_type=result,
            start_to_close_timeout=_CALL,
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=_BLIP,
            summary=summary,
        )

    async def _finish(self, ending: Mapping[str, Any]) -> None:
        outcome = str(ending["outcome"])
        exhausted = outcome == "exhausted"
        needs_review = exhausted or self.state.needs_review
        workflow.upsert_search_attributes(
            [
                attributes.OUTCOME.value_set(outcome),
                attributes.NEEDS_REVIEW.value_set(needs_review),
                attributes.NEXT_WAKE.value_unset(),
                attributes.HOLD.value_unset(),
            ]
        )
        workflow.set_current_details(f"**{outcome}**" + (f" by {ending['by']}" if ending.get("by") else ""))
        request = ask.FinishRequest(
            self._ref(), outcome, ending.get("by"), exhausted, tuple(self.state.story), self._lines()
        )
        await self._execute(ask.FINISH, request, None, f"record the outcome: {outcome}")
        await workflow.wait_condition(workflow.all_handlers_finished)

    def _should_carry_on(self) -> bool:
        info = workflow.info()
        return (
            info.get_current_history_length() >= self._start.carry_on_after
            or info.is_target_worker_deployment_version_changed()
        )

    async def _carry_on(self, stage: str) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        self.state.stage = stage
        start = self._start
        workflow.continue_as_new(
            RunInput(
                start.run_id,
                start.contact_id,
                start.entry,
                start.entry_point,
                start.started_at,
                start.key,
                start.clock,
                self.state,
                start.carry_on_after,
            ),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    # What people see.

    def _enter(self, stage: str) -> None:
        self.state.stage = stage
        self._line("stage")
        self._tell(f"entered {stage}")
        workflow.upsert_search_attributes([attributes.STAGE.value_set(stage)])

    def _show(self, doing: str, until: datetime | None = None, hold: str | None = None) -> None:
        self._sleeping = doing + (f" until {until:%a %d %b %Y %H:%M} UTC" if until else "")
        changes: list[Any] = [
            attributes.NEXT_WAKE.value_set(until) if until else attributes.NEXT_WAKE.value_unset(),
            attributes.HOLD.value_set(hold) if hold else attributes.HOLD.value_unset(),
        ]
        workflow.upsert_search_attributes(changes)
        workflow.set_current_details(
            f"In stage **{self.state.stage}** since the contact came by `{self._start.entry_point}`. "
            f"Now: {self._sleeping}. Goal: {self.card.goal}. Owner: {self.card.owner}."
        )

    def _line(self, kind: str, *, until: datetime | None = None, data: Mapping[str, Any] | None = None) -> None:
        self.state.seq += 1
        stage = self.state.stage or ""
        self.state.lines.append(ask.Line(self.state.seq, self.now, kind, stage, until, dict(data or {})))

    def _tell(self, text: str) -> None:
        line = {"at": self.now.isoformat(timespec="minutes"), "stage": self.state.stage, "text": text}
        self.state.story = [*self.state.story, line][-_KEEP_STORY:]

    def _lines(self) -> tuple[ask.Line, ...]:
        lines, self.state.lines = tuple(self.state.lines), []
        return lines

    def _ref(self) -> ask.RunRef:
        stage = self.state.stage or ""
        return ask.RunRef(self._start.run_id, self._start.contact_id, self.card.name, stage, self.now)


_BLIP = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))


async def _left(stage: asyncio.Task[Any]) -> None:
    """Leaves a stage, finished or not; its cleanup runs."""
    if not stage.done():
        stage.cancel()
        await workflow.wait([stage])


async def _run(stage: Coroutine[Any, Any, Any]) -> Any:
    return await stage


def _cancels() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _heard(event: Mapping[str, Any]) -> Heard:
    occurred_at = datetime.fromisoformat(str(event["occurred_at"]))
    return Heard(str(event["id"]), str(event["type"]), occurred_at, dict(event.get("data") or {}))


def _meets(event: Mapping[str, Any], wanted: Iterable[Trigger]) -> bool:
    # Only who knows the contact's other events can tell behaviour; routing did, and wrote it on the envelope.
    told = event.get("patterns") or ()
    return any(str(w) in told if isinstance(w, Pattern) else w.matches(event["type"], event["data"]) for w in wanted)


def stages_of(cls: type) -> tuple[str, ...]:
    """A journey's stages, in the order they are written."""
    return tuple(n for n, member in vars(cls).items() if iscoroutinefunction(member) and n[0] != "_" and n != "run")


def journey(
    *,
    trigger: Trigger | Iterable[Trigger],
    audience: str,
    goal: str,
    success: Condition | Iterable[Condition],
    exits: Iterable[Condition],
    owner: str,
    purpose: Purpose,
    reentry: Reentry,
    max_run: timedelta,
    review_by: date,
    key: str | None = None,
    only: Iterable[str] = (),
    unless: Iterable[str] = (),
    newest_only: bool = False,
    own_key_only: bool = False,
    same: str | None = None,
    shared_key: bool = False,
) -> Callable[[type[Journey]], type[Journey]]:
    """Makes a class a journey: gives it its card and makes it a Temporal workflow.

    Args:
        trigger: What starts a run.
        audience: For whom, in words. ``only`` and ``unless`` say it to the machine.
        goal: What the contact gets out of it, in words.
        success: What shows that the goal is reached; ends the run as ``converted``.
        exits: What else ends a run at once, wherever it waits.
        owner: Who answers for it.
        purpose: Of its touches, unless a touch says otherwise.
        reentry: ``once()``, ``once_per(days=...)`` or ``always()``.
        max_run: How long a run may last; then it ends as ``exhausted`` and a person looks at it.
        review_by: When the journey itself must be looked at again.
        key: A field of the trigger's data: one run per value of it (``checkout_id``).
        only, unless: What must or must not be true of the contact as the run begins: ``known``, ``customer``,
            ``strong``, a lifecycle stage, ``in:<segment>``, ``during:<another journey>``.
        shared_key: Many contacts have the same value, such as a date: it tells a contact's own runs apart, and an event
            that names it never means somebody else's.
        own_key_only: An event that names a key ends only the run with that key, even if it names one never seen.
        same: A field of the trigger's data; an event that names it ends only runs whose trigger named the same value
            (``subscription_id``: another plan's end is not this one's), or none.
        newest_only: A new run ends the contact's older runs of this journey as ``superseded``.

    Raises:
        InvalidCard: A part is missing or empty.
    """

    def decorate(cls: type[Journey]) -> type[Journey]:
        name = _kebab(cls.__name__)
        card = Card(
            name=name,
            trigger=(trigger,) if isinstance(trigger, Condition | Pattern) else tuple(trigger),
            audience=audience,
            goal=goal,
            success=_conditions(success),
            exits=_conditions(exits),
            owner=owner,
            purpose=purpose,
            reentry=reentry,
            max_run=max_run,
            review_by=review_by,
            key=key,
            only=tuple(only),
            unless=tuple(unless),
            newest_only=newest_only,
            own_key_only=own_key_only,
            same=same,
            shared_key=shared_key,
            doc=(cls.__doc__ or "").strip(),
            stages=stages_of(cls),
        )
        for part in ("trigger", "audience", "goal", "success", "exits", "owner", "max_run", "stages", "doc"):
            if not getattr(card, part):
                raise InvalidCard(f"{cls.__name__}: {part} is missing")
        if not NAME.fullmatch(name):
            raise InvalidCard(f"{cls.__name__}: cannot be a journey's name")
        cls.card = card

        # Temporal wants run to be the class's own method, with the parameters of __init__ to the letter.
        async def run(self, start: RunInput) -> str:  # type: ignore[no-untyped-def]
            outcome: str = await self._live()
            return outcome

        run.__qualname__ = f"{cls.__name__}.run"
        run.__module__ = cls.__module__
        cls.run = workflow.run(run)  # type: ignore[attr-defined]
        return workflow.defn(name=name)(cls)

    return decorate


def _conditions(given: Condition | Iterable[Condition]) -> tuple[Condition, ...]:
    return (given,) if isinstance(given, Condition) else tuple(given)


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() and n else c.lower() for n, c in enumerate(name))
