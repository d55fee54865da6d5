"""Every check finds the fault that is seeded for it, and only that one."""

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from textwrap import dedent, indent

import pytest
from typer.testing import CliRunner

import cli
import templates
from activities.context import message_context
from contacts import policy as policies
from contacts.facts import Facts, Stamped
from contacts.lifecycle import Standing
from contacts.policy import Policy
from ops import scenario
from ops.checks.knowledge import _OF_FACTS, FLAGS
from ops.checks.library import Library
from ops.checks.messages import TOLD, TOLD_BY_ENTRY
from ops.lint import CHECKS, Finding, lint
from templates.render import Templates
from workflows import registry
from workflows.base import Journey
from workflows.reading import flow_of

TODAY = date(2026, 11, 22)
SHIPPED = Path(next(iter(templates.__path__)))
RULES = re.sub(
    # The journeys of the tests are not those that ship.
    r"^journeys = .*",
    "",
    (Path(__file__).parents[2] / "policy.toml")
    .read_text()
    .replace('journeys = ["reengagement"]', "max = 1\ndays = 60"),
    flags=re.MULTILINE,
)

SEGMENT = """
[[segment]]
name = "readers"
who = "who reads a lot"
decides = "what they get to read"
topics = ["seo"]
"""

EXPERIMENT = """
[[experiment]]
name = "does_it_help"
journeys = ["tiny"]
hold_out = 0.1
"""

CARD = {
    "trigger": 'on("form.submitted")',
    "audience": '"nobody"',
    "goal": '"none"',
    "success": 'on("purchase.completed")',
    "exits": '[on("message.replied")]',
    "owner": '"tests"',
    "purpose": "PROMOTIONAL",
    "reentry": "always()",
    "max_run": "days(30)",
    "review_by": "date(2026, 11, 22)",
}

HEAD = "from datetime import date\n\nfrom workflows.base import *\n"

STAGE = """
async def only(self):
    await self.send("reminder")
"""

Load = Callable[[str], list[type[Journey]]]


def written(body: str = STAGE, name: str = "Tiny", **card: str) -> str:
    """A journey's code: a sound card but for what is given, and the stages."""
    parts = "".join(f"    {part}={value},\n" for part, value in {**CARD, **card}.items())
    return f'@journey(\n{parts})\nclass {name}(Journey):\n    """Is looked at."""\n{indent(dedent(body), "    ")}\n'


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """The journeys of a module with this code."""
    name = f"tiny_{tmp_path.name}"

    def loaded(code: str) -> list[type[Journey]]:
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + code)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Journey) and c is not Journey]

    yield loaded
    sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Templates of one message, ``reminder``, which is promotional."""

    def others(folder: str, names: list[str]) -> list[str]:
        files = [name for name in names if Path(name).suffix]
        return [n for n in files if Path(n).stem != "nurture_reminder"] if Path(folder).name == "messages" else []

    copied = Path(shutil.copytree(SHIPPED, tmp_path / "templates", ignore=others))
    for file in copied.glob("messages/nurture_reminder.*"):
        file.rename(file.with_stem("reminder"))
    return copied


def another_template(folder: Path, name: str, **changed: str) -> None:
    front = (folder / "messages" / "reminder.toml").read_text().splitlines()
    lines = [next((f'{k} = "{v}"' for k, v in changed.items() if line.startswith(f"{k} =")), line) for line in front]
    (folder / "messages" / f"{name}.toml").write_text("\n".join(lines))
    shutil.copy(folder / "messages" / "reminder.j2", folder / "messages" / f"{name}.j2")


def told(*expect: dict[str, object], never: tuple[dict[str, object], ...] = ()) -> scenario.Scenario:
    return scenario.Scenario.model_validate(
        {
            "name": "told",
            "start": "2026-03-02T09:00:00Z",
            "contact": {"email": "alice@example.com"},
            "events": [],
            "until": "1d",
            "expect": expect,
            "never": never,
        }
    )


ENOUGH = (told({"day": 0, "touch": "reminder"}), told({"kind": "enter", "journey": "tiny"}))
BOTH = (*ENOUGH, told({"kind": "enter", "journey": "other"}))


def found(
    journeys: list[type[Journey]],
    folder: Path,
    scenarios: tuple[scenario.Scenario, ...] = ENOUGH,
    today: date = TODAY,
    rules: str = "",
) -> list[Finding]:
    """What is found in these journeys, these templates and a policy without segments but for ``rules``."""
    file = folder.parent / "policy.toml"
    file.write_text(RULES.partition("[[segment]]")[0] + rules)
    flows = [flow_of(cls) for cls in journeys]
    return lint(Library(flows, Templates(folder), folder, scenarios, policies.load(file), file, today))


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def also(asked: str) -> str:
    """A journey that asks for this too, in its last line."""
    return written(f"{STAGE}    {asked}\n")


@dataclass(frozen=True)
class Fault:
    """A fault to seed, what stands in the line at which it must be found, and what must be said of it."""

    code: str
    at: str
    says: str
    today: date = TODAY
    scenarios: tuple[scenario.Scenario, ...] = BOTH


LOST = """
async def only(self):
    await self.send("reminder")

