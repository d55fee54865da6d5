"""What Temporal says, as values."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from activities.signatures import DELIVER
from ops import temporal
from ops.installation import Installation
from ops.output import Failure
from ops.verify.agreement import Execution
from ops.verify.deliveries import Delivered, History
from workflows import search_attributes as attributes

_JOURNEYS = 'WorkflowId STARTS_WITH "journey/"'


@asynccontextmanager
async def connected(here: Installation) -> AsyncIterator[Client]:
    """The installation's Temporal server, for as long as the block runs.

    Raises:
        Failure: It does not answer.
    """
    client = await temporal.reach(here.temporal_address)
    try:
        yield client
    except RPCError as error:
        raise Failure(f"Temporal: {error.message.splitlines()[0] if error.message else error.status.name}") from None


@dataclass(frozen=True)
class Workflows:
    """Reads workflows and their histories; changes nothing.

    A list comes from Temporal's visibility and may be a moment behind. A description and a history are as of now.
    """

    client: Client

    async def of(self, contact_ids: Collection[str]) -> list[Execution]:
        """Every execution of the contacts' runs that Temporal still keeps, by the ids they had when the runs began."""
        if not contact_ids:
            return []
        return [execution async for execution in self._list(f"{_JOURNEYS} AND {_whose(contact_ids)}")]

    async def running(self, contact_ids: Collection[str] | None = None) -> AsyncIterator[Execution]:
        """Every open execution of a journey, or those of some contacts."""
        whose = f" AND {_whose(contact_ids)}" if contact_ids is not None else ""
        async for execution in self._list(f'{_JOURNEYS} AND ExecutionStatus = "Running"{whose}'):
            yield execution

    async def find(self, workflow_id: str) -> Execution | None:
        """The newest execution with this id."""
        try:
            found = await self.client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None
        return await _execution(found, busy=bool(found.raw_description.pending_activities))

    async def history(self, run_id: str, workflow_id: str, executions: Collection[str]) -> History | None:
        """What became of a run's deliveries, over every execution that it went through; None if nothing is kept.

        Args:
            executions: Temporal's ids of those that are known; what they go on from, and go on as, is found.
        """
        wanted, seen, begins, whole = list(executions), set(executions), False, True
        deliveries: set[Delivered] = set()
        while wanted:
            events = await self._events(workflow_id, wanted.pop())
            if not events:
                whole = False
                continue
            first = events[0].workflow_execution_started_event_attributes.continued_execution_run_id
            last = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
            begins = begins or not first
            wanted += {first, last} - seen - {""}
            seen |= {first, last}
            deliveries |= await self._deliveries(events)
        if not begins and not deliveries:
            return None
        return History(run_id, whole and begins, frozenset(deliveries))

    async def _list(self, query: str) -> AsyncIterator[Execution]:
        async for found in self.client.list_workflows(query):
            yield await _execution(found)

    async def _events(self, workflow_id: str, execution_id: str) -> list[HistoryEvent]:
        handle = self.client.get_workflow_handle(workflow_id, run_id=execution_id)
        try:
            return [event async for event in handle.fetch_history_events()]
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return []

    async def _deliveries(self, events: list[HistoryEvent]) -> set[Delivered]:
        completed = {
            attributes_.scheduled_event_id: attributes_.result
            for event in events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
            and (attributes_ := event.activity_task_completed_event_attributes)
        }
        found = set()
        for event in events:
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name != DELIVER:
                continue
            [request] = await self.client.data_converter.decode(list(scheduled.input.payloads))
            status = None
            if event.event_id in completed:
                [delivery] = await self.client.data_converter.decode(list(completed[event.event_id].payloads))
                status = str(delivery["status"])
            at = event.event_time.ToDatetime(UTC)
            found.add(Delivered(event.event_id, at, str(request["key"]), status))
        return found


def _whose(contact_ids: Collection[str]) -> str:
    quoted = ", ".join(f'"{contact_id}"' for contact_id in sorted(contact_ids))
    return f"{attributes.CONTACT.name} IN ({quoted})"


async def _execution(found: WorkflowExecution | WorkflowExecutionDescription, *, busy: bool | None = None) -> Execution:
    run_id = await found.memo_value("run", None)
    return Execution(
        workflow_id=found.id,
        execution_id=found.run_id,
        run_id=None if run_id is None else str(run_id),
        status=found.status.name.lower() if found.status is not None else "unknown",
        next_wake=found.typed_search_attributes.get(attributes.NEXT_WAKE),
        busy=busy,
    )
