"""The policy file: what is wrong is refused in one line that names the file, the place and the reason."""

import re
from datetime import time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.policy import Policy, PolicyError, load, parse


@pytest.fixture(scope="session")
def text(shipped_policy: Path) -> str:
    return shipped_policy.read_text(encoding="utf-8")


def test_the_shipped_policy_loads(policy: Policy) -> None:
    assert policy.handoff.owner == "sales"
    assert policy.score.handoff_at == 50
    assert policy.consent.required == ("promotional", "lifecycle")
    assert (policy.quiet_hours[0].start, policy.quiet_hours[0].end) == (time(21), time(8))
    assert policy.caps[0].window == timedelta(days=0.8)
    spans = {name: cap.window for name, cap in policy.frequency.items()}
    assert spans == {"weekly": timedelta(days=7), "monthly": timedelta(days=30)}
    assert policy.consent.stated["form.submitted"] == "consent"
    assert len(policy.version) == 12


def test_the_version_is_the_texts_own(text: str, policy: Policy) -> None:
    assert parse(text).version == policy.version
    assert parse(text + "\n# a word\n").version != policy.version


FIRST_CAP = 'channels = ["email"]\npurposes = ["promotional"]\nmax = 1'

FREQUENT = 'channels = ["email", "sms", "social", "chat", "push"]\npurposes = ["promotional"]'

WINDOW = """[[send_windows]]
channels = ["call"]
purposes = ["lifecycle"]
days = ["mon", "sun"]
start = 09:00:00
end = 18:00:00
[priority]"""