async def lost(self): ...
"""
ROUND = """
async def only(self):
    await self.send("reminder")
    return self.again

async def again(self):
    return self.again
"""
DEAF = 'await self.wait(on("message.replied", channel="sms"), days=1)'
IDLE = 'async def only(self):\n    await self.sleep(days=2)\n    await self.send("reminder")\n'
SOLD = """
Twenty questions were asked. Here are 20% off for you. Save up to 40 on the rest. Order now and use the voucher code.
"""

FAULTS = {
    "no-limit": Fault(also('await self.wait(on("custom.news"))'), "custom.news", "waits for news, but not how long"),
    "wait-without-exit": Fault(
        written(IDLE, exits='[on("contact.erased")]'), "sleep", "waits 2 days, and then a message goes out"
    ),
    "unreachable": Fault(written(LOST), "async def lost", "no stage leads to lost:"),
    "no-way-out": Fault(written(ROUND), "async def again", "again comes round to itself"),
    "never-starts": Fault(written(trigger='on("message.replied")'), "trigger=", "message replied ends it too"),
    "unseen-exit": Fault(
        written(exits='[on("message.replied"), on("message.replied", channel="sms")]'),
        "exits=",
        "message replied (channel: sms) ends the run already",
    ),
    "deaf-wait": Fault(also(DEAF), "wait(", "the run ends on message replied (channel: sms)"),
    "unknown-event": Fault(
        also('await self.wait(on("page.vewed"), days=1)'), "page.vewed", "there is no event page.vewed"
    ),
    "unknown-flag": Fault(written(only='["loyal"]'), "only=", "no contact is ever 'loyal'; there is at_risk"),
    "unknown-name": Fault(written(), "journeys = [", "there is no journey 'tinny': 'tiny' is meant?"),
    "unused-segment": Fault(written(), 'name = "readers"', "segment readers changes nothing"),
    "same-trigger": Fault(written() + written(name="Other"), "trigger=", "form submitted starts other too"),
    "no-ticket-hold": Fault(
        also('await self.send("reminder", purpose=LIFECYCLE)'), "LIFECYCLE", "but sent as lifecycle"
    ),
    "no-opt-out": Fault(
        also('await self.send("receipt")'), "receipt", "without a way to opt out, but sent as promotional"
    ),
    "wrong-channel": Fault(also('await self.send("reminder", channel="sms")'), "sms", "reminder is written for email"),
    "undeclared-context": Fault(also('await self.send("reminder", plan="M")'), "plan=", "reminder declares no plan"),
    "unused-context": Fault(also('await self.send("fresh", usage={})'), "usage=", "fresh fetches usage live"),
    "missing-context": Fault(also('await self.send("needy")'), "needy", "needy cannot do without days"),
    "unknown-template": Fault(also('await self.send("remnider")'), "remnider", "there is no template remnider"),
    "unsent-template": Fault(written(), "channel =", "no journey sends it"),
    "urgency": Fault(also('await self.send("rush")'), "Last chance", "it says 'last chance' and knows of no end"),
    "too-promotional": Fault(
        written(
            'async def only(self):\n    for name in ("reminder", "second"):\n'
            "        await self.send(name, purpose=PROMOTIONAL)\n",
            purpose="LIFECYCLE",
        ),
        "purpose=",
        "2 promotional messages (reminder, second), and a lifecycle journey may send 1",
    ),
    "oversold": Fault(
        also('await self.send("sold", purpose=LIFECYCLE)'), "channel =", "sentences sell (here are 20% off for you.)"
    ),
    "overdue": Fault(written(), "review_by=", "by 22 Nov 2026: look at it with tests", date(2026, 11, 23)),
    "missing-scenario": Fault(written(), "class Tiny", "1 of 2", scenarios=ENOUGH[:1]),
}
"""One for each check. What else they need stands in ``seeded``."""


@pytest.fixture
def seeded(folder: Path) -> Callable[[str], str]:
    """Seeds what a fault needs besides its journey; returns the policy's additional lines."""

    def seed(code: str) -> str:
        match code:
            case "no-opt-out":
                another_template(folder, "receipt", purpose="transactional")
            case "missing-context":
                another_template(folder, "needy")
                file = folder / "messages" / "needy.toml"
                text = file.read_text().replace("[context]", '[context]\ndays = { type = "integer" }')
                file.write_text(re.sub(r"(\[samples\.\w+\])", r"\1\ndays = 3", text))
            case "unused-context":
                another_template(folder, "fresh")
                file = folder / "messages" / "fresh.toml"
                usage = 'usage = { type = "usage", fallback = "", live_seconds = 2 }'
                file.write_text(file.read_text().replace("[context]", f"[context]\n{usage}"))
            case "unsent-template":
                another_template(folder, "forgotten")
            case "urgency":
                another_template(folder, "rush", subject="Last chance")
            case "too-promotional":
                another_template(folder, "second")
            case "oversold":
                another_template(folder, "sold", purpose="lifecycle")
                copy = folder / "messages" / "sold.j2"
                copy.write_text(
                    '{% extends "layout.j2" %}{% block body %}{% call p() %}' + SOLD + "{% endcall %}{% endblock %}"
                )
            case "unused-segment":
                return SEGMENT
            case "unknown-name":
                return EXPERIMENT.replace("tiny", "tinny")
        return ""

    return seed


