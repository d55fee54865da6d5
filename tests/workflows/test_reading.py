"""What is read from a journey's code, without running it."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest

from contacts.specs import Condition, InvalidCard, Pattern, often, on
from ops import words
from workflows.base import APPROVAL_ANSWERED, HANDOFF_ANSWERED, Journey
from workflows.moments import REPLIED
from workflows.reading import Approval, Flow, Look, Note, Send, Sleep, StageFlow, Wait, card_of, flow_of
from workflows.registry import CARDS, JOURNEYS

HEAD = '''\
from datetime import date
from typing import Any

from workflows.base import LIFECYCLE, PROMOTIONAL, Journey, always, days, journey, often, on
from workflows.moments import REPLIED as ANSWERED

NEWS = on("page.viewed", page="news")
WEEK = 7
LATER = NEWS
TWICE = often(NEWS, times=2, days=WEEK)
LESSONS = {"one": 3, "two": 4}


@journey(
    trigger=on("form.submitted"), audience="nobody", goal="none", success=on("a.b"), exits=[on("c.d")], owner="tests",
    purpose=PROMOTIONAL, reentry=always(), max_run=days(1),
    review_by=date(2030, 1, 1),
)
class Tiny(Journey):
    """Is read."""

'''

FIRST = HEAD.count("\n") + 1
"""The line of the first stage."""

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
    return [words.step(step) for step in flow.steps]


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
    assert first == Sleep(FIRST + 2, "1 day")
    assert said(flow) == [
        "waits 1 day",
        "waits for page viewed (page: news) or a c or a d, at most 2 hours 30 minutes",
        "sends plain",
        "sends said by sms",
        "sends computed",
        "hands over: Wants to talk.",
        "hands over to a person",
        "asks a person to approve a gift, at most 2 days",
        "waits for page viewed (page: news), at most 7 days",
        "waits for page viewed (page: news), until day",
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
            await self.approval("a gift", days=2)
        """)
    )
    assert card.messages == ("one", "two")
    assert card.hears == (on("page.viewed", page="news"), HANDOFF_ANSWERED, APPROVAL_ANSWERED)


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
    assert [words.step(step) for step in first.steps] == [
        "sends hello",
        "waits for page viewed (page: news), at most 4 days",
    ]
    assert [words.step(step) for step in second.steps] == ["sends again", "waits for x y, at most 7 days"]
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
    ("body", "line", "why"),
    [
        ("await self.send('m')\nreturn getattr(self, self.entry.x)", 2, "return a stage as it is written"),
        ("await self.send('m')\nreturn 5", 2, "return a stage as it is written"),
        ("await self.send('m')\nreturn self.entry.x and self.only", 2, "return a stage as it is written"),
        ("await self.send(self.entry.x)", 1, "sends what?"),
        ("await self.send()", 1, "sends what?"),
        ("await self.send(f'm_{self.entry.x}')", 1, "sends what?"),
        ("await self.send(days(1))", 1, "sends what?"),
        ("name = 'm'\nif self.entry.x:\n    name = self.entry.x\nawait self.send(name)", 4, "sends what?"),
        ("name = 'm'\nname += 'n'\nawait self.send(name)", 3, "sends what?"),
        ("for name in self.memory['names']:\n    await self.send(name)", 2, "sends what?"),
        ("with self.entry as name:\n    await self.send(name)", 2, "sends what?"),
        ("try:\n    pass\nexcept ValueError as NEWS:\n    await self.wait(NEWS, days=1)", 4, "waits for what?"),
        ("match self.entry.x:\n    case NEWS:\n        await self.wait(NEWS, days=1)", 3, "waits for what?"),
        ("await self.wait(self.entry.x, days=1)", 1, "waits for what?"),
        ("await self.wait('page.viewed', days=1)", 1, "waits for what?"),
        ("await self.wait([NEWS], days=1)", 1, "waits for what?"),
        ("await self.wait(on('page.viewed', page=self.entry.x), days=1)", 1, "waits for what?"),
        ("await self.send('m')\nawait self.remind()", 2, "self.remind is no method of this class"),
        ("await self.send('m')\nawait asked(self)", 2, "what asks for self cannot be followed"),
    ],
)
def test_what_does_not_follow_from_the_code_is_refused_with_file_and_line(
    load: Load, body: str, line: int, why: str
) -> None:
    tiny = load("async def only(self) -> Any:\n" + indent(body, "    "))
    with pytest.raises(InvalidCard) as refused:
        flow_of(tiny)
    assert str(refused.value).startswith(f"{tiny.__module__}.py:{FIRST + line}: tiny: {why}")


