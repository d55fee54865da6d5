"""What a message is told of calls, sessions, quizzes, surveys, events and readings: used whole, in part, or refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templates.render import MissingContext, render

FRAME = {
    "brand": {"name": "Fernhill Studio", "address": "12 Mill Lane", "url": "https://www.example.com"},
    "unsubscribe_url": "https://hub.example.com/u/1",
    "preferences_url": "https://hub.example.com/p/1",
}
EVENT = {"name": "Checkout, Live", "starts_at": "2026-06-11T12:00:00+02:00", "url": "https://www.example.com/live"}


def test_a_call_is_shown_in_the_contacts_own_time_and_can_be_moved():
    meeting = {"starts_at": "2026-03-03T15:00:00+01:00", "move_url": "https://calendar.example.com/move/1"}
    mail = render("booking_prepare", {**FRAME, "meeting": meeting, "timezone": "Europe/Lisbon"})
    assert mail.subject == "We talk on Tuesday 3 March at 14:00 WET"
    assert "Move the call\n(https://calendar.example.com/move/1)" in mail.text


def test_a_missed_call_without_a_link_asks_for_two_times():
    assert "reply with two times" in render("booking_no_show", {**FRAME, "meeting": {"move_url": "/move"}}).text


def test_a_session_is_named_and_its_recording_linked():
    webinar = {"name": "Found for One Phrase", "recording_url": "https://www.example.com/r/1"}
    mail = render("webinar_followup", {**FRAME, "webinar": webinar})
    assert "“Found for One Phrase”" in mail.text
    assert "Watch the recording: https://www.example.com/r/1" in mail.text
    assert "recording" not in render("webinar_followup", {**FRAME, "webinar": {"recording_url": 7}}).text


def test_answers_are_played_back_in_order_and_half_ones_left_out():
    answers = [
        {"question": "Where do orders come from?", "answer": "Regulars"},
        {"question": "And where else?"},
        {"question": "How much time is there?", "answer": "See https://spam.example"},
    ]
    text = render("quiz_result", {**FRAME, "quiz": {"answers": answers, "advice": "Choose one phrase."}}).text
    told = [line for line in text.splitlines() if line.startswith("* ")]
    assert told[:2] == [
        "* Where do orders come from? “Regulars”",
        "* How much time is there? “See (link removed)”",
    ]
    assert "And where else?" not in text
    assert "Choose one phrase." in text


@pytest.mark.parametrize("quiz", [{}, {"answers": []}, {"answers": "none"}, {"answers": [{}], "advice": " "}, "seo"])
def test_a_quiz_nobody_answered_has_no_result(quiz):
    with pytest.raises(MissingContext, match="quiz"):
        render("quiz_result", {**FRAME, "quiz": quiz})


@pytest.mark.parametrize(("minutes", "said"), [(1, "one minute"), (5, "5 minutes"), (None, "two minutes"), (0, "two")])
def test_a_survey_says_how_long_it_takes(minutes, said):
    survey = {"url": "https://www.example.com/ask", "minutes": minutes}
    assert f"Three questions, {said}" in render("survey_three_questions", {**FRAME, "survey": survey}).subject


def test_a_survey_without_a_link_is_refused():
    with pytest.raises(MissingContext, match="survey"):
        render("survey_three_questions", {**FRAME, "survey": {"incentive": "a worksheet"}})


@pytest.mark.parametrize("part", ["name", "starts_at", "url"])
def test_an_invitation_needs_the_whole_event(part):
    with pytest.raises(MissingContext, match="event"):
        render("event_invitation", {**FRAME, "event": {**EVENT, part: None}})


def test_an_event_whose_time_names_no_zone_is_refused():
    with pytest.raises(MissingContext, match="event"):
        render("event_invitation", {**FRAME, "event": {**EVENT, "starts_at": "2026-06-11T12:00:00"}})


def test_the_first_three_whole_readings_are_shown():
    whole = [{"title": f"Piece {n}", "url": f"https://www.example.com/{n}", "why": "Short."} for n in range(1, 6)]
    text = render("date_relevant", {**FRAME, "top": [{"title": "No link"}, *whole]}).text
    assert [line for line in text.splitlines() if line.startswith("* ")] == ["* Piece 1", "* Piece 2", "* Piece 3"]


def test_without_readings_the_topics_own_are_shown():
    text = render("date_relevant", {**FRAME, "topic": "seo", "top": [{"title": "No link"}]}).text
    assert "* The Small Shop SEO Guide" in text


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "url", "answers", "question", "answer", "starts_at", "minutes", "why", "title"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("message", "fact"),
    [
        ("booking_prepare", "meeting"),
        ("webinar_followup", "webinar"),
        ("quiz_result", "quiz"),
        ("survey_three_questions", "survey"),
        ("event_invitation", "event"),
        ("date_relevant", "top"),
    ],
)
@given(junk=JUNK)
@settings(max_examples=25, deadline=None)
def test_junk_is_rendered_or_refused(message, fact, junk):
    try:
        mail = render(message, {**FRAME, fact: junk})
    except MissingContext as refused:
        assert refused.name == fact
    else:
        assert mail.subject.isprintable()