def test_every_check_has_a_fault_that_it_finds() -> None:
    assert FAULTS.keys() == CHECKS.keys()


@pytest.mark.parametrize("code", FAULTS)
def test_a_seeded_fault_is_found_and_nothing_else(
    load: Load, folder: Path, seeded: Callable[[str], str], code: str
) -> None:
    fault = FAULTS[code]
    rules = seeded(code)
    findings = found(load(fault.code), folder, fault.scenarios, fault.today, rules)
    assert set(codes(findings)) == {code}
    first = findings[0]
    file = folder.parent / first.file
    text = file.read_text() if file.exists() and not first.file.startswith("tiny_") else HEAD + fault.code
    assert fault.at in text.splitlines()[first.line - 1]
    assert fault.says in str(findings)


def test_a_sound_journey_has_no_finding(load: Load, folder: Path) -> None:
    assert found(load(written()), folder) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ('await self.wait(on("custom.news"))', "waits for news, but not how long"),
        ('await self.wait(on("custom.news"), until=None)', "waits for news, but not how long"),
        ("await self.sleep()", "waits for no time, but not how long"),
    ],
)
def test_no_limit(load: Load, folder: Path, asked: str, said: str) -> None:
    (finding,) = found(load(also(asked)), folder)
    assert finding.code == "no-limit"
    assert said in finding.what


@pytest.mark.parametrize(
    "asked",
    [
        'await self.wait(on("custom.news"), days=1)',
        'await self.wait(on("custom.news"), until=self.after(days=1))',
        'await self.hand_off("Look.")',
        'await self.approval("a gift", days=2)',
        "await self.sleep(hours=1)",
    ],
)
def test_a_limit_is_seen(load: Load, folder: Path, asked: str) -> None:
    assert found(load(written(f"{STAGE}    {asked}\n")), folder) == []


def test_unreachable(load: Load, folder: Path) -> None:
    stages = """
        async def first(self):
            await self.send("reminder")
            return self.second

        async def second(self): ...

        async def lost(self):
            return self.lost_too

        async def lost_too(self):
            await self.sleep(days=1)
            return self.lost
        """
    findings = found(load(written(stages)), folder)
    assert codes(findings) == ["unreachable", "unreachable"]
    assert "no stage leads to lost:" in findings[0].what


