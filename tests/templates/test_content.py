import shutil
from pathlib import Path

import pytest

from templates import content
from templates.content import SHIPPED, ContentError, load

FOLDER = Path(content.__file__).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "content", ignore=shutil.ignore_patterns("*.py*")))


def edit(file: Path, old: str, new: str) -> None:
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, new, 1))


def test_the_topics_that_ship():
    assert set(SHIPPED.topics) == {"seo", "email-deliverability", "analytics", "checkout", "general"}
    assert {"first_step", "week_one", "week_two", "month"} <= set(SHIPPED.lessons)
    assert {"week_one_unused", "week_two_unused", "month_unused"} <= set(SHIPPED.lessons)


@pytest.mark.parametrize("slug", ["seo", "SEO", " seo "])
def test_a_topic_is_found_however_it_is_written(slug):
    assert content.topic(slug).slug == "seo"
    assert content.topic("Email_Deliverability").slug == "email-deliverability"


def test_an_unknown_topic_is_the_general_one_unless_the_resource_tells():
    assert content.topic("falconry").slug == "general"
    assert content.topic("falconry", SHIPPED.taken("tracking-audit")).slug == "analytics"
    assert content.topic("seo", SHIPPED.taken("tracking-audit")).slug == "seo"


def test_next_two_leave_out_what_they_have():
    for topic in SHIPPED.topics.values():
        first, second, third = topic.resources
        assert topic.next_two() == (first, second)
        assert topic.next_two(first.slug) == (second, third)
        assert topic.next_two(second.slug) == (first, third)
        assert topic.next_two(third.slug) == (first, second)


def test_a_case_is_of_their_kind_of_shop_where_there_is_one():
    for topic in SHIPPED.topics.values():
        kinds = [case.kind for case in topic.cases]
        assert len(kinds) == len(set(kinds)) >= 2
        assert [topic.case(kind) for kind in kinds] == list(topic.cases)
        assert topic.case() == topic.case("circus") == topic.cases[0]


def test_an_answer_makes_a_topic_their_own():
    assert content.SHIPPED.topic_told("working_on", "search") == "seo"
    assert content.SHIPPED.topic_told("working_on", ["nothing", "email"]) == "email-deliverability"
    for question, answer in (
        ("working_on", "a novel"),
        ("in_the_way", "time"),
        ("nobody_asked", "search"),
        ("goal", 7),
    ):
        assert content.SHIPPED.topic_told(question, answer) is None


def test_taken_by_slug_by_title_or_by_a_name_we_do_not_know():
    ours = SHIPPED.taken("seo-guide")
    assert ours.url.startswith("https://www.example.com/")
    assert SHIPPED.taken(" the small shop seo guide ") == ours
    assert SHIPPED.taken("b2b-seo_plan") == content.Taken("B2B SEO plan")
    assert SHIPPED.taken("A title, as typed") == content.Taken("A title, as typed")


def test_thanks_by_the_first_word_of_the_entry_point():
    assert SHIPPED.thanks_for("form.submitted") == SHIPPED.thanks_for("Form:contact") == SHIPPED.thanks["form"]
    assert SHIPPED.thanks_for("contact.identified") is None


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("seo.yaml", "question:", "riddle:", r"seo\.yaml: "),
        ("seo.yaml", "https://", "http://", r"seo\.yaml: resources\.0\.url"),
        ("seo.yaml", "slug: seo\n", "slug: checkout\n", "topic checkout is there twice"),
        ("seo.yaml", "slug: seo-guide", "slug: tracking-audit", "resource tracking-audit is there twice"),
        ("seo.yaml", "slug: seo\n", "slug: [\n", r"seo\.yaml: "),
        ("general.yaml", "slug: general", "slug: other", "topic general is missing"),
        ("lessons.yaml", "slug: week_one\n", "slug: week_two\n", "lesson week_two is there twice"),
        ("questions.yaml", "slug: goal", "slug: reason", "question reason is there twice"),
        ("questions.yaml", "topic: seo", "topic: sea", "there is no topic sea"),
        ("seo.yaml", "kind: retailer", "kind: circus", "there is no kind of shop circus"),
    ],
)
def test_a_broken_file_is_named(folder, file, old, new, complaint):
    edit(folder / file, old, new)
    with pytest.raises(ContentError, match=complaint):
        load(folder)
