"""What is read from a journey's code, without running it."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest

from contacts.specs import InvalidCard, on
from workflows.base import HANDOFF_ANSWERED, Journey
from workflows.moments import REPLIED
from workflows.reading import Flow, HandOff, Send, Sleep, StageFlow, Wait, card_of, flow_of
from workflows.registry import CARDS, JOURNEYS

HEAD = '''\
from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, PROMOTIONAL, Journey, always, days, journey, on
from workflows.moments import REPLIED as ANSWER

NEWS = on("page.viewed", page="news")
WEEK = 7
LATER = NEWS

@journey(
    trigger=on("form.submitted"), audience="nobody", goal="none", success=on("a.b"), exits=[on("c.d")], owner="tests",
    purpose=PROMOTIONAL, reentry=always(), max_run=days(1),
    review_by=date(2030, 1, 1),
)
class Tiny(Journey):
    """Is read."""

'''

Load = Callable[[str], type[Journey]]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Makes a journey of what stands in its class."""
    name = f"tiny_{tmp_path.name}"

    def loaded(body: str) -> type[Journey]:
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + indent(dedent(body), "    "))
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        tiny: type[Journey] = module.Tiny
        return tiny

    yield loaded
    sys.modules.pop(name, None)


def only(flow: Flow) -> StageFlow:
    (stage,) = flow.stages
    return stage


def said(flow: Flow) -> list[str]:
    return [str(step) for step in flow.steps]


def leads(flow: Flow) -> dict[str, tuple[tuple[str, ...], bool]]:
    return {stage.name: (stage.next, stage.may_end) for stage in flow.stages}


def test_a_stage_is_read_in_its_order_with_what_everything_says(load: Load) -> None:
    flow = flow_of(
        load("""
        async def only(self) -> None:
            await self.sleep(days=1)
            found = await self.wait(NEWS, on("a.c", "a.d"), hours=2, minutes=30)
            if found:
                await self.send("plain", valid_for=days(2), **self.memory)
            await self.send("said", purpose=LIFECYCLE, channel="sms")
            await self.send("computed", purpose=self.memory["purpose"], channel=self.memory["channel"])
            await self.hand_off("Wants to talk.")
            await self.hand_off(f"Wants {found}.")
            if await self.approval("a gift", days=2):
                await self.wait(NEWS, until=self.after(days=WEEK))
                await self.wait(NEWS, until=self.entry.day)
        """)
    )
    first, _, *_ = flow.steps
    assert first == Sleep(21, "1 day")
    assert said(flow) == [
        "sleeps 1 day",
        "waits for page.viewed (page='news') or a.c or a.d, at most 2 hours 30 minutes",
        "sends plain",
        "sends said by sms",
        "sends computed",
        "hands over: Wants to talk.",
        "hands over",
        "asks a person to approve a gift, at most 2 days",
        "waits for page.viewed (page='news'), at most 7 days",
        "waits for page.viewed (page='news'), until self.entry.day",
    ]
    sends = [step for step in flow.steps if isinstance(step, Send)]
    assert [(s.purpose, s.channel) for s in sends] == [("promotional", None), ("lifecycle", "sms"), (None, None)]
    assert leads(flow) == {"only": ((), True)}


def test_a_wait_without_a_limit_has_none(load: Load) -> None:
    flow = flow_of(
        load("""
        async def only(self) -> None:
            await self.send("m")
            await self.wait(NEWS)
            await self.sleep()
            await self.wait(NEWS, **self.memory)
            await self.wait(NEWS, until=None)
        """)
    )
    waits = [step for step in flow.steps if isinstance(step, Wait)]
    assert [wait.limit for wait in waits] == [None, "self.memory", None]
    assert [step.length for step in flow.steps if isinstance(step, Sleep)] == [None]


def test_the_card_gains_messages_and_what_is_heard(load: Load) -> None:
    card = card_of(
        load("""
        async def first(self) -> Any:
            await self.send("one")
            await self.send("two")
            return self.second

        async def second(self) -> None:
            await self.wait(NEWS, days=1)
            await self.send("one")
            await self.wait(LATER, days=2)
            await self.hand_off("Look.")
        """)
    )
    assert card.messages == ("one", "two")
    assert card.hears == (on("page.viewed", page="news"), HANDOFF_ANSWERED)