@pytest.mark.parametrize(
    ("pause", "expected"),
    [
        ("self.memory.clear()", ["no-way-out", "no-way-out"]),
        ("await self.facts()", ["no-way-out", "no-way-out"]),
        ("await self.sleep(days=1)", []),
        ('await self.wait(on("custom.news"), days=1)', []),
        ('await self.hand_off("Look.")', []),
        ('await self.send("reminder")', []),
    ],
)
def test_no_way_out(load: Load, folder: Path, pause: str, expected: list[str]) -> None:
    stages = f"""
        async def first(self):
            await self.send("reminder")
            return self.here

        async def here(self):
            return self.there

        async def there(self):
            {pause}
            return self.here if self.entry.topic else None
        """
    assert codes(found(load(written(stages)), folder)) == expected


def test_a_stage_that_comes_round_to_itself_has_no_way_out(load: Load, folder: Path) -> None:
    stages = """
        async def first(self):
            await self.send("reminder")
            return self.again

        async def again(self):
            return self.again
        """
    assert codes(found(load(written(stages)), folder)) == ["no-way-out"]


VIEWED = 'on("page.viewed", "custom.read", page="pricing")'


@pytest.mark.parametrize(
    "other",
    [
        {"trigger": 'on("page.viewed")'},
        {"trigger": '[on("custom.news"), on("custom.read", page=["pricing", "plans"], site="x")]'},
        {"trigger": '[often(on("page.viewed"), times=2, days=7)]'},
        {"trigger": 'on("page.viewed")', "only": '["known"]'},
        {"trigger": 'on("page.viewed")', "unless": '["known"]'},
        {"trigger": 'on("page.viewed")', "exits": '[on("page.viewed", page="plans")]'},
    ],
)
def test_same_trigger(load: Load, folder: Path, other: dict[str, str]) -> None:
    code = written(trigger=VIEWED, unless='["customer"]') + written(name="Other", **other)
    (finding,) = found(load(code), folder, BOTH)
    assert (finding.journey, finding.code, finding.line) == ("tiny", "same-trigger", HEAD.count("\n") + 2)
    assert "starts other too" in finding.what


@pytest.mark.parametrize(
    "other",
    [
        {"trigger": 'on("custom.seen", page="pricing")'},
        {"trigger": 'on("page.viewed", page="plans")'},
        {"trigger": 'on("page.viewed")', "only": '["customer"]'},
        {"trigger": 'on("page.viewed")', "exits": '[on("page.viewed", page="pricing")]'},
        {"trigger": 'on("page.viewed")', "success": 'on("page.viewed", "custom.read", page="pricing")'},
        {"trigger": 'on("page.viewed")', "purpose": "TRANSACTIONAL"},
    ],
)
def test_journeys_that_give_way_share_no_trigger(load: Load, folder: Path, other: dict[str, str]) -> None:
    another_template(folder, "notice", purpose="transactional")
    stage = STAGE if "purpose" not in other else STAGE.replace("reminder", "notice")
    code = written(trigger=VIEWED, unless='["customer"]') + written(stage, name="Other", **other)
    findings = found(load(code), folder, (*BOTH, *BOTH))
    assert [f for f in findings if f.code != "unsent-template"] == []


def test_no_ticket_hold(load: Load, folder: Path) -> None:
    stage = """
        async def only(self):
            await self.send("reminder")
            await self.send("reminder", purpose=LIFECYCLE)
        """
    (finding,) = found(load(written(stage)), folder)
    assert (finding.code, finding.line) == ("no-ticket-hold", (HEAD + written()).count("\n"))
    assert "reminder is promotional but sent as lifecycle" in finding.what


def test_a_lifecycle_journey_may_not_pass_promotion_off_as_its_own(load: Load, folder: Path) -> None:
    assert codes(found(load(written(purpose="LIFECYCLE")), folder)) == ["no-ticket-hold"]


def test_what_is_no_promotion_may_be_sent_as_what_it_is(load: Load, folder: Path) -> None:
    another_template(folder, "note", purpose="lifecycle")
    assert found(load(written(f'{STAGE}    await self.send("note", purpose=LIFECYCLE)\n')), folder) == []


def test_unknown_template(load: Load, folder: Path) -> None:
    (finding,) = found(load(written(f'{STAGE}    await self.send("remnider")\n')), folder)
    assert finding.code == "unknown-template"
    assert "there is no template remnider" in finding.what


