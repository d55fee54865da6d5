"""Every message that ships, in every sample context, looked at as a recipient and a screen reader would."""

import re

import pytest
from bs4 import BeautifulSoup

from templates.render import Declared, Rendered, declared, render

SAMPLES = [(template, sample) for template in declared() for sample in template.samples]


@pytest.fixture(params=SAMPLES, ids=[f"{template.name}-{sample}" for template, sample in SAMPLES])
def shown(request: pytest.FixtureRequest) -> tuple[Declared, Rendered, BeautifulSoup]:
    template, sample = request.param
    rendered = render(template.name, template.samples[sample])
    return template, rendered, BeautifulSoup(rendered.html, "html.parser")


def visible(page: BeautifulSoup) -> str:
    copy = BeautifulSoup(str(page), "html.parser")
    for hidden in copy(["style", "script"]):
        hidden.decompose()
    return " ".join(copy.get_text().split())


def test_nothing_is_left_unfilled(shown):
    _, rendered, page = shown
    for part in (rendered.subject, rendered.preheader, rendered.text, visible(page)):
        assert not re.search(r"\bNone\b|\{\{|\}\}|\{%", part)
        assert not re.search(r"\bHi ?,|“”|\( *\)|: *$|\s,(?=\s)| \.(?=\s)", part)


def test_text_has_no_holes(shown):
    _, rendered, _ = shown
    body = re.sub(r"^ +", "", rendered.text, flags=re.MULTILINE)
    assert "  " not in body
    assert "\n\n\n" not in rendered.text
    assert not re.search(r"[ \t]$", rendered.text, re.MULTILINE)
    assert all(len(line) <= 80 or "://" in line or line.startswith("=") for line in rendered.text.splitlines()[2:])


def test_subject_and_preheader_fit_an_inbox(shown):
    _, rendered, _ = shown
    assert 0 < len(rendered.subject) <= 70
    assert 0 < len(rendered.preheader) <= 110
    assert rendered.subject.isprintable()
    assert rendered.subject != rendered.preheader


def test_both_parts_carry_the_same_links(shown):
    _, rendered, page = shown
    in_text = set(re.findall(r"https?://[^\s)]+", rendered.text))
    assert {a["href"] for a in page("a")} == in_text


def test_page_is_readable(shown):
    _, rendered, page = shown
    assert page.html["lang"] == "en"
    assert len(page("h1")) == 1
    assert page.h1.get_text() in rendered.text
    assert page.title.get_text() == rendered.subject
    assert all(image.get("alt") is not None for image in page("img"))
    assert all(a.get_text(strip=True) for a in page("a"))
    assert "max-width:600px" in rendered.html
    assert page.find("meta", {"name": "color-scheme"})["content"] == "light dark"
    assert len(rendered.html.encode()) < 100_000, "longer mails are cut off by some providers"


def test_page_loads_nothing(shown):
    _, rendered, page = shown
    assert not page(["link", "script", "img"])
    assert "@import" not in rendered.html


def test_preheader_is_in_the_page(shown):
    _, rendered, page = shown
    assert page.body.div.get_text() == rendered.preheader
    assert "display:none" in page.body.div["style"]


def test_the_way_out_is_on_everything_but_transactional(shown):
    template, rendered, page = shown
    links = {a["href"] for a in page("a")}
    facts = next(iter(template.samples.values()))
    expected = template.purpose != "transactional"
    assert (facts["unsubscribe_url"] in links) is expected
    assert (facts["preferences_url"] in links) is expected
    assert "You get this because" in rendered.text
    assert facts["brand"]["address"] in rendered.text
    assert facts["brand"]["address"] in visible(page)


def test_every_template_has_a_sample_with_as_little_as_it_can_do_with():
    for template in declared():
        required = {name for name, need in template.context.items() if need.fallback is None}
        assert set(template.samples["bare"]) == required, template.name


def test_the_public_names_and_their_purposes():
    purposes = {template.name: template.purpose for template in declared()}
    assert purposes == {
        **dict.fromkeys(["welcome", "welcome_second", "welcome_third"], "promotional"),
        **dict.fromkeys(["nurture_clarity", "nurture_proof", "nurture_reminder"], "promotional"),
        **dict.fromkeys(["checkout_reminder", "checkout_help", "checkout_last"], "promotional"),
        "onboarding_first_step": "lifecycle",
        "onboarding_week_one": "lifecycle",
        "onboarding_week_two": "lifecycle",
        "onboarding_month": "lifecycle",
    }
