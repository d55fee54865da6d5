"""Plays every scenario file: the journeys as a marketer describes them, on real engines, under skipped time.

What a run did must come out again from its history, so every history of every scenario is replayed too.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from copy import deepcopy
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError

from contacts.policy import Policy
from ops import engines, scenario, simulate
from ops.scenario import Expectation, Line, Never
from tests.replays import replayer
from workflows.registry import CARDS, JOURNEYS

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))


@pytest.fixture(scope="session")
def template(postgres_server: str, template_database: str) -> str:
    return engines.database_url(postgres_server, template_database)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_scenario(file: Path, template: str, policy: Policy) -> None:
    played = await simulate.play(template, scenario.read(file), policy)
    assert not played.misses, "\n" + "\n".join(played.misses)
    assert repeated(played.lines) == []
    entered = {line.journey for line in played.lines if line.kind == "enter"}
    assert entered <= {journey_of(history) for history in played.histories}
    await replay(played.histories)


def test_every_journey_occurs_and_so_is_replayed() -> None:
    expected = [wanted for file in FILES for wanted in scenario.read(file).expect]
    named = {(line.model_extra or {}).get("journey") for line in expected}
    sent = {line.touch for line in expected}
    assert [card.name for card in CARDS if card.name not in named and sent.isdisjoint(card.messages)] == []


def journey_of(history: WorkflowHistory) -> str:
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


async def replay(histories: Sequence[WorkflowHistory]) -> None:
    """Runs the code of today against what the runs did; fails where it would do something else."""
    names = {journey_of(history) for history in histories}
    if not names:
        return

    async def every() -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history

    await replayer(*(cls for cls in JOURNEYS if cls.card.name in names)).replay_workflows(every())


def repeated(lines: list[Line]) -> list[str]:
    """Lines that say the same of the same moment twice."""
    seen = Counter(str(line.as_json()) for line in lines)
    return [line for line, times in seen.items() if times > 1]


def test_every_journey_has_scenarios_of_its_goal_and_of_silence() -> None:
    ends = Counter(
        (wanted.model_extra or {}).get("journey", "") + "/" + (wanted.model_extra or {}).get("outcome", "")
        for file in FILES
        for wanted in scenario.read(file).expect
        if wanted.kind == "exit"
    )
    for card in CARDS:
        assert ends[f"{card.name}/converted"], card.name
        assert ends[f"{card.name}/completed"] or ends[f"{card.name}/exhausted"], card.name


async def test_an_answer_that_nobody_waits_for_is_named(template: str, policy: Policy) -> None:
    right = scenario.read(next(f for f in FILES if f.stem == "value-present"))
    early = right.events[-1].model_copy(update={"at": scenario.offset("10d")})
    played = await simulate.play(template, right.model_copy(update={"events": (right.events[0], early)}), policy)
    assert played.misses[0] == "- value-realized: nothing waits for an answer on 12 Mar"


async def test_a_history_that_the_code_would_not_make_is_noticed(template: str, policy: Policy) -> None:
    file = next(f for f in FILES if f.stem == "welcome-quiet")
    played = await simulate.play(template, scenario.read(file), policy)
    (welcome,) = [deepcopy(history) for history in played.histories if journey_of(history) == "welcome"]
    await replay([welcome])
    welcome.events[0].workflow_execution_started_event_attributes.workflow_type.name = "nurture"
    with pytest.raises(NondeterminismError):
        await replay([welcome])


async def test_what_does_not_come_out_is_told_as_a_diff(template: str, policy: Policy) -> None:
    right = scenario.read(next(f for f in FILES if f.stem == "checkout-bought-in-the-delay"))
    wrong = right.model_copy(
        update={
            "expect": (Expectation(day=4, touch="checkout_help"), Expectation(day=0, touch="checkout_reminder")),
            "never": (Never(touch="checkout_help", after=scenario.offset("1d")),),
        }
    )
    played = await simulate.play(template, wrong, policy)
    assert [" ".join(miss.split()) for miss in played.misses] == [
        "- day: 4, touch: checkout_help",
        "+ day: 1.125, kind: touch, touch: checkout_help, channel: email",
        "+ day: 1.125, kind: touch, touch: checkout_help, channel: email (never: after: 1d, touch: checkout_help)",
    ]
