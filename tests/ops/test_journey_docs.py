"""The pages of journeys: what they show, that Mermaid can read them, and that those of the repository are current."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import cli
from contacts.specs import LIFECYCLE, PROMOTIONAL, Card, always, days, on
from ops import scenario
from ops.journey_docs import SUBJECTS, diagram, label, pages, stale, write
from ops.words import happening
from templates.render import declared
from workflows.reading import Flow, HandOff, Send, StageFlow, Wait, flow_of
from workflows.registry import JOURNEYS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "journeys"
SCENARIOS = {
    name: scenario.read(ROOT / "tests" / "scenarios" / f"{name}.yaml") for name in ("nurture-quiet", "checkout-quiet")
}

FLOWS = [flow_of(cls) for cls in JOURNEYS]

PRICES = on("page.viewed", page="pricing")

TRIAL = Flow(
    Card(
        name="trial",
        trigger=(PRICES, on("resource.downloaded", kind="case_study")),
        audience="whoever weighs us up",
        goal="they can tell whether it is right for them",
        success=(on("meeting.booked", "purchase.completed"),),
        exits=(on("deal.stage_changed"), on("message.replied")),
        owner="sales",
        purpose=PROMOTIONAL,
        reentry=always(),
        max_run=days(30),
        review_by=date(2027, 5, 1),
        key="checkout_id",
        newest_only=True,
        only=("known", "in:high_value"),
        unless=("new_customer",),
        doc="Answers the question\nbehind the visit.",
        messages=("nurture_clarity", "call_back"),
        hears=(PRICES,),
    ),
    "workflows/trial.py",
    1,
    {},
    (
        StageFlow(
            "clarify",
            2,
            (
                Send(3, "nurture_clarity", PROMOTIONAL, None),
                Wait(4, (PRICES,), "4 days"),
                Wait(5, (PRICES,), "4 days"),
            ),
            ("hand_over", "clarify"),
            may_end=False,
        ),
        StageFlow("hand_over", 6, (Send(7, "call_back", LIFECYCLE, "call"), HandOff(8, "Call.")), (), may_end=True),
    ),
)


def written(*flows: Flow) -> dict[str, str]:
    return pages(flows or FLOWS, declared(), SCENARIOS)


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["journeys", "docs", *args], prog_name="perennial")
    return result.exit_code, result.stdout, result.stderr


def test_the_pages_of_the_repository_are_current() -> None:
    here = ("--to", str(DOCS), "--scenarios", str(ROOT / "tests" / "scenarios"))
    assert run("--check", *here) == (0, "", "")


def test_every_journey_is_there_for_a_subject() -> None:
    assert {name for names in SUBJECTS.values() for name in names} == {flow.card.name for flow in FLOWS}
    (line,) = [line for line in written()["README.md"].splitlines() if line.startswith("| Surveys and preferences |")]
    assert "[survey](survey.md), [survey-thanks](survey-thanks.md), [preferences](preferences.md)" in line


def test_a_page_links_to_what_there_is() -> None:
    for page in written().values():
        for link in re.findall(r"\]\(([^)]+)\)", page):
            assert (DOCS / link).resolve().exists() or link in written(), link


def test_the_index_has_a_line_for_every_journey() -> None:
    index = written()["README.md"]
    for flow in FLOWS:
        card = flow.card
        (line,) = [line for line in index.splitlines() if line.startswith(f"| [{card.name}]({card.name}.md) |")]
        assert card.goal in line
        assert card.owner in line
        assert all(happening(condition) in line for condition in (*card.trigger, *card.success))
        assert f"| {card.review_by:%-d %b %Y} |" in line


def test_a_page_has_the_card_and_the_way_through() -> None:
    page = written(TRIAL)["trial.md"]
    for part in (
        "# trial\n\nAnswers the question behind the visit.\n",
        "| Starts on | page viewed (page: pricing)<br>resource downloaded (kind: case_study) |",
        "| For | whoever weighs us up (only known, only in high value, not new customer) |",
        "| Success | meeting booked or purchase completed |",
        "| Other exits | deal stage changed<br>message replied |",
        "| One run for each | `checkout_id`, the newest only |",
        "| May last | 30 days |",
        "| Listens for | page viewed (page: pricing) |",
        "| [nurture_clarity](../../templates/messages/nurture_clarity.j2) | email | promotional |",
        "| [call_back](../../templates/messages/call_back.j2) | call | lifecycle |",
        f"\n## Scenarios\n\n- [{SCENARIOS['nurture-quiet'].name}](../../tests/scenarios/nurture-quiet.yaml)\n",
        f"```mermaid\n{diagram(TRIAL)}\n```\n",
    ):
        assert part in page
    keyless = replace(TRIAL, card=replace(TRIAL.card, key=None, only=(), unless=(), hears=()))
    page = written(keyless)["trial.md"]
    for part in ("One run for each", "Listens for", "not new customer"):
        assert part not in page


def test_the_picture_shows_every_way_in_through_and_out() -> None:
    lines = [line.strip() for line in diagram(TRIAL).splitlines()]
    assert lines[0] == "flowchart TD"
    for line in (
        'entry(["page viewed (page: pricing)<br>or resource downloaded (kind: case_study)"]) --> stage_clarify',
        'stage_clarify["clarify<br>sends nurture_clarity<br>waits for page viewed (page: pricing), at most 4 days"]',
        'stage_hand_over["hand over<br>sends call_back by call<br>hands over: Call."]',
        "stage_clarify --> stage_hand_over",
        "stage_clarify --> stage_clarify",
        'stage_hand_over --> completed(["completed"])',
        'converted(["converted<br>meeting booked or purchase completed"])',
        'exited(["exited<br>deal stage changed<br>or message replied"])',
        'exhausted(["exhausted<br>after 30 days"])',
        "run -.-> anytime",
    ):
        assert lines.count(line) == 1
    assert 'stage_clarify --> completed(["completed"])' not in lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("page.viewed (page='pricing')", "page.viewed (page='pricing')"),
        ('say "hi"', "say #34;hi#34;"),
        ("it's <b>here</b> & now", "it's #60;b#62;here#60;/b#62; #38; now"),
        ("#1; [a] {b} |c| `d`", "#35;1#59; #91;a#93; #123;b#125; #124;c#124; #96;d#96;"),
        ("two\n lines", "two lines"),
        ("für Zoë", "für Zoë"),
    ],
)
def test_a_label_says_what_it_is_given(text: str, expected: str) -> None:
    assert label(text) == f'"{expected}"'


@given(st.lists(st.text(), min_size=1))
def test_no_text_breaks_out_of_its_label(texts: list[str]) -> None:
    quoted = label(*texts)
    inner = quoted[1:-1].replace("<br>", "")
    assert (quoted[0], quoted[-1]) == ('"', '"')
    assert len(quoted.splitlines()) == 1
    assert not set('"<>[]{}|`&') & set(inner)
    assert inner.count("#") == len(re.findall(r"#\d+;", inner)) == inner.count(";")


def test_names_and_reasons_cannot_break_the_picture() -> None:
    reason = 'Asked "why (so much)?" | it\'s [urgent]; --> end'
    stage = StageFlow("end", 1, (HandOff(1, reason),), ("end",), may_end=False)
    card = replace(TRIAL.card, trigger=(on("a.b", page='"]'),))
    drawn = diagram(Flow(card, "workflows/x.py", 1, {}, (stage,)))
    assert 'stage_end["end<br>hands over: Asked #34;why (so much)?#34;' in drawn
    assert "page: #34;#93;" in drawn
    assert [line for line in drawn.splitlines() if line.strip() == "end"] == ["    end"] * 2
    assert drawn.count('"') % 2 == 0


def test_a_bar_does_not_break_a_table() -> None:
    odd = replace(TRIAL, card=replace(TRIAL.card, goal="this | that", owner="a|b"))
    shown = written(odd)
    assert "| Goal | this \\| that |" in shown["trial.md"]
    assert "| this \\| that |" in shown["README.md"]
    assert "| a\\|b |" in shown["README.md"]


def test_pages_are_the_same_every_time() -> None:
    assert written() == written(*(flow_of(cls) for cls in JOURNEYS))


def test_what_is_missing_changed_or_of_no_journey_is_stale(tmp_path: Path) -> None:
    expected = written()
    folder = tmp_path / "journeys"
    assert [path.name for path in stale(folder, expected)] == sorted(expected)
    assert [path.name for path in write(folder, expected)] == sorted(expected)
    assert (stale(folder, expected), write(folder, expected)) == ([], [])

    (folder / "welcome.md").unlink()
    (folder / "nurture.md").write_text("# changed by hand\n")
    (folder / "gone.md").write_text(expected["welcome.md"])
    (folder / "somebody-elses.md").write_text("# not ours\n")
    assert [path.name for path in stale(folder, expected)] == ["gone.md", "nurture.md", "welcome.md"]
    write(folder, expected)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*expected, "somebody-elses.md"])
    assert stale(folder, expected) == []


def test_the_command_writes_and_checks(tmp_path: Path) -> None:
    folder = tmp_path / "journeys"
    here = ("--to", str(folder), "--scenarios", str(ROOT / "tests" / "scenarios"))
    assert run(*here, "--json")[0] == 0
    assert {path.name for path in folder.iterdir()} == set(written())
    assert run("--check", *here) == (0, "", "")
    (folder / "welcome.md").write_text("old")
    status, out, err = run("--check", *here)
    assert (status, out) == (1, "")
    assert err == f"perennial: {folder / 'welcome.md'}: stale; run `perennial journeys docs`\n"
    assert (folder / "welcome.md").read_text() == "old"


def test_the_command_does_not_write_where_no_project_is(tmp_path: Path) -> None:
    status, out, err = run("--to", str(tmp_path / "docs" / "journeys"))
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    status, out, err = run("--to", str(tmp_path / "journeys"), "--scenarios", str(tmp_path / "none"))
    assert (status, out) == (2, "")
    assert err == f"perennial: {tmp_path / 'none'}: no such folder; run this where the project is, or say --scenarios\n"
    assert list(tmp_path.iterdir()) == []
