"""Scenario files: read or refused in one line; judged as a person would read them."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.scenario import Answer, BadScenario, Line, Scenario, answer_of, event_of, history, judge, offset, read

START = datetime(2026, 3, 2, 9, tzinfo=UTC)

GOOD = """
name: a pricing visit hands over to sales
start: 2026-03-02T09:00:00Z
contact: {email: alice@example.com, timezone: Europe/Berlin, consent: {email: [promotional, lifecycle]}}
events:
  - {at: 0d, type: resource.downloaded, topic: seo, resource: seo-guide}
  - {at: 2d3h, type: page.viewed, page: pricing}
until: 30d
expect:
  - {day: 0, touch: welcome, channel: email}
never:
  - {touch: welcome, after: 2d3h}
"""


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90d", timedelta(days=90)),
        ("3h30m", timedelta(hours=3, minutes=30)),
        ("2d3h", timedelta(days=2, hours=3)),
        ("1w 2d", timedelta(days=9)),
        ("1.5d", timedelta(hours=36)),
        ("45s", timedelta(seconds=45)),
        ("0d", timedelta(0)),
        (3, timedelta(days=3)),
        (0.5, timedelta(hours=12)),
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_offsets(text: object, span: timedelta) -> None:
    assert offset(text) == span


@pytest.mark.parametrize(
    "text", ["", "d", "3x", "-2d", "2d-3h", "1..5d", "tomorrow", None, True, "nan", "3h30", "1e3d"]
)
def test_what_is_no_offset(text: object) -> None:
    with pytest.raises(ValueError, match="must be an offset such as 90d or 3h30m"):
        offset(text)


@given(st.integers(0, 9999), st.integers(0, 23), st.integers(0, 59))
def test_an_offset_means_the_sum_of_its_parts(days: int, hours: int, minutes: int) -> None:
    assert offset(f"{days}d{hours}h{minutes}m") == timedelta(days=days, hours=hours, minutes=minutes)


def written(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "story.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def test_a_good_file(tmp_path: Path) -> None:
    scenario = written(tmp_path, GOOD)
    assert (scenario.start, scenario.until) == (START, timedelta(days=30))
    first, second = (event_of(scenario, n) for n in range(2))
    assert (first.type, first.occurred_at, first.data) == (
        "resource.downloaded",
        START,
        {"topic": "seo", "resource": "seo-guide"},
    )
    assert second.occurred_at == START + timedelta(days=2, hours=3)
    assert {(i.kind, i.value) for i in first.identities} == {
        ("user", "scenario:alice@example.com"),
        ("email", "alice@example.com"),
    }
    known = history(scenario)
    assert {e.occurred_at < START for e in known} == {True}
    assert [e.type for e in known] == ["contact.updated", "consent.granted", "consent.granted"]
    assert known[0].data["timezone"] == "Europe/Berlin"
    assert {e.data["purpose"] for e in known[1:]} == {"promotional", "lifecycle"}


def test_an_event_may_have_an_id_and_a_time_of_its_own(tmp_path: Path) -> None:
    lines = "[{at: 3d, occurred: 1d, id: 7, type: custom.a}, {at: 4d, id: 7, type: custom.a}]"
    scenario = written(tmp_path, re.sub(r"events:.*?until", f"events: {lines}\nuntil", GOOD, flags=re.DOTALL))
    late, repeat = (event_of(scenario, n) for n in range(2))
    assert late.occurred_at == START + timedelta(days=1)
    assert late.source_id == repeat.source_id == "7"


def test_a_person_answers_a_journey(tmp_path: Path) -> None:
    lines = "[{at: 0d, type: custom.a}, {at: 3d, type: approve, journey: a}, {at: 4d, type: refuse, journey: b}]"
    scenario = written(tmp_path, re.sub(r"events:.*?until", f"events: {lines}\nuntil", GOOD, flags=re.DOTALL))
    alice = "alice@example.com"
    assert [answer_of(scenario, n) for n in range(3)] == [None, Answer(alice, "a", True), Answer(alice, "b", False)]


def test_several_contacts_have_names(tmp_path: Path) -> None:
    people = "contacts: [{id: alice, email: alice@example.com}, {id: bob}]"
    lines = "events: [{at: 0d, contact: bob, type: custom.a}, {at: 0d, identities: {anonymous: b}, type: custom.a}]"
    text = re.sub(r"contact:.*?until", f"{people}\n{lines}\nuntil", GOOD, flags=re.DOTALL)
    scenario = written(tmp_path, text)
    assert [i.value for i in event_of(scenario, 0).identities] == ["scenario:bob"]
    assert [(i.kind, i.value) for i in event_of(scenario, 1).identities] == [("anonymous", "b")]


def test_a_start_without_an_offset_means_utc(tmp_path: Path) -> None:
    assert written(tmp_path, GOOD.replace("09:00:00Z", "09:00:00")).start == START


CONTACT = "contact: {email: alice@example.com, timezone: Europe/Berlin, consent: {email: [promotional, lifecycle]}}"

BAD = [
    ("name: a pricing visit hands over to sales", "", "name: Field required"),
    ("start: 2026-03-02T09:00:00Z", "start: soon", "start: Input should be a valid datetime"),
    ("contact: {", "contakt: {", "contakt: Extra inputs are not permitted"),
    ("contact: {email: alice@example.com,", "contact: [", "not YAML: "),
    ("timezone: Europe/Berlin", "timezone: Europe/Berlino", "contact.timezone: no such time zone: 'Europe/Berlino'"),
    ("at: 2d3h,", "at: 2x,", "events.1.at: must be an offset such as 90d or 3h30m"),
    ("{at: 2d3h,", "{", "events.1.at: Field required"),
    ("type: page.viewed,", "", "events.1.type: Field required"),
    ("type: page.viewed,", "type: Page Viewed,", "events.1: type: must be dotted lower case"),
    ("page: pricing", "url: u", "events.1: data.page: Field required"),
    ("type: page.viewed, page: pricing", "type: approve", "events.1: approve what. name the journey that asks"),
    ("until: 30d", "until: later", "until: must be an offset"),
    ("until: 30d", "", "until: Field required"),
    ("day: 0,", "day: first,", "expect.0.day: Input should be a valid number"),
    ("after: 2d3h", "after: then", "never.0.after: must be an offset"),
    ("at: 0d,", "at: 0d, contact: bob,", "events.0: no contact 'bob'; there is alice@example.com"),
    (CONTACT, "contacts: [{id: a}, {id: a}]", "contacts: two have the same id"),
    ("events:", "contacts: [{id: bob}]\nevents:", "events.0: which contact\\? there are several"),
    (CONTACT, "", "contact: is missing"),
    (GOOD, "", "must be a mapping"),
    (GOOD, "- a\n- b", "must be a mapping"),
    (GOOD, "a: [b", "not YAML"),
    (GOOD, "a: !!python/object:os.system {}", "not YAML"),
    ("at: 2d3h,", "at: 99999999999999d,", "events.1.at: must be at most"),
    ("until: 30d", "until: 9999999d", "until: must be at most"),
    ("at: 2d3h,", "at: ²,", "events.1.at: must be an offset"),
    ("- {touch: welcome, after", "- {day: first, after", "never.0.day: Input should be a valid number"),
    ("email: [promotional, lifecycle]", "email: [everything]", "contact.consent.email.0: Input should be"),
    ("email: [promotional", "emial: [promotional", "contact.consent.emial.*: Input should be"),
    ("email: alice@example.com", "email: nonsense", "contact.email: no such email: 'nonsense'"),
    ("{at: 0d,", "{at: 0d, identities: {email: nonsense},", "events.0: none of the identities is one"),
    ("events:", "contacts: [{id: alice@example.com}]\nevents:", "contacts: two have the same id"),
    ("name: a", f"name: {'[' * 3000}a", "not YAML: nested too deeply"),
    ("start: 2026-03-02T09:00:00Z", "start: 0001-01-01T00:00:00Z", "start: is too far from today"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "says"), BAD, ids=[f"{n}: {says[:40]}" for n, (_, _, says) in enumerate(BAD)])
def test_a_bad_file_is_one_line_with_place_and_reason(tmp_path: Path, good: str, bad: str, says: str) -> None:
    assert good in GOOD
    with pytest.raises(BadScenario) as refused:
        written(tmp_path, GOOD.replace(good, bad, 1))
    said = str(refused.value)
    assert "\n" not in said
    assert said.startswith(f"{tmp_path / 'story.yaml'}: ")
    assert re.search(says, said), said


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match="No such file or directory"):
        read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    with pytest.raises(BadScenario, match="not YAML"):
        read(tmp_path / "latin.yaml")


# What a timeline is held against


def line(day: float, kind: str = "touch", contact: str = "alice", journey: str | None = "welcome", **data: Any) -> Line:
    return Line(START + timedelta(days=day), day, contact, kind, journey, data)


TIMELINE = [
    line(0, "event", journey=None, type="resource.downloaded"),
    line(0, "enter"),
    line(0.2, touch="welcome", channel="email", purpose="promotional"),
    line(2.125, "wait", touch="second", reason="hold_ticket"),
    line(3.4, touch="second", channel="email"),
    line(3.9, "drop", touch="third", reason="valid_for"),
    line(4, "exit", outcome="converted"),
]


def scenario_with(expect: list[Any] | None = None, never: list[Any] | None = None) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "n", "start": START, "until": "9d", "events": [], "contact": {"id": "alice"},
            "expect": expect or [], "never": never or [],
        }
    )  # fmt: skip


def misses(lines: list[Line] | None = None, **what: Any) -> list[str]:
    return judge(scenario_with(**what), TIMELINE if lines is None else lines)


@pytest.mark.parametrize(
    "wanted",
    [
        {"touch": "welcome"},
        {"day": 0, "touch": "welcome", "channel": "email"},
        {"day": 3, "touch": "second"},
        {"day": 3.4, "touch": "second"},
        {"day": 2, "kind": "wait", "reason": "hold_ticket"},
        {"kind": "drop", "touch": "third", "reason": "valid_for"},
        {"kind": "exit", "journey": "welcome", "outcome": "converted"},
        {"contact": "alice", "kind": "event", "type": "resource.downloaded"},
    ],
)
def test_what_came_out_as_expected(wanted: dict[str, Any]) -> None:
    assert misses(expect=[wanted]) == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"touch": "fourth"},
        {"day": 1, "touch": "welcome"},
        {"day": 3.2, "touch": "second"},
        {"touch": "welcome", "channel": "sms"},
        {"touch": "third"},  # dropped, not sent
        {"day": 2, "touch": "second"},  # waited then, sent later
        {"kind": "exit", "outcome": "exhausted"},
        {"contact": "bob", "touch": "welcome"},
        {"touch": "welcome", "flavour": "mild"},
    ],
)
def test_what_did_not_come_out_is_a_line_of_a_diff(wanted: dict[str, Any]) -> None:
    [first, *near] = misses(expect=[wanted])
    assert first.startswith("- ")
    assert all(f"{k}: {v}" in first for k, v in wanted.items())
    assert all(n.startswith("+   ") for n in near)


def test_a_miss_shows_what_came_instead() -> None:
    assert misses(expect=[{"day": 1, "touch": "welcome"}]) == [
        "- day: 1, touch: welcome",
        "+   day: 0.2, kind: touch, touch: welcome, channel: email",
    ]


def test_each_line_answers_one_expectation() -> None:
    assert misses(expect=[{"touch": "welcome"}, {"touch": "second"}]) == []
    assert len([m for m in misses(expect=[{"touch": "welcome"}] * 2) if m.startswith("- ")]) == 1
    assert misses([*TIMELINE, line(5, touch="welcome")], expect=[{"touch": "welcome"}] * 2) == []


@pytest.mark.parametrize(
    ("banned", "seen"),
    [
        ({"touch": "welcome"}, 1),
        ({"touch": "third"}, 0),
        ({"kind": "drop", "touch": "third"}, 1),
        ({"touch": "second", "after": "2d3h"}, 1),
        ({"touch": "welcome", "after": "2d3h"}, 0),
        ({"touch": "second", "before": "3d"}, 0),
        ({"touch": "second", "before": "4d"}, 1),
        ({"touch": "second", "after": "1d", "before": "2d"}, 0),
        ({"channel": "email"}, 2),
        ({"kind": "wait"}, 1),
        ({"kind": "exit", "after": "4d"}, 0),  # after means later than
        ({"contact": "bob"}, 0),
    ],
)
def test_never(banned: dict[str, Any], seen: int) -> None:
    found = misses(never=[banned])
    assert len(found) == seen
    assert all(f.startswith("+ day: ") and "(never: " in f for f in found)


def test_a_line_as_json_has_what_every_line_has_first() -> None:
    shown = replace(TIMELINE[2], data={**TIMELINE[2].data, "kind": "forged"}).as_json()
    assert shown == {
        "at": "2026-03-02T13:48:00+00:00", "day": 0.2, "contact": "alice", "kind": "touch", "journey": "welcome",
        "touch": "welcome", "channel": "email", "purpose": "promotional",
    }  # fmt: skip
    assert list(shown)[:5] == ["at", "day", "contact", "kind", "journey"]
    assert "journey" not in TIMELINE[0].as_json()
