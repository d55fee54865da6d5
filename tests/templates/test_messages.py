"""Every message that ships, in every sample context, looked at as its reader and a screen reader would."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Comment, Tag

from templates import content, gsm
from templates.render import Declared, MissingContext, Rendered, declared, render

FOLDER = Path(content.__file__).parents[1]

URL = r"https?://[^\s)]+"
HOLE = r"\bNone\b|\{\{|\}\}|\{%|\b(?:Hi|Dear) ?,|“”|\( *\)|: *$|\s,(?=\s)| \.(?=\s)|[,!?]\.|(?<!\.)\.\.(?!\.)"


def samples(*channels: str) -> list:
    return [
        pytest.param((template, sample), id=f"{template.file}-{sample}")
        for template in declared()
        for sample in template.samples
        if not channels or template.channel in channels
    ]


_RENDERED: dict[tuple[str, str], Rendered] = {}


def rendered_by(param: tuple[Declared, str]) -> tuple[Declared, Rendered]:
    template, sample = param
    if (template.file, sample) not in _RENDERED:
        _RENDERED[template.file, sample] = render(template.name, template.samples[sample], template.channel)
    return template, _RENDERED[template.file, sample]


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


def test_headings_go_down_one_step_at_a_time(shown):
    _, _, page = shown
    levels = [int(heading.name[1]) for heading in page(re.compile("^h[1-6]$"))]
    assert levels[:1] == [1]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(heading.get_text(strip=True) for heading in page(re.compile("^h[1-6]$")))


def test_a_link_says_where_it_leads(shown):
    _, _, page = shown
    for a in page("a"):
        assert not re.fullmatch(
            r"(?i)(click )?(here|this|this page|more|read more|link|https?://.*)", a.get_text(" ", strip=True)
        )
    by_words = {a.get_text(" ", strip=True): a["href"] for a in page("a")}
    assert all(by_words[a.get_text(" ", strip=True)] == a["href"] for a in page("a")), "two links, one name"


def test_tables_that_hold_the_layout_are_not_read_out(shown):
    _, _, page = shown
    assert all(table.get("role") == "presentation" for table in page("table") if table("table"))


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def styled(element: Tag, *properties: str) -> str | None:
    """The nearest value of one of the properties, on the element or around it."""
    for around in (element, *element.parents):
        for name in properties:
            found = re.search(rf"(?:^|;)\s*{name}:\s*(#[0-9a-f]{{6}})", around.get("style", "") if around.name else "")
            if found:
                return found[1]
    return None


def test_words_stand_out_from_what_is_behind_them(shown):
    _, _, page = shown
    for words in page.body.find_all(string=lambda s: s.strip() and not isinstance(s, Comment)):
        if "display:none" in words.parent.get("style", ""):
            continue
        colour, behind = styled(words.parent, "color"), styled(words.parent, "background", "background-color")
        assert colour and behind, words
        assert contrast(colour, behind) >= 4.5, (words, colour, behind)


def test_words_stand_out_in_the_dark_too():
    css = (FOLDER / "layout" / "mjml" / "layout.j2").read_text().partition("prefers-color-scheme: dark")[2]
    css = css.partition("</mj-style>")[0]
    behind = set(re.findall(r"background: (#[0-9a-f]{6})", css))
    words = set(re.findall(r"(?<![\w-])color: (#[0-9a-f]{6})", css))
    assert len(behind) == 2 and len(words) == 3
    assert all(contrast(colour, ground) >= 4.5 for colour in words for ground in behind)


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
    assert (rendered.card is not None) == rendered.text.startswith("WHAT TO GIVE")
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
        assert rendered.card == f"{greeting}\n\n{card.strip()}", "what goes with a gift is what a colleague reads"
    if channel == "mail":
        assert before == "Fernhill Studio\n12 Mill Lane, Fernhill FH1 2AB\n\n"
    else:
        assert 25 <= len(card.split()) <= 90, "what a hand can write on a card"


def thinned(template: Declared) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sample less one optional value, or less one part of one, with a name for what is gone."""
    for sample, facts in template.samples.items():
        for name, value in facts.items():
            rest = {k: v for k, v in facts.items() if k != name}
            if name in template.context and template.context[name].fallback is not None:
                yield f"{sample} less {name}", rest
            if isinstance(value, dict) and name not in ("brand", "event"):
                for part in value:
                    yield f"{sample} less {name}.{part}", {**rest, name: {k: v for k, v in value.items() if k != part}}


@pytest.mark.parametrize("template", declared(), ids=lambda template: template.name)
def test_a_value_that_is_missing_leaves_no_hole(template):
    for what, context in thinned(template):
        try:
            rendered = render(template.name, context, template.channel)
        except MissingContext as refused:
            # A message that is about the one thing whose heart is gone is not sent.
            assert template.context[refused.name].fallback is None, what
            continue
        page = visible(BeautifulSoup(rendered.html or "", "html.parser"))
        for part in (rendered.subject, rendered.preheader, rendered.text, page):
            assert not re.search(HOLE, part), what
        assert 0 < len(rendered.subject) <= 110, what


# What is said of them by somebody who has been watching, and not of what they told us, bought or asked for.
WATCHED = r"""(?xi) \bwe (?:\ (?:have|can))? \ (?:saw|see|seen|noticed|watched|tracked|know) \ (?:that\ )?(?:you|it)\b
  | \byou (?:\ (?:have|had))? (?:\ (?:not|never))?
    \ (?:looked\ at|viewed|browsed|visited|clicked|opened|logged|scrolled)\b
  | \byour \ (?:visits?|clicks?|opens?|behaviou?r|activity|browsing)\b"""


@pytest.mark.parametrize("template", [t for t in declared() if t.channel != "call"], ids=lambda t: t.name)
def test_nobody_is_told_that_they_were_watched(template):
    for sample in template.samples:
        _, rendered = rendered_by((template, sample))
        words = " ".join(f"{rendered.subject} {rendered.preheader} {rendered.text}".split())
        assert not (found := re.search(WATCHED, words)), (sample, found)


@pytest.mark.parametrize("template", declared(), ids=lambda template: template.name)
def test_a_subject_says_what_is_in_the_message(template):
    for sample in template.samples:
        subject = rendered_by((template, sample))[1].subject
        assert not re.match(r"(?i)(re|fwd?|aw)\s*:", subject), sample
        assert not re.search(
            r"(?i)\b(urgent|act now|last chance|hurry|only today|expires? (today|soon)|final notice)\b|!|%", subject
        )
        assert subject != subject.upper()


def test_every_template_has_a_sample_with_as_little_as_it_can_do_with():
    for template in declared():
        required = {name for name, need in template.context.items() if need.fallback is None}
        assert set(template.samples["bare"]) == required, template.name


def test_the_page_on_messages_lists_each_with_what_it_is_told():
    page = (FOLDER.parent / "docs" / "templates.md").read_text()
    for template in declared():
        channels = rf"[a-z, ]*\b{template.channel}\b[a-z, ]*"
        row = re.search(rf"^\| `{template.name}` \| {channels} \| {template.purpose} \|([^|]*)\|([^|]*)\|$", page, re.M)
        assert row, template.name
        everybodys = {"brand", "first_name", "standing", "answers", "unsubscribe_url", "preferences_url"}
        own = {name: need for name, need in template.context.items() if name not in everybodys}
        needs = {name for name, need in own.items() if need.fallback is None}
        assert [set(re.findall(r"`(\w+)`", cell)) for cell in row.groups()] == [needs, set(own) - needs], template.name


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
            *("moment_success", "vip_welcome"),
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