BAD = [
    ("half_life_days = 30", "half_life_days = 0", "score.half_life_days: Input should be greater than 0"),
    ("half_life_days = 30", 'half_life_days = "a month"', "score.half_life_days: .*valid number"),
    ("half_life_days = 30", "", "score.half_life_days: Field required"),
    ("half_life_days = 30", "half_life_days = nan", "score.half_life_days: "),
    ("handoff_at = 50 ", "handoff_at = nan ", "score.handoff_at: .*finite number"),
    ("points = 40", "points = 4000", "score.behaviour.0.points: Input should be less than or equal to 1000"),
    ('on = "page.viewed"', 'on = "page.vewed"', "score.behaviour.0.on: no such event type: 'page.vewed'"),
    ('"purchase.completed" = ["l', '"purchase.done" = ["l', "consent.implied.purchase.done.*: no such event type"),
    ('["lifecycle"] }', '["transactional"] }', "consent.implied.purchase.completed.0: Input should be"),
    ('implied_channels = ["email"]', 'implied_channels = ["emial"]', "consent.implied_channels.0: Input should be"),
    ('required = ["promotional", "lifecycle"]', 'required = ["all"]', "consent.required.0: Input should be"),
    ("reminders = 2", "reminders = 2.5", "handoff.reminders: .*valid integer"),
    ("tell_within_minutes = 30", "tell_within_minutes = 0", "handoff.tell_within_minutes: .*greater than 0"),
    ("tell_within_minutes = 30", "tell_in_minutes = 30", "handoff.tell_within_minutes: Field required"),
    ("conversation = 14", "conversations = 14", "hold_days.conversations.*: Input should be 'ticket'"),
    ("conversation = 14", "conversation = -1", "hold_days.conversation: .*greater than 0"),
    ("end = 08:00:00", "end = 21:00:00", "quiet_hours.0.end: must differ from start"),
    ("start = 21:00:00", 'start = "21:00:00+02:00"', "quiet_hours.0.start: must be a time of day .* without an offset"),
    ("start = 21:00:00", 'start = "late"', "quiet_hours.0.start: Input should be in a valid time format"),
    ("end = 08:00:00", "", "quiet_hours.0.end: Field required"),
    ("[priority]", WINDOW.replace("mon", "moon"), "send_windows.0.days.0: Input should be 'mon', 'tue'"),
    ("[priority]", WINDOW.replace('"mon", "sun"', ""), "send_windows.0.days: .*at least 1 item"),
    ("[priority]", WINDOW.replace("end =", "ends ="), "send_windows.0.end: Field required"),
    ("[priority]", WINDOW.replace("18:00:00", '"18:00:00Z"'), "send_windows.0.end: must be a time of day"),
    ("[priority]", WINDOW.replace("call", "cal"), "send_windows.0.channels.0: Input should be 'email'"),
    ("[breaker]", "[breaker.journeys.welcome]\n[breaker]", "breaker.journeys.welcome: changes nothing: give it sends"),
    ("times_usual = 5", "times_usual = 5\njourneys.welcome.sends = 0", "breaker.journeys.welcome.sends: .*than 0"),
    ("times_usual = 5", "times_usual = 5\njourneys.Welcome.sends = 9", "breaker.journeys.Welcome.*: String should"),
    ("max = 1\ndays = 0.8", "max = 0\ndays = 0.8", "caps.0.max: .*greater than 0"),
    ("max = 1\ndays = 0.8", "max = 1\ndays = 1e9", "caps.0.days: .*less than or equal to 3650"),
    ("max = 1\ndays = 0.8", "max = 1\nweeks = 2", "caps.0.days: Field required"),
    (FIRST_CAP, FIRST_CAP.replace("email", "emial"), "caps.0.channels.0: Input should be 'email', 'sms'"),
    (FIRST_CAP, FIRST_CAP.replace('"email"', ""), "caps.0.channels: .*at least 1 item"),
    ("[frequency.weekly]", "[frequency.yearly]", "frequency.yearly.*: Input should be 'weekly' or 'monthly'"),
    ("max = 1\ndays = 30", "max = 0\ndays = 30", "frequency.monthly.max: .*greater than 0"),
    (FREQUENT, FREQUENT.replace("promotional", "transactional"), "frequency.weekly.purposes.0: Input should be"),
    (FREQUENT, FREQUENT.replace('"push"', '"pigeon"'), "frequency.weekly.channels.4: Input should be"),
    ('{ "form.submitted" = "c', '{ "form.sent" = "c', "consent.stated.form.sent.*: no such event type: 'form.sent'"),
    ('{ "form.submitted" = "consent"', '{ "form.submitted" = ""', "consent.stated.form.submitted: .*1 character"),
    ('timezone = "Europe/Berlin"', 'timezone = "Europe/Berlino"', "defaults.timezone: no such time zone: 'Eur"),
    ('timezone = "Europe/Berlin"', 'timezone = "../Berlin"', "defaults.timezone: no such time zone"),
    ('urgent = ["sms", ', 'urgent = ["smoke", ', "channels.urgent.0: Input should be 'email', 'sms'"),
    ('urgent = ["sms", ', 'urgent = ["email", ', "channels.urgent: names email twice"),
    ('urgent = ["sms", ', 'urgent_ = ["sms", ', "channels.urgent_.*: Input should be 'educate'"),
    ('high_intent = ["call", "chat", "email", "sms"]', "", "channels: has no order for high_intent"),
    ('high_intent = ["call", "chat", "email", "sms"]', "high_intent = []", "channels.high_intent: .*at least 1 item"),
    ("[channels]", "[chanels]", "channels: Field required"),
    ("[brand]", "[brnd]", "brand: Field required"),
    ('review = "https://', 'review = "www.', "links.review: String should match"),
    ('review = "https://', 'reviews = "https://', "links.reviews: Extra inputs are not permitted"),
    ('name = "three-questions"', "", "links.survey.name: Field required"),
    ("[brand]", 'mood = "sunny"\n[brand]', "mood: Extra inputs are not permitted"),
    ("[brand]", 'version = "mine"\n[brand]', "version: is made from the text and cannot be set"),
    ("[brand]", '"a\\nb" = 1\n[brand]', "a b: Extra inputs are not permitted"),
    ("[brand]", "[brand", "policy.toml: .*line 4"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "says"), BAD, ids=[f"{n}: {bad[:40]}" for n, (_, bad, _) in enumerate(BAD)])
def test_a_mistake_is_one_line_with_place_and_reason(text: str, good: str, bad: str, says: str) -> None:
    assert good in text
    with pytest.raises(PolicyError) as refused:
        parse(text.replace(good, bad, 1))
    said = str(refused.value)
    assert "\n" not in said
    assert said.startswith("policy.toml: ")
    assert re.search(says, said), said