def test_unsent_template_is_a_warning(load: Load, folder: Path) -> None:
    another_template(folder, "forgotten")
    (finding,) = found(load(written()), folder)
    assert (finding.code, finding.level, finding.file) == (
        "unsent-template",
        "warning",
        "templates/messages/forgotten.toml",
    )
    assert "unsent-template (warning): no journey sends it" in str(finding)


def test_overdue(load: Load, folder: Path) -> None:
    journeys = load(written())
    assert found(journeys, folder, today=date(2026, 11, 22)) == []
    (finding,) = found(journeys, folder, today=date(2026, 11, 23))
    assert finding.code == "overdue"
    assert "by 22 Nov 2026: look at it with tests" in finding.what
    assert (HEAD + written()).splitlines()[finding.line - 1].strip().startswith("review_by")


@pytest.mark.parametrize(
    "subject",
    [
        "Last chance",
        "HURRY: a few left",
        "Only   today for you",
        "Act now",
        "The offer ends soon",
        "Your price expires in three days",
        "Don't miss this",
        "Don’t miss this",
    ],
)
def test_urgency(load: Load, folder: Path, subject: str) -> None:
    another_template(folder, "rush", subject=subject)
    journeys = load(written(f'{STAGE}    await self.send("rush")\n'))
    (finding,) = found(journeys, folder)
    assert (finding.code, finding.file) == ("urgency", "templates/messages/rush.toml")
    front = (folder / "messages" / "rush.toml").read_text()
    (folder / "messages" / "rush.toml").write_text(
        front.replace("[context]", '[context]\nends_at = { type = "name", fallback = "" }')
    )
    assert found(journeys, folder) == []


def test_urgency_is_seen_in_the_copy_too(load: Load, folder: Path) -> None:
    copy = folder / "messages" / "reminder.j2"
    copy.write_text(copy.read_text().replace("keep this question", "act\nnow"))
    (finding,) = found(load(written()), folder)
    assert (finding.code, "'act now'" in finding.what) == ("urgency", True)


@pytest.mark.parametrize("subject", ["There is no hurry", "Weekends today", "How our story ends", "What you missed"])
def test_calm_words_are_no_urgency(load: Load, folder: Path, subject: str) -> None:
    another_template(folder, "calm", subject=subject)
    assert found(load(written(f'{STAGE}    await self.send("calm")\n')), folder) == []


def test_what_is_no_promotion_may_name_its_end(load: Load, folder: Path) -> None:
    another_template(folder, "trial", purpose="lifecycle", subject="Your trial ends soon")
    assert found(load(written(f'{STAGE}    await self.send("trial", purpose=LIFECYCLE)\n')), folder) == []


def test_too_promotional(load: Load, folder: Path) -> None:
    another_template(folder, "second")
    one = 'async def only(self):\n    await self.send("reminder", purpose=PROMOTIONAL)\n'
    two = f'{one}    await self.send("reminder", purpose=PROMOTIONAL)\n'
    three = f'{one}    await self.send("second", purpose=PROMOTIONAL)\n'
    assert [f.level for f in found(load(written(one, purpose="LIFECYCLE")), folder)] == ["warning"]
    assert [f.level for f in found(load(written(two, purpose="LIFECYCLE")), folder)] == ["warning"]
    assert codes(found(load(written(three, purpose="PROMOTIONAL")), folder)) == []
    (finding,) = found(load(written(three, purpose="LIFECYCLE")), folder)
    assert finding.code == "too-promotional"
    assert "2 promotional messages (reminder, second), and a lifecycle journey may send 1" in finding.what


