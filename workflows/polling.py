"""Asking one system what happened. Started by a Temporal Schedule, one for each system that is asked."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities import signatures as ask


@dataclass
class PollingInput:
    """Whom to ask: the connector's name."""

    connector: str


@workflow.defn(name="polling")
class Polling:
    """One asking, page by page, from where the last one ended."""

    @workflow.run
    async def run(self, start: PollingInput) -> str:
        done: ask.PollDone = await workflow.execute_activity(
            ask.POLL,
            ask.PollRequest(start.connector),
            result_type=ask.PollDone,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(seconds=30),
            # The Schedule asks again soon, from the same place.
            retry_policy=RetryPolicy(maximum_attempts=3),
            summary=f"ask {start.connector} what happened",
        )
        return f"{done.events} events in {done.pages} pages"