def test_a_journey_that_sends_nothing_is_refused(load: Load) -> None:
    with pytest.raises(InvalidCard, match=rf"\.py:{FIRST - 3}: tiny: sends no message"):
        flow_of(load("async def only(self) -> Any: ..."))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("await self.send('a' if self.entry.x else 'b')", ["a", "b"]),
        ("name = 'a'\nif self.entry.x:\n    name = 'b'\nawait self.send(name)", ["a", "b"]),
        ("name = 'a'\nwhile await self.facts():\n    await self.send(name)\n    name = 'b'", ["a", "b"]),
        ("for name in ('a', 'b'):\n    await self.send(name)", ["a", "b"]),
        ("for name, length in LESSONS.items():\n    await self.send(name)\n    await self.sleep(days=length)",
         ["one", "two"]),
        ("for name, length in (('a', 1), ('b', 2)):\n    await self.send(name)", ["a", "b"]),
        ("[await self.send(name) for name in LESSONS]", ["one", "two"]),
        ("one, two = 'a', 'b'\nawait self.send(two)", ["b"]),
        ("await self.send(f'lesson_{WEEK}')", ["lesson_7"]),
        ("await self.send(template='a')", ["a"]),
        ("given = {'template': 'a'}\nawait self.send(**given)", ["a"]),
    ],
)  # fmt: skip
def test_every_possibility_is_read(load: Load, body: str, expected: list[str]) -> None:
    flow = flow_of(load("async def only(self) -> Any:\n" + indent(body, "    ")))
    assert list(flow.card.messages) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("TWICE", [often(on("page.viewed", page="news"), times=2, days=7)]),
        ("often(NEWS, times=3, days=WEEK, without=on('a.b'), same='topic')",
         [often(on("page.viewed", page="news"), times=3, days=7, without=on("a.b"), same="topic")]),
        ("ANSWERED", [REPLIED]),
        ("NEWS if self.entry.x else ANSWERED", [on("page.viewed", page="news"), REPLIED]),
        ("*(NEWS, TWICE)", [on("page.viewed", page="news"), often(on("page.viewed", page="news"), times=2, days=7)]),
        ("on('a.b', n=tuple(LESSONS))", [on("a.b", n=["one", "two"])]),
    ],
)  # fmt: skip
def test_what_a_wait_may_hear(load: Load, asked: str, expected: list[Condition | Pattern]) -> None:
    flow = flow_of(
        load(f"async def only(self) -> Any:\n    await self.send('m')\n    await self.wait({asked}, days=1)")
    )
    assert list(flow.card.hears) == expected
    assert [step.conditions for step in flow.steps if isinstance(step, Wait)] == [tuple(expected)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("self.send('m', plan=1, valid_for=days(1), purpose=LIFECYCLE)", {"plan"}),
        ("self.send('m', **{'plan': 1, 'cap': 2})", {"plan", "cap"}),
        ("self.send('m', **LESSONS)", None),
        ("self.send('m', **self.memory)", None),
        ("self._say('m', plan=1)", {"plan", "cap"}),
        ("self._say('m', **self.memory)", None),
    ],
)
def test_what_a_template_is_told(load: Load, asked: str, expected: set[str] | None) -> None:
    flow = flow_of(
        load(f"""
        async def only(self) -> None:
            await {asked}
            await self._say("n")

        async def _say(self, template, **context) -> None:
            await self.send(template, cap=1, **context)
        """)
    )
    assert [step.context for step in flow.steps if isinstance(step, Send)] == [expected, {"cap"}]


def test_what_else_a_stage_does(load: Load) -> None:
    flow = flow_of(
        load("""
        async def only(self) -> None:
            flags = (await self.facts()).flags
            if "strong" in flags and "in:news" not in (await self.facts()).flags:
                await self.send("m", channel="call" if self.entry.x else "sms")
            if "x" in self.memory["flags"]:
                await self.approval(f"a gift for {self.entry.x}", days=1 if self.entry.x else WEEK)
            await self.record_event("consent.withdrawn", channel="email")
            await self.record_event(self.entry.x)
        """)
    )
    found = [step for step in flow.steps if not isinstance(step, Send)]
    assert found == [
        Look(FIRST + 3, "strong"),
        Look(FIRST + 3, "in:news"),
        Approval(FIRST + 6, None, "1 or 7 days"),
        Note(FIRST + 7, "consent.withdrawn"),
        Note(FIRST + 8, None),
    ]
    assert [step.channel for step in flow.steps if isinstance(step, Send)] == ["call", "sms"]


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
    with pytest.raises(InvalidCard, match=f":{FIRST + 9}: tiny: no stage leads here"):
        card_of(tiny)


def test_what_is_asked_for_by_another_name_is_refused(load: Load) -> None:
    tiny = load("""
        async def only(self) -> None:
            await self.send("m")
            wait = self.wait
            await wait(NEWS, days=1)
        """)
    with pytest.raises(InvalidCard, match=f":{FIRST + 3}: tiny: no stage leads here"):
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
    assert (flow.line, only(flow).line, flow.steps[0].line) == (FIRST - 3, FIRST, FIRST + 1)
    assert (flow.line_of("review_by"), flow.line_of("key")) == (FIRST - 5, FIRST - 3)
    assert flow.file == f"{tiny.__module__}.py"


@pytest.mark.parametrize("cls", JOURNEYS, ids=lambda cls: cls.__name__)
def test_every_journey_can_be_read(cls: type[Journey]) -> None:
    flow = flow_of(cls)
    assert flow.card in CARDS
    assert [stage.name for stage in flow.stages] == list(flow.card.stages)
    assert flow.file.startswith("workflows/")