def test_helpers_are_followed_with_what_they_are_given(load: Load) -> None:
    flow = flow_of(
        load("""
        async def first(self) -> Any:
            return self.second if await self._tell("hello", days=4) else await self._either(then=self.third)

        async def second(self) -> None:
            await self._tell("again", on("x.y"), days=WEEK)

        async def third(self) -> None:
            pass

        async def _tell(self, template, what=NEWS, *, days) -> bool:
            await self.send(template)
            end = self.after(days=days)
            while await self.wait(what, until=end):
                if self.memory.get("again"):
                    return await self._tell(template, days=1)
            return False

        async def _either(self, then) -> Any:
            if self.memory.get("enough"):
                return None
            return then
        """)
    )
    first, second, third = flow.stages
    assert [str(step) for step in first.steps] == [
        "sends hello",
        "waits for page.viewed (page='news'), at most 4 days",
    ]
    assert [str(step) for step in second.steps] == ["sends again", "waits for x.y, at most 7 days"]
    assert (first.next, first.may_end) == (("second", "third"), True)
    assert (third.steps, third.next, third.may_end) == ((), (), True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return self.b", (("b",), False)),
        ("return None", ((), True)),
        ("return", ((), True)),
        ("pass", ((), True)),
        ("return self.b if self.entry.x else None", (("b",), True)),
        ("return self.b if self.entry.x else self.c if self.entry.y else self.only", (("b", "c", "only"), False)),
        ("if self.entry.x:\n    return self.b\nreturn self.c", (("b", "c"), False)),
        ("if self.entry.x:\n    return self.b", (("b",), True)),
        ("if self.entry.x:\n    return self.b\nelif self.entry.y:\n    return self.c\nelse:\n    raise ValueError",
         (("b", "c"), False)),
        ("if self.entry.x:\n    if self.entry.y:\n        return self.b\nelse:\n    return self.c", (("b", "c"), True)),
        ("going = self.b\nif self.entry.x:\n    going = self.c\nreturn going", (("b", "c"), False)),
        ("going = self.b\ngoing = going if self.entry.x else None\nreturn going", (("b",), True)),
        ("going = self.c\nreturn going", (("c",), False)),
        ("while True:\n    if self.entry.x:\n        return self.b", (("b",), False)),
        ("while True:\n    if self.entry.x:\n        break", ((), True)),
        ("for _ in range(3):\n    return self.b", (("b",), True)),
        ("try:\n    return self.b\nexcept ValueError:\n    return self.c", (("b", "c"), False)),
        ("try:\n    return self.b\nexcept ValueError:\n    pass", (("b",), True)),
        ("try:\n    self.memory.clear()\nfinally:\n    return self.b", (("b",), False)),
        ("with self.entry as x:\n    return self.b", (("b",), False)),
        ("match self.entry.x:\n    case 1:\n        return self.b\n    case _:\n        return self.c",
         (("b", "c"), False)),
        ("match self.entry.x:\n    case 1:\n        return self.b\n    case 2:\n        return self.c",
         (("b", "c"), True)),
        ("def inner():\n    return 5\nreturn self.b", (("b",), False)),
    ],
)  # fmt: skip
def test_where_a_stage_leads(load: Load, body: str, expected: tuple[tuple[str, ...], bool]) -> None:
    text = "async def only(self) -> Any:\n    await self.send('m')\n" + indent(body, "    ")
    text += "\n\nasync def b(self) -> None: ...\n\nasync def c(self) -> None: ...\n"
    assert leads(flow_of(load(text)))["only"] == expected


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("await self.send('m')\nreturn getattr(self, self.entry.x)", "line 21: return a stage as it is written"),
        ("await self.send('m')\nreturn 5", "line 21: return a stage as it is written"),
        ("await self.send(self.entry.x)", "line 20: write the value out"),
        ("await self.send()", "line 20: write the value out"),
        ("name = 'm'\nif self.entry.x:\n    name = 'n'\nawait self.send(name)", "line 23: write the value out"),
        ("await self.wait(self.entry.x, days=1)", r"line 20: a wait needs on\(\.\.\.\)"),
        ("await self.wait(on('page.viewed', page=self.entry.x), days=1)", "line 20: write the value out"),
        ("pass", "sends no message"),
    ],
)
def test_what_is_not_written_out_is_refused_with_its_line(load: Load, body: str, why: str) -> None:
    with pytest.raises(InvalidCard, match=why):
        flow_of(load("async def only(self) -> Any:\n" + indent(body, "    ")))


def test_a_wait_that_no_stage_leads_to_is_refused(load: Load) -> None:
    tiny = load("""
        async def only(self) -> None:
            await self.send("m")
            await self._one_of(self._told)

        async def _one_of(self, what) -> None:
            await what()

        async def _told(self) -> None:
            await self.wait(NEWS, days=1)
        """)
    with pytest.raises(InvalidCard, match="line 28: no stage leads here"):
        card_of(tiny)


def test_functions_inside_a_stage_are_part_of_it(load: Load) -> None:
    flow = flow_of(
        load("""
        async def only(self) -> None:
            async def told() -> int:
                await self.send("m")
                return 1
            await told()
        """)
    )
    assert said(flow) == ["sends m"]


def test_lines_are_those_of_the_file(load: Load) -> None:
    tiny = load("async def only(self) -> None:\n    await self.send('m')\n")
    flow = flow_of(tiny)
    assert (flow.line, only(flow).line, flow.steps[0].line) == (16, 19, 20)
    assert (flow.line_of("review_by"), flow.line_of("key")) == (14, 16)
    assert flow.file == f"{tiny.__module__}.py"


@pytest.mark.parametrize("cls", JOURNEYS, ids=lambda cls: cls.__name__)
def test_every_journey_can_be_read(cls: type[Journey]) -> None:
    flow = flow_of(cls)
    assert flow.card in CARDS
    assert [stage.name for stage in flow.stages] == list(flow.card.stages)
    assert flow.file.startswith("workflows/")


def test_nurture_is_read_as_it_is() -> None:
    flow = next(flow for flow in map(flow_of, JOURNEYS) if flow.card.name == "nurture")
    assert leads(flow) == {
        "assess": (("hand_over", "clarify"), True),
        "clarify": (("hand_over", "prove"), False),
        "prove": (("hand_over", "remind"), False),
        "remind": (("hand_over",), True),
        "hand_over": ((), True),
    }
    assert isinstance(flow.stages[-1].steps[0], HandOff)
    assert str(flow.stages[1].steps[1]) == "waits for page.viewed (page='pricing'), at most 4 days"


def test_a_moment_that_journeys_share_may_be_waited_for(load: Load) -> None:
    tiny = load(
        """
        async def a(self) -> None:
            await self.send("welcome")
            await self.wait(ANSWER, days=1)
        """
    )
    assert card_of(tiny).hears == (REPLIED,)
