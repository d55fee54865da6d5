"""Every message that ships, in every sample context, looked at as its reader and a screen reader would."""

import re

import pytest
from bs4 import BeautifulSoup

from templates import gsm
from templates.render import Declared, Rendered, declared, render

URL = r"https?://[^\s)]+"
HOLE = r"\bNone\b|\{\{|\}\}|\{%|\b(?:Hi|Dear) ?,|“”|\( *\)|: *$|\s,(?=\s)| \.(?=\s)|[,!?]\.|(?<!\.)\.\.(?!\.)"


def samples(*channels: str) -> list:
    return [
        pytest.param((template, sample), id=f"{template.file}-{sample}")
        for template in declared()
        for sample in template.samples
        if not channels or template.channel in channels
    ]


def rendered_by(param: tuple[Declared, str]) -> tuple[Declared, Rendered]:
    template, sample = param
    return template, render(template.name, template.samples[sample], template.channel)


@pytest.fixture(params=samples("email"))
def shown(request: pytest.FixtureRequest) -> tuple[Declared, Rendered, BeautifulSoup]:
    template, rendered = rendered_by(request.param)
    return template, rendered, BeautifulSoup(rendered.html, "html.parser")


@pytest.fixture(params=samples("sms", "call", "note", "gift", "mail"))
def plain(request: pytest.FixtureRequest) -> tuple[Declared, Rendered]:
    return rendered_by(request.param)


@pytest.fixture(params=samples("sms"))
def sms(request: pytest.FixtureRequest) -> tuple[Declared, Rendered]:
    return rendered_by(request.param)


@pytest.fixture(params=samples("call"))
def call(request: pytest.FixtureRequest) -> Rendered:
    return rendered_by(request.param)[1]


@pytest.fixture(params=samples("note", "gift", "mail"))
def paper(request: pytest.FixtureRequest) -> tuple[str, str, Rendered]:
    template, rendered = rendered_by(request.param)
    first_name = template.samples[request.param[1]].get("first_name")
    return template.channel, f"Dear {first_name}," if first_name else "Hello,", rendered


def paragraphs(words: str) -> list[str]:
    return words.strip().split("\n\n")


def visible(page: BeautifulSoup) -> str:
    copy = BeautifulSoup(str(page), "html.parser")
    for hidden in copy(["style", "script"]):
        hidden.decompose()
    return " ".join(copy.get_text().split())


def test_nothing_is_left_unfilled(shown):
    _, rendered, page = shown
    for part in (rendered.subject, rendered.preheader, rendered.text, visible(page)):
        assert not re.search(HOLE, part)


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
    in_text = set(re.findall(URL, rendered.text))
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
    ways_out = {"https://hub.example.com/u/sample-token", "https://hub.example.com/p/sample-token"}
    assert links & ways_out == (set() if template.purpose == "transactional" else ways_out)
    address = next(iter(template.samples.values()))["brand"]["address"]
    assert "You get this because" in rendered.text
    assert address in rendered.text
    assert address in visible(page)


def test_other_channels_have_words_alone_and_no_holes(plain):
    _, rendered = plain
    assert (rendered.html, rendered.preheader) == (None, "")
    for part in (rendered.subject, rendered.text):
        assert not re.search(HOLE, part)
        assert "  " not in part
    assert "\n\n\n" not in rendered.text
    assert not re.search(r"[ \t]$", rendered.text, re.MULTILINE)
    assert 0 < len(rendered.subject) <= 110
    assert rendered.subject.isprintable()
    assert "Stop these e-mails" not in rendered.text


def test_an_sms_says_who_writes_and_how_to_end_it(sms):
    template, rendered = sms
    words = rendered.text.removesuffix("\n")
    assert words.startswith("Fernhill Studio: ")
    assert words.endswith(" Reply STOP to end.") is (template.purpose != "transactional")
    assert "\n" not in words
    assert len(words) <= 300
    assert set(words) <= gsm.ALPHABET


def test_a_call_is_told_why_what_is_known_what_to_say_and_what_not(call):
    parts = re.split(r"(?m)^(WHY NOW|WHAT WE KNOW|WHAT TO SAY|WHAT TO LEAVE OUT)$", call.text)
    assert parts[0] == ""
    assert parts[1::2] == ["WHY NOW", "WHAT WE KNOW", "WHAT TO SAY", "WHAT TO LEAVE OUT"]
    why, known, say, avoid = (part.strip() for part in parts[2::2])
    assert len(paragraphs(why)) == 1
    assert known.startswith("* ")
    assert say.startswith("1. ")
    assert avoid.startswith("* ")


def test_paper_greets_signs_off_and_links_nowhere(paper):
    channel, greeting, rendered = paper
    before, found, card = rendered.text.partition(f"{greeting}\n\n")
    assert found
    assert card.endswith("all of us at Fernhill Studio\n")
    assert not re.search(URL, rendered.text)
    if channel == "note":
        assert before == ""
    if channel == "gift":
        assert re.fullmatch(r"WHAT TO GIVE\n\n.+\n\nTHE CARD WITH IT\n\n", before, re.DOTALL)
    if channel == "mail":
        assert before == "Fernhill Studio\n12 Mill Lane, Fernhill FH1 2AB\n\n"
    else:
        assert 25 <= len(card.split()) <= 90, "what a hand can write on a card"


def test_every_template_has_a_sample_with_as_little_as_it_can_do_with():
    for template in declared():
        required = {name for name, need in template.context.items() if need.fallback is None}
        assert set(template.samples["bare"]) == required, template.name


def test_the_public_names_and_their_purposes():
    named = {(template.name, template.channel, template.purpose) for template in declared()}
    promised = {
        ("email", "promotional"): [
            *("welcome", "welcome_second", "welcome_third"),
            *("nurture_clarity", "nurture_proof", "nurture_reminder"),
            *("checkout_reminder", "checkout_help", "checkout_last"),
            "vip_invitation",
        ],
        ("email", "lifecycle"): [
            *("onboarding_first_step", "onboarding_week_one", "onboarding_week_two", "onboarding_month"),
            *("moment_contract_signed", "moment_first_value", "moment_milestone"),
            *("moment_success", "moment_help_received", "vip_welcome"),
        ],
        ("call", "promotional"): ["call_account_checkin"],
        ("call", "lifecycle"): [
            *("call_new_lead", "call_no_show", "call_renewal"),
            *("call_at_risk", "call_vip_review", "call_low_csat"),
        ],
        ("sms", "lifecycle"): ["missed_call", "meeting_reminder"],
        ("note", "lifecycle"): ["note_contract_signed", "note_help_received", "note_milestone"],
        ("gift", "lifecycle"): ["gift_first_value", "gift_anniversary"],
        ("mail", "lifecycle"): ["letter_thank_you"],
    }
    assert {(name, *kind) for kind, names in promised.items() for name in names} <= named
