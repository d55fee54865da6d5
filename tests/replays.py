"""What a run did must come out again from its history."""

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from worker import RUNNER


def replayer(*workflows: type) -> Replayer:
    """Takes histories of these through the code of today, and fails where it would do something else."""
    # Its debug mode alone asks nothing of time: on a busy machine a collection of garbage passes for a deadlock.
    return Replayer(
        workflows=workflows, data_converter=pydantic_data_converter, workflow_runner=RUNNER, debug_mode=True
    )
