"""A rollout: one event for every member of a segment, at a rate, for as long as that takes.

Never more events than the rate in any minute of the journeys' clock: a minute has as many slots as it takes to keep
them small, each slot has its share, and the next one begins its part of a minute after the last has ended. Handlers
only say what is wanted; the run does it between two pages.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Literal

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities import signatures as ask
from contacts.clock import Clock
from contacts.specs import Rollout as What
from workflows import search_attributes as attributes

CARRY_ON_AFTER = 500
"""History events after which a rollout moves to a fresh history."""

_SLOT = 100
"""Most events recorded in one go: what is begun at once, the same workers have to do at once."""

_AGAIN = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))

Stand = Literal["going", "paused", "stopping", "finished", "stopped"]


@dataclass
class RolloutState:
    """Everything a rollout knows, carried over a continue-as-new.

    Attributes:
        after: The contact whose turn it was last.
        room: How many events the present slot may still record.
        not_before: When the next slot begins.
        paused: Whether it should be; ``told_paused``: whether the runs it has begun have been told so.
        out: Whether everybody has had their turn.
    """

    room: int
    after: str | None = None
    recorded: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    not_before: datetime | None = None
    paused: bool = False
    told_paused: bool = False
    stopping: bool = False
    out: bool = False


@dataclass
class RolloutInput:
    """What a rollout is started with.

    Attributes:
        rate: Events a minute, of the journeys' clock.
        total: Turns there were when it was started.
        since: When it began; None for now.
    """

    what: What
    rate: int
    total: int
    clock: Clock = field(default_factory=Clock)
    since: datetime | None = None
    state: RolloutState | None = None
    carry_on_after: int = CARRY_ON_AFTER


@dataclass(frozen=True)
class Progress:
    """Where a rollout is.

    Attributes:
        recorded: Contacts who got the event.
        skipped: Contacts who did not, by the reason.
        next_at: When it goes on, if it waits for that.
    """

    name: str
    segment: str
    event: str
    about: str
    data: Mapping[str, Any]
    stand: Stand
    rate: int
    total: int
    recorded: int
    skipped: Mapping[str, int]
    since: datetime
    next_at: datetime | None = None


@workflow.defn(name="rollout")
class Rollout:
    """Goes through the members of a segment."""

    @workflow.init
    def __init__(self, start: RolloutInput) -> None:
        slots = ceil(start.rate / _SLOT)
        self._slot, self._apart = start.rate // slots, timedelta(minutes=1) / slots
        self._start = start
        self.since = start.since or self.now
        self.state = start.state or RolloutState(self._slot)
        self.ended = False
        self._shown = ""

    @property
    def now(self) -> datetime:
        """The journeys' time (UTC)."""
        return self._start.clock.at(workflow.now())

    @workflow.run
    async def run(self, start: RolloutInput) -> Progress:
        """Returns where it ended: ``finished`` or ``stopped``."""
        while True:
            self._show()
            if self.state.stopping:
                await self._steer("stop")
                break
            if self.state.paused != self.state.told_paused:
                paused = self.state.paused
                await self._steer("pause" if paused else "resume")
                self.state.told_paused = paused
            elif self.state.out:
                break
            elif self.state.paused:
                await workflow.wait_condition(lambda: self.state.stopping or not self.state.paused)
            elif self.state.not_before is not None and self.now < self.state.not_before:
                await self._rest(self.state.not_before)
            else:
                await self._turns()
                self._carry_on_if_long()
        self.ended = True
        self._show()
        return self.progress()

    @workflow.signal(description="Begin no more; what was begun and not sent waits")
    async def pause(self, *_: Any) -> None:
        self.state.paused = True

    @workflow.signal(description="Go on")
    async def resume(self, *_: Any) -> None:
        self.state.paused = False

    @workflow.signal(description="Begin no more, and end what was begun and not sent")
    async def stop(self, *_: Any) -> None:
        self.state.stopping = True

    @workflow.query(description="How far it is")
    def progress(self) -> Progress:
        what, state = self._start.what, self.state
        waits = state.not_before is not None and self._stand() == "going"
        return Progress(
            name=what.name,
            segment=what.segment,
            event=what.event,
            about=what.about,
            data=what.data,
            stand=self._stand(),
            rate=self._start.rate,
            total=self._start.total,
            recorded=state.recorded,
            skipped=state.skipped,
            since=self.since,
            next_at=state.not_before if waits else None,
        )

    def _stand(self) -> Stand:
        if self.state.stopping:
            return "stopped" if self.ended else "stopping"
        if self.ended:
            return "finished"
        return "paused" if self.state.paused else "going"

    async def _turns(self) -> None:
        state = self.state
        page: ask.RolledOut = await workflow.execute_activity(
            ask.ROLL_OUT,
            ask.RollOutRequest(self._start.what, self.since, self.now, state.room, state.after),
            result_type=ask.RolledOut,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=_AGAIN,
            summary=f"turns {state.recorded + 1} and following",
        )
        state.after, state.out = page.last, not page.more
        state.recorded += page.recorded
        state.skipped = dict(Counter(state.skipped) + Counter(page.skipped))
        state.room -= page.recorded
        state.not_before = None
        if state.room <= 0:
            state.room, state.not_before = self._slot, self.now + self._apart

    async def _steer(self, order: Literal["pause", "resume", "stop"]) -> None:
        await workflow.execute_activity(
            ask.STEER,
            ask.SteerRequest(self._start.what, order, self.now),
            result_type=int,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=_AGAIN,
            summary=f"{order} what was begun",
        )

    async def _rest(self, until: datetime) -> None:
        seconds = self._start.clock.machine_seconds(until - self.now)
        news = self.state.paused, self.state.stopping
        try:
            await workflow.wait_condition(
                lambda: (self.state.paused, self.state.stopping) != news,
                timeout=seconds,
                timeout_summary=f"until {until:%d %b %H:%M:%S}: {self._start.rate} a minute",
            )
        except TimeoutError:
            return

    def _carry_on_if_long(self) -> None:
        info = workflow.info()
        long = info.get_current_history_length() >= self._start.carry_on_after
        if not (long or info.is_target_worker_deployment_version_changed()):
            return
        start = self._start
        workflow.continue_as_new(
            RolloutInput(
                start.what, start.rate, start.total, start.clock, self.since, self.state, start.carry_on_after
            ),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _show(self) -> None:
        state, stand = self.state, self._stand()
        skipped = ", ".join(f"{count} {reason}" for reason, count in state.skipped.items())
        workflow.set_current_details(
            f"**{stand}**: `{self._start.what.event}` for {state.recorded} of {self._start.total} in segment "
            f"{self._start.what.segment}, {self._start.rate} a minute" + (f". Skipped: {skipped}" if skipped else "")
        )
        if stand != self._shown:
            self._shown = stand
            outcome = [attributes.OUTCOME.value_set(stand)] if self.ended else []
            workflow.upsert_search_attributes([attributes.STAGE.value_set(stand), *outcome])
