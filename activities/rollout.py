"""The turns of a rollout, and what is to become of the runs it has begun."""

from dataclasses import dataclass

from temporalio import activity

from activities import signatures as ask
from activities.running import RunTime, pulse
from contacts import rollouts
from contacts.clock import Clock
from contacts.intake import Intake


@dataclass(frozen=True)
class RollOut:
    """The activities behind the ``rollout`` workflow."""

    intake: Intake
    clock: Clock

    @activity.defn(name=ask.ROLL_OUT)
    async def roll_out(self, request: ask.RollOutRequest) -> ask.RolledOut:
        """One page. An attempt after one that came some of the way does the rest, and no more than that."""
        time = RunTime(request.now, self.clock)
        async with pulse():
            page = await rollouts.page(
                self.intake,
                request.rollout,
                since=request.since,
                now=time.now,
                after=request.after,
                limit=request.limit,
                recorded_since=request.now if activity.info().attempt > 1 else None,
            )
        return ask.RolledOut(page.last, page.more, page.recorded, page.skipped)

    @activity.defn(name=ask.STEER)
    async def steer(self, request: ask.SteerRequest) -> int:
        """Returns how many runs were told."""
        about = request.rollout.about
        time = RunTime(request.now, self.clock)
        async with pulse():
            value = str(request.rollout.data[about])
            return await rollouts.steer(self.intake, about, value, request.order, time.now())
