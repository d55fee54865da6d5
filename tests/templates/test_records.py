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


def test_a_survey_without_a_link_is_answered_by_mail():
    text = render("survey_three_questions", {**FRAME, "survey": {"incentive": "a worksheet"}}).text
    assert "Reply to this mail with a line for each." in text
    assert "worksheet" not in text, "nobody could hand it over"


@pytest.mark.parametrize("part", ["name", "starts_at", "url"])
def test_an_invitation_needs_the_whole_event(part):
    with pytest.raises(MissingContext, match="event"):
        render("event_invitation", {**FRAME, "event": {**EVENT, part: None}})


def test_an_event_whose_time_names_no_zone_is_refused():
    with pytest.raises(MissingContext, match="event"):
        render("event_invitation", {**FRAME, "event": {**EVENT, "starts_at": "2026-06-11T12:00:00"}})


def told(question: object, answer: object) -> str:
    """How the thanks for a survey play an answer back."""
    answers = [{"question": question, "answer": answer}]
    text = " ".join(render("survey_thanks", {**FRAME, "answers": answers}).text.split())
    return text.partition("WHAT YOU TOLD US * ")[2].partition(" WHAT YOUR ANSWERS")[0]


@pytest.mark.parametrize(
    ("question", "answer", "shown"),
    [
        ("in_the_way", "time", "What is most in the way? “no time”"),
        ("in_the_way", ["time", "Mondays"], "What is most in the way? “no time, Mondays”"),
        ("in_the_way", "See https://e.example <b>now</b>", "What is most in the way? “See (link removed) now”"),
        ("in_the_way", [None, 7, " "], ""),
        ("in_the_way", {"a": 1}, ""),
        ("utm_campaign", "spring", ""),
        (None, "time", ""),
    ],
)
def test_an_answer_is_played_back_where_the_question_is_one_of_ours(question, answer, shown):
    assert told(question, answer) == shown


def test_a_quiz_of_our_own_questions_is_played_back_in_words():
    quiz = {"answers": [{"question": "shop_kind", "answer": "maker"}]}
    assert "What kind of shop is yours? “we sell what we make”" in render("quiz_result", {**FRAME, "quiz": quiz}).text


def test_proof_is_of_their_kind_of_shop():
    context = {**FRAME, "topic": "seo", "answers": [{"question": "shop_kind", "answer": "service"}]}
    mail = render("nurture_proof", context)
    assert mail.subject == "Found by the chair, not by the name"
    told = "You told us what kind of shop yours is: “we do something for people”. So is this one."
    assert told in " ".join(mail.text.split())
    other = render("nurture_proof", {**context, "answers": [{"question": "shop_kind", "answer": "maker"}]})
    assert other.subject == "From 190 to 1,100 search visits a month"
    assert "You told us" not in other.text


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        ({"stage": "former", "since": "2024-05-03", "used": True}, "It has been a while since you left"),
        ({"stage": "customer", "since": "2024-05-03", "used": True}, "Search Growth is still there."),
        ({"stage": "customer", "since": "2024-05-03", "used": False}, "It is waiting for its first ten minutes."),
        ({"stage": "prince", "since": "soon", "days": -3, "used": "no"}, "It has been quiet between us"),
    ],
)
def test_what_is_useful_to_somebody_who_is_away_depends_on_how_they_left(standing, said):
    context = {**FRAME, "standing": standing, "subscription": {"plan": "Search Growth"}}
    assert said in " ".join(render("winback_useful", context).text.split())


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "url", "answers", "question", "answer", "starts_at", "minutes", "stage", "since"]),
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
        ("survey_thanks", "answers"),
        ("winback_useful", "standing"),
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