@pytest.mark.parametrize(
    ("good", "bad", "where"),
    [
        ("half_life_days = 30", "half_life_days = 0", "half_life_days = 0"),
        ("half_life_days = 30\n", "", "[score]"),
        (
            'points = 15\n[[score.behaviour]]\non = "web',
            'points = 1500\n[[score.behaviour]]\non = "web',
            "points = 1500",
        ),
        ("end = 08:00:00", "end = 21:00:00", "end = 21:00:00"),
        ('implied_channels = ["email"]', 'implied_channels = ["email", "emial"]', "implied_channels ="),
        ("stages = [", 'stages = ["vip", ', "stages = ["),
        ("conversation = 14", "conversations = 14", "conversations = 14"),
    ],
)
def test_a_mistake_says_its_line(text: str, good: str, bad: str, where: str) -> None:
    changed = text.replace(good, bad, 1)
    assert changed != text
    with pytest.raises(PolicyError) as refused:
        parse(changed)
    found = re.search(r"\(line (\d+)\)$", str(refused.value))
    assert found is not None
    assert changed.splitlines()[int(found.group(1)) - 1].startswith(where)


ALWAYS_QUIET = """[[quiet_hours]]
channels = ["note", "email"]
purposes = ["lifecycle", "transactional"]
start = 08:00:00
end = 21:00:00
[priority]"""
AT_NIGHT = WINDOW.replace("call", "sms").replace("09:00", "21:00").replace("18:00", "09:00")


@pytest.mark.parametrize(
    ("added", "says", "where"),
    [
        # Email is quiet from nine to eight, and now from eight to nine.
        (
            ALWAYS_QUIET,
            "quiet_hours.0: no instant of the week is left for lifecycle touches by email",
            "[[quiet_hours]]",
        ),
        (
            AT_NIGHT,
            "send_windows.0: with the quiet hours, no instant of the week is left for lifecycle touches by sms",
            "[[send_windows]]",
        ),
        # Each by itself leaves something, and another for the same touches would do.
        (AT_NIGHT.replace("end = 09:00", "end = 09:01"), None, ""),
        (AT_NIGHT.replace("start = 21:00", "start = 19:59"), None, ""),
        (AT_NIGHT.replace("[priority]", WINDOW.replace("call", "sms")), None, ""),
        (AT_NIGHT.replace("lifecycle", "transactional"), "left for transactional touches by sms", "[[send_windows]]"),
        (AT_NIGHT.replace('"sms"', '"call"'), None, ""),
    ],
)
def test_hours_that_leave_no_instant_are_refused_with_their_place(
    text: str, added: str, says: str | None, where: str
) -> None:
    whole = text.replace("[priority]", added, 1)
    if says is None:
        assert parse(whole)
        return
    with pytest.raises(PolicyError) as refused:
        parse(whole)
    said = str(refused.value)
    assert "\n" not in said
    assert says in said
    found = re.search(r"\(line (\d+)\)$", said)
    assert found is not None
    assert whole.splitlines()[int(found.group(1)) - 1] == where


def test_a_business_may_score_its_own_events(text: str) -> None:
    own = parse(text.replace('on = "page.viewed"', 'on = "custom.tour_taken"', 1))
    assert own.score.behaviour[0].condition.matches("custom.tour_taken", {"page": "pricing"})
    assert not own.score.behaviour[0].condition.matches("custom.tour_taken", {"page": "blog"})


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file or directory"), (b"\xff\xfe", "not UTF-8 text"), (b"", "brand: Field required (line 1)")],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError) as refused:
        load(path)
    assert str(refused.value) == f"{path}: {says}"


def test_a_directory_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="Is a directory"):
        load(tmp_path)


@given(st.text(max_size=200))
def test_junk_is_never_more_than_one_line(junk: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse(junk)
    assert "\n" not in str(refused.value)


@given(st.data())
def test_no_damage_to_the_shipped_file_is_more_than_one_line(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 30, len(text))))
    damaged = text[:start] + data.draw(st.text(max_size=10)) + text[end:]
    try:
        parse(damaged)
    except PolicyError as refused:
        assert "\n" not in str(refused)