@pytest.mark.parametrize(
    ("scenarios", "expected"),
    [
        ((), ["missing-scenario"]),
        ((ENOUGH[0],), ["missing-scenario"]),
        ((ENOUGH[0], told({"touch": "other"}), told({"journey": "other"})), ["missing-scenario"]),
        ((ENOUGH[0], told(never=({"touch": "reminder"},))), ["missing-scenario"]),
        ((ENOUGH[0], told(never=({"journey": "tiny", "kind": "enter"},))), []),
        (ENOUGH, []),
    ],
)
def test_missing_scenario(
    load: Load, folder: Path, scenarios: tuple[scenario.Scenario, ...], expected: list[str]
) -> None:
    assert codes(found(load(written()), folder, scenarios)) == expected


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ('on("usage.fallen")', "there is no event usage.fallen"),
        ('on("date.approaching", name="easter")', "no date.approaching ever has name='easter'"),
        ('on("date.approaching", days=7)', "no date.approaching ever has days=7"),
        ('on("date.approaching", date="soon")', "no date.approaching ever has date='soon'"),
        ('on("segment.joined", segment="writers")', "no segment.joined ever has segment='writers'"),
        ('on("message.clicked", machine="no")', "no message.clicked ever has machine='no'"),
        ('on("checkout.started", checkout_id=None)', "no checkout.started ever has checkout_id=None"),
        ('on("consent.granted", purpose=["news", "offers"])', "no consent.granted ever has purpose="),
        ('often(on("page.viewed"), times=2, days=7, without=on("demo.booked"))', "there is no event demo.booked"),
    ],
)
def test_what_can_never_happen(load: Load, folder: Path, condition: str, why: str) -> None:
    for code in (also(f"await self.wait({condition}, days=1)"), written(trigger=condition)):
        (finding,) = found(load(code), folder)
        assert finding.code == "unknown-event"
        assert finding.what.startswith(why)


@pytest.mark.parametrize(
    "condition",
    [
        'on("date.approaching", name="renewal", days=45, date="2027-01-01")',
        'on("ticket.solved", status=[None, "solved"], priority=None)',
        'on("message.clicked", machine=False, channel="sms")',
        'on("consent.granted", purpose=["promotional", "offers"])',
        'on("custom.anything", at="all")',
        'on("segment.left", segment="readers")',
    ],
)
def test_what_can_happen(load: Load, folder: Path, condition: str) -> None:
    findings = found(load(also(f"await self.wait({condition}, days=1)")), folder, rules=SEGMENT)
    assert "unknown-event" not in codes(findings)


@pytest.mark.parametrize(
    "code",
    [
        written(trigger='on("segment.joined", segment="readers")'),
        written(success='on("segment.left", segment=["readers", "writers"])'),
        written(exits='[on("segment.left", segment="readers")]'),
        written(only='["in:readers"]'),
        written(unless='["in:readers"]'),
        also('await self.wait(on("segment.joined", segment="readers"), days=1)'),
        also('if "in:readers" in (await self.facts()).flags: await self.sleep(days=1)'),
        also('flags = (await self.facts()).flags\n    if "in:readers" not in flags: await self.sleep(days=1)'),
    ],
)
def test_a_segment_that_a_journey_asks_for_changes_something(load: Load, folder: Path, code: str) -> None:
    assert found(load(code), folder, rules=SEGMENT) == []


def test_a_segment_that_a_template_asks_for_changes_something(load: Load, folder: Path) -> None:
    copy = folder / "messages" / "reminder.j2"
    copy.write_text(copy.read_text() + '{# "in:readers" #}')
    assert found(load(written()), folder, rules=SEGMENT) == []


def test_a_segment_nobody_joins_or_asks_for_changes_nothing(load: Load, folder: Path) -> None:
    journeys = load(written(exits='[on("segment.left"), on("message.replied")]'))
    assert codes(found(journeys, folder, rules=SEGMENT)) == ["unused-segment"]


@pytest.mark.parametrize(
    ("before", "after", "where", "says"),
    [
        (
            'name = "dormant"\n',
            'name = "dormant"\njourneys = ["tiny", "tinny"]\n',
            'journeys = ["tiny"',
            "'tinny': 'tiny'",
        ),
        ("hold_hours = 1", 'hold_hours = 1\njourneys = [\n  "tiny",\n  "x",\n]', '  "x",', "'x'; there is tiny"),
        ("[priority]", "tiyn = 90\n[priority]", "tiyn = 90", "'tiyn': 'tiny'"),
        ("[priority]", "tiny = 90\n[priority]", None, ""),
        ("[priority]", "[breaker.journeys.tny]\nsends = 9\n[priority]", "[breaker.journeys.tny]", "'tny': 'tiny'"),
        ("times_usual = 5", "times_usual = 5\njourneys.tny.sends = 9", "journeys.tny.sends", "'tny': 'tiny'"),
        ("times_usual = 5", "times_usual = 5\njourneys.tiny.sends = 9", None, ""),
    ],
)
def test_a_journey_that_the_policy_misspells_is_found_in_its_line(
    load: Load, folder: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, where: str | None, says: str
) -> None:
    assert before in RULES
    rules = RULES.replace(before, after)
    monkeypatch.setattr(f"{__name__}.RULES", rules)
    findings = found(load(written()), folder)
    assert codes(findings) == ([] if where is None else ["unknown-name"])
    for finding in findings:
        assert (finding.journey, finding.file) == ("policy", "policy.toml")
        assert where is not None
        assert rules.splitlines()[finding.line - 1].startswith(where)
        assert finding.what.startswith("there is no journey ")
        assert says in finding.what


