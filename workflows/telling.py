"""Telling another system of one event: tried for days, then left to a person. Started by the relay."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from activities import signatures as ask

FOR = timedelta(days=5)
"""So long a system may be away before somebody must have it told again (``perennial outgoing replay``)."""

_AGAIN = RetryPolicy(initial_interval=timedelta(seconds=5), backoff_coefficient=3, maximum_interval=timedelta(hours=6))


@dataclass
class TellingInput:
    """What is told, and to whom; ``event`` is its id, ``round`` counts the replays."""

    telling: int
    event: str
    round: int
    sink: str
    type: str

    @property
    def workflow_id(self) -> str:
        """Of the workflow that tells it: one a round."""
        return f"telling/{self.sink}/{self.event}/{self.round}"


@workflow.defn(name="telling")
class Telling:
    """One event on its way to one system."""

    @workflow.run
    async def run(self, start: TellingInput) -> str:
        request = ask.TellRequest(start.telling)
        try:
            outcome: str = await workflow.execute_activity(
                ask.TELL,
                request,
                result_type=str,
                start_to_close_timeout=timedelta(seconds=60),
                schedule_to_close_timeout=FOR,
                retry_policy=_AGAIN,
                summary=f"{start.type} to {start.sink}",
            )
        except ActivityError:
            outcome = await workflow.execute_activity(
                ask.GIVE_UP_TELLING,
                request,
                result_type=str,
                start_to_close_timeout=timedelta(seconds=60),
                summary="leave it to a person",
            )
        return outcome
