"""The daily look at what did not happen and which dates come near."""

from dataclasses import dataclass

from temporalio import activity

from activities import signatures as ask
from activities.running import pulse
from contacts import chores
from contacts.intake import Intake
from contacts.sweep import sweep_page


@dataclass(frozen=True)
class Sweep:
    """The activity behind the ``sweep`` workflow."""

    intake: Intake

    @activity.defn(name=ask.SWEEP)
    async def sweep(self, request: ask.SweepRequest) -> ask.Swept:
        """One page; after the last one the sweep counts as done. A repeat records nothing twice."""
        async with pulse():
            page = await sweep_page(self.intake, request.now, after=request.after)
            if page.last is None:
                async with self.intake.engine.begin() as conn:
                    await chores.done(conn, chores.SWEEP, request.now)
        return ask.Swept(page.last, page.looked_at, page.recorded)