def test_a_segment_that_a_rule_of_time_misspells_is_found_in_its_line(load: Load, folder: Path) -> None:
    rules = """
        [[silence]]
        name = "readers_gone"
        event = "usage.fell"
        after = ["page.viewed"]
        none_of = ["page.viewed"]
        days = 20
        only = ["customer", "in:reader"]
        unless = ["former", "in:readers"]
        """
    findings = found(load(written(only='["in:readers"]')), folder, rules=SEGMENT + dedent(rules))
    assert codes(findings) == ["unknown-name"]
    text = (folder.parent / "policy.toml").read_text().splitlines()
    assert text[findings[0].line - 1] == 'only = ["customer", "in:reader"]'
    assert findings[0].what == "no contact is ever 'in:reader': 'in:readers' is meant?"


def test_every_flag_of_the_facts_may_be_asked_for_by_a_rule_of_time() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    gone = {"subscription.canceled": now}
    somebody = Facts("c", {"email": Stamped("a@example.com", now, "1")}, customer_since=now, erased_at=now, last=gone)
    assert somebody.flags() == _OF_FACTS


def test_a_branch_on_a_flag_that_nobody_has_is_found(load: Load, folder: Path) -> None:
    code = also('if "stron" in (await self.facts()).flags: await self.sleep(days=1)')
    (finding,) = found(load(code), folder)
    assert (finding.code, "no contact is ever 'stron'" in finding.what) == ("unknown-flag", True)


def test_every_flag_there_is_may_be_asked_for() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    known = {"email": Stamped("alice@example.com", now, "1")}
    somebody = Facts("c", profile=known, customer_since=now, erased_at=now)
    assert somebody.flags() <= FLAGS
    assert Standing("lead", 100, ()).flags <= FLAGS


def test_messages_are_told_what_lint_counts_on(policy: Policy) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    names = ("first_name", "timezone", "company", "topic", "resource")
    facts = Facts("c", {name: Stamped("x", now, "1") for name in names}, entry=Stamped({"type": "x"}, now, "1"))
    entry = {"type": "x", "data": dict.fromkeys(TOLD_BY_ENTRY.values(), "x")}
    links = {"unsubscribe_url": "https://example.com/u", "preferences_url": "https://example.com/p"}
    told = message_context(entry, {}, facts, policy, links, now)
    assert TOLD | TOLD_BY_ENTRY.keys() <= told.keys()
    assert not TOLD_BY_ENTRY.keys() & message_context({}, {}, facts, policy, links, now).keys()


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ('on("checkout.started")', []),
        ('[on("checkout.started"), on("checkout.expired")]', []),
        ('on("checkout.started", "page.viewed")', ["missing-context"]),
        ('on("ticket.opened")', ["missing-context"]),
        ('on("custom.checkout")', []),
    ],
)
def test_what_began_the_run_is_told_too(load: Load, folder: Path, trigger: str, expected: list[str]) -> None:
    for ending in ("toml", "j2"):
        shutil.copy(SHIPPED / "messages" / f"checkout_reminder.{ending}", folder / "messages")
    journeys = load(written(f'{STAGE}    await self.send("checkout_reminder")\n', trigger=trigger))
    assert codes(found(journeys, folder)) == expected


@pytest.mark.parametrize(
    ("card", "heard", "expected"),
    [
        ({}, 'on("message.replied")', ["deaf-wait"]),
        ({}, 'on("message.replied", "purchase.completed", order_id="1")', ["deaf-wait"]),
        ({}, 'on("message.replied", "custom.news")', []),
        ({"key": '"ticket_id"'}, 'on("message.replied")', []),
        ({"exits": '[on("message.replied", channel="sms")]'}, 'on("message.replied")', []),
    ],
)
def test_only_what_surely_ends_the_run_is_not_heard(
    load: Load, folder: Path, card: dict[str, str], heard: str, expected: list[str]
) -> None:
    code = written(f"{STAGE}    await self.wait({heard}, days=1)\n", **card)
    assert codes(found(load(code), folder)) == expected


@pytest.mark.parametrize(
    ("exits", "expected"),
    [
        ('[on("message.replied"), on("purchase.completed")]', ["unseen-exit"]),
        ('[on("message.replied"), on("message.replied", "purchase.completed", channel="sms")]', ["unseen-exit"]),
        ('[on("message.replied"), on("conversation.started", "purchase.completed")]', []),
        ('[on("message.replied", channel="sms"), on("message.replied")]', []),
    ],
)
def test_only_exits_that_never_count_are_unseen(load: Load, folder: Path, exits: str, expected: list[str]) -> None:
    assert codes(found(load(written(exits=exits)), folder)) == expected


@pytest.mark.parametrize(
    ("stages", "exits", "expected"),
    [
        (IDLE, '[on("contact.erased"), on("conversation.started")]', []),
        (IDLE, '[on("contact.erased")]', ["wait-without-exit"]),
        (IDLE.replace("sleep(", 'wait(on("page.viewed"), '), '[on("contact.erased")]', []),
        (f"{STAGE}    await self.sleep(days=3)\n", '[on("contact.erased")]', []),
        (f"{IDLE.rpartition('    await')[0]}    return self.then\n{STAGE.replace('only', 'then')}",
         '[on("contact.erased")]', ["wait-without-exit"]),
    ],
)  # fmt: skip
def test_wait_without_exit(load: Load, folder: Path, stages: str, exits: str, expected: list[str]) -> None:
    assert codes(found(load(written(stages, exits=exits)), folder)) == expected


def test_urgency_has_the_line_of_copy_that_no_sample_shows(load: Load, folder: Path) -> None:
    copy = folder / "messages" / "reminder.j2"
    copy.write_text(
        copy.read_text().replace("{% endblock %}", "{% if false %}\nLimited\ntime\n{% endif %}\n{% endblock %}")
    )
    (finding,) = found(load(written()), folder)
    assert (finding.code, finding.file) == ("urgency", "templates/messages/reminder.j2")
    assert copy.read_text().splitlines()[finding.line - 1] == "Limited"


QUIET = """\
name: quiet
start: 2026-03-02T09:00:00Z
contact: {email: alice@example.com}
events: []
until: 1d
expect: [{touch: welcome}, {touch: nurture_clarity}, {touch: checkout_help}, {touch: onboarding_month}]
"""


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command sees one journey that is sound, a policy without segments, and a folder of scenarios."""
    (tmp_path / "policy.toml").write_text(RULES.partition("[[segment]]")[0])
    monkeypatch.setenv("PERENNIAL_POLICY_FILE", str(tmp_path / "policy.toml"))
    checkout = next(cls for cls in registry.JOURNEYS if cls.card.name == "abandoned-checkout")
    monkeypatch.setattr(registry, "JOURNEYS", (checkout,))
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(QUIET)
    return tmp_path


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["journeys", "lint", *args], prog_name="perennial")
    return result.exit_code, result.stdout, result.stderr


def test_the_command_lets_warnings_pass_and_stops_at_a_fault(sound: Path) -> None:
    status, out, err = run("--scenarios", str(sound))
    assert (status, err) == (0, "")
    assert all(" unsent-template (warning): " in line for line in out.splitlines())
    (sound / "two.yaml").unlink()
    status, out, err = run("--scenarios", str(sound))
    last = out.splitlines()[-1]
    assert status == 1
    assert last.startswith("abandoned-checkout: workflows/abandoned_checkout.py:")
    assert ": missing-scenario: scenarios that expect it: 1 of 2" in last


def test_the_command_speaks_json(sound: Path) -> None:
    (sound / "two.yaml").unlink()
    status, out, _ = run("--scenarios", str(sound), "--json")
    findings = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [f["code"] for f in findings if f["level"] == "error"] == ["missing-scenario"]
    assert all(set(f) == {"journey", "file", "line", "code", "what", "level"} for f in findings)


def test_the_command_says_in_one_line_what_it_cannot_read(sound: Path) -> None:
    (sound / "one.yaml").write_text("name: [")
    for args, why in (((str(sound),), "not YAML"), ((str(sound / "none"),), "no such folder")):
        status, out, err = run("--scenarios", *args)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert why in err
