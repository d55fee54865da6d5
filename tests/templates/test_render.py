import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

import templates.content
from templates import gsm
from templates.render import SMS_LIMIT, MissingContext, TemplateError, Templates, UnknownTemplate, declared, render

SHIPPED = Path(templates.content.__file__).parents[1]
FRAME = {
    "brand": {"name": "Fernhill Studio", "address": "12 Mill Lane", "url": "https://www.example.com"},
    "unsubscribe_url": "https://hub.example.com/u/1",
    "preferences_url": "https://hub.example.com/p/1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "templates"))


def edit(file: Path, old: str, new: str) -> None:
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, new))


def test_welcome_names_what_they_came_for_and_the_next_two():
    mail = render("welcome", {**FRAME, "topic": "seo", "resource": "search-words-worksheet"})
    assert "The Search Words Worksheet" in mail.subject
    offered = [line for line in mail.text.splitlines() if line.startswith("* ")]
    assert offered == ["* The Small Shop SEO Guide", "* Product Page Teardown"]


def test_welcome_names_a_thing_it_does_not_know():
    mail = render("welcome", {**FRAME, "topic": "checkout", "resource": "dns-checklist_2026"})
    assert "You came for “DNS checklist 2026”." in mail.text


def test_welcome_finds_the_topic_by_the_resource():
    mail = render("welcome", {**FRAME, "resource": "tracking-audit"})
    assert "The One-Page Dashboard" in mail.text


def test_welcome_thanks_by_entry_point():
    mail = render("welcome", {**FRAME, "topic": "seo", "entry_point": "webinar.registered"})
    assert "Thank you for signing up for our session." in mail.text


@pytest.mark.parametrize("name", [None, "", "  ", 7, "www.win-a-prize.example", "{{ name }}", "<b>", "x" * 41, "4711"])
def test_a_name_that_is_none_is_not_greeted(name):
    assert "\nHello,\n" in render("welcome", {**FRAME, "first_name": name}).text


@pytest.mark.parametrize("name", ["Alice", "Jean-Luc", "O'Brien", "María José", "Nguyễn", "प्रिया", "J."])
def test_a_name_is_greeted(name):
    assert f"\nHi {name},\n" in render("welcome", {**FRAME, "first_name": name}).text


@pytest.mark.parametrize("name", ["brand", "unsubscribe_url", "preferences_url"])
def test_a_missing_value_without_fallback_is_named(name):
    with pytest.raises(MissingContext) as refused:
        render("welcome", {key: value for key, value in FRAME.items() if key != name})
    assert (refused.value.template, refused.value.name) == ("welcome", name)
    assert "welcome" in str(refused.value) and name in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "javascript:alert(1)", "/relative", "https://", 'https://e.example/"x', "https://e.example/ x", 5]
)
def test_a_link_that_is_none_is_refused(url):
    with pytest.raises(MissingContext, match="unsubscribe_url"):
        render("welcome", {**FRAME, "unsubscribe_url": url})


def test_a_half_known_brand_is_refused():
    with pytest.raises(MissingContext, match="brand"):
        render("welcome", {**FRAME, "brand": {"name": "Fernhill Studio", "url": "https://www.example.com"}})


def test_an_unknown_template_is_refused_with_the_known_ones():
    with pytest.raises(UnknownTemplate, match=r"wellcome: .* welcome,"):
        render("wellcome", FRAME)


def test_cart_shows_items_and_amounts_and_the_way_back():
    checkout = {
        "items": [{"name": "Tea & <cake>", "quantity": 2, "amount": 1250}],
        "value": 1250,
        "currency": "eur",
        "url": "https://shop.example.com/cart/1?a=1&b=2",
    }
    mail = render("checkout_reminder", {**FRAME, "checkout": checkout})
    assert "Tea & <cake> × 2: €12.50\nTotal: €12.50\n" in mail.text
    page = BeautifulSoup(mail.html, "html.parser")
    assert page.find("a", href=checkout["url"])
    cells = [cell.get_text() for cell in page.find("td", string="Total").find_parent("table")("td")]
    assert cells == ["Tea & <cake> × 2", "€12.50", "Total", "€12.50"]


def test_cart_of_unusable_parts_still_reads_well():
    checkout = {"items": [None, 3, {}, {"name": ""}, {"quantity": 2}], "value": 12.5, "currency": "EURO", "url": "x"}
    mail = render("checkout_reminder", {**FRAME, "checkout": checkout})
    assert "Total" not in mail.text
    assert "Go back to the shop: https://www.example.com" in mail.text


def test_long_carts_are_cut_short():
    items = [{"name": f"Thing {n}"} for n in range(20)]
    mail = render("checkout_reminder", {**FRAME, "checkout": {"items": items}})
    assert "Thing 7\nand 12 more\n" in mail.text


def test_onboarding_needs_the_order():
    with pytest.raises(MissingContext, match="order"):
        render("onboarding_month", FRAME)


def test_values_cannot_break_out_of_the_page():
    mail = render("welcome", {**FRAME, "resource": '"><script>alert(1)</script></mj-text>', "topic": "seo"})
    assert not BeautifulSoup(mail.html, "html.parser")("script")
    assert '"><script>' in mail.text


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text()))
            for name in ("first_name", "topic", "resource", "entry_point", "checkout", "unknown")
        },
    )
)
@settings(max_examples=50, deadline=None)
def test_junk_in_a_context_is_rendered_or_refused(context):
    mail = render("welcome", {**FRAME, **context})
    assert mail.subject.isprintable()
    page = BeautifulSoup(mail.html, "html.parser")
    assert len(page("h1")) == 1
    assert not page("script")


def test_a_transactional_message_needs_and_shows_no_way_out(folder):
    edit(folder / "messages" / "onboarding_month.toml", 'purpose = "lifecycle"', 'purpose = "transactional"')
    mail = Templates(folder).render("onboarding_month", {"brand": FRAME["brand"], "order": {}})
    assert "Stop these e-mails" not in mail.text + mail.html
    assert "Choose what we send you" not in mail.text + mail.html


def test_fingerprint_follows_every_source(folder):
    def prints() -> dict[str, str]:
        return {template.file: template.fingerprint for template in Templates(folder).declared()}

    first = prints()
    assert first == {template.file: template.fingerprint for template in declared()}
    edit(folder / "messages" / "welcome.j2", "Stuck somewhere", "Stuck")
    second = prints()
    assert {name for name in first if first[name] != second[name]} == {"welcome"}
    edit(folder / "layout" / "text" / "layout.j2", "Warmly", "Yours")
    third = prints()
    assert all(second[name] != third[name] for name in third)


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("welcome.toml", 'purpose = "promotional"', 'purpose = "spam"', r"welcome\.toml: purpose"),
        ("welcome.toml", 'channel = "email"', "channel =", r"welcome\.toml: "),
        ("welcome.toml", 'type = "resource"', 'type = "song"', r"welcome\.toml: context\.resource\.type"),
        ("welcome.j2", "{% endcall %}", "{% endcal %}", r"welcome\.j2: line \d+"),
        ("missed_call.sms.j2", "{% endblock %}", "{% endblok %}", r"missed_call\.sms\.j2: line \d+"),
        ("welcome.toml", 'channel = "email"', 'channel = "sms"', r"welcome\.toml: .*preheader"),
        ("missed_call.sms.toml", 'channel = "sms"', 'channel = "email"', r"missed_call\.sms\.toml: .*preheader"),
    ],
)
def test_a_broken_file_is_named_when_read(folder, file, old, new, complaint):
    edit(folder / "messages" / file, old, new)
    with pytest.raises(TemplateError, match=complaint):
        Templates(folder)


def test_a_message_without_copy_is_named_when_read(folder):
    (folder / "messages" / "welcome.j2").unlink()
    with pytest.raises(TemplateError, match=r"welcome\.toml: there is no welcome\.j2"):
        Templates(folder)


@pytest.mark.parametrize(
    ("file", "left_out"),
    [("missed_call.sms", "body"), ("call_at_risk", "avoid"), ("note_milestone", "body"), ("gift_anniversary", "card")],
)
def test_copy_fills_every_part_of_its_channel(folder, file, left_out):
    edit(folder / "messages" / f"{file}.j2", f"{{% block {left_out} %}}", "{% block other %}")
    name, _, channel = file.partition(".")
    with pytest.raises(TemplateError, match=rf"{file}\.j2: .*{left_out}"):
        Templates(folder).render(name, {"brand": FRAME["brand"]}, channel or None)


def test_a_card_with_a_hole_is_refused(folder):
    edit(folder / "messages" / "gift_first_value.j2", "Put your feet up", "Put {{ what }} up")
    with pytest.raises(TemplateError, match=r"gift_first_value\.j2 uses what it does not declare: 'what'"):
        Templates(folder).render("gift_first_value", {"brand": FRAME["brand"]})


def test_a_card_is_refused_without_a_value_it_cannot_do_without(folder):
    edit(folder / "messages" / "gift_first_value.toml", 'type = "milestone", fallback = ""', 'type = "milestone"')
    with pytest.raises(MissingContext, match="milestone"):
        Templates(folder).render("gift_first_value", {"brand": FRAME["brand"]})


def test_a_change_of_the_cards_layout_is_a_change_of_the_gift(folder):
    before = Templates(folder).render("gift_first_value", {"brand": FRAME["brand"]})
    edit(folder / "layout" / "card" / "layout.j2", "Warmly", "Yours")
    after = Templates(folder).render("gift_first_value", {"brand": FRAME["brand"]})
    assert "Yours,\nall of us" in after.card
    assert after.card in after.text
    assert before.fingerprint != after.fingerprint


def test_an_sms_that_is_too_long_is_refused(folder):
    edit(folder / "messages" / "missed_call.sms.j2", "sorry", "so sorry " * 40)
    with pytest.raises(TemplateError, match=r"missed_call\.sms\.j2: .* 300"):
        Templates(folder).render("missed_call", {"brand": FRAME["brand"]}, "sms")


def test_a_transactional_sms_needs_no_way_out(folder):
    for file in ("missed_call.toml", "missed_call.sms.toml"):
        edit(folder / "messages" / file, 'purpose = "lifecycle"', 'purpose = "transactional"')
    assert "STOP" not in Templates(folder).render("missed_call", {"brand": FRAME["brand"]}, "sms").text


@pytest.mark.parametrize("brand", [1, 30, 31, 200])
@pytest.mark.parametrize("name", [1, 40])
@pytest.mark.parametrize("url", [30, 85, 86, 500])
def test_an_sms_fits_however_long_what_goes_in(brand, name, url):
    facts = {
        "brand": {**FRAME["brand"], "name": "B" * brand},
        "first_name": "N" * name,
        "meeting": {"starts_at": "2026-09-30T10:30:00+05:30", "url": "https://meet.example.com/".ljust(url, "x")},
    }
    for template in ("missed_call", "meeting_reminder"):
        text = render(template, facts, "sms").text.rstrip()
        assert len(text) <= SMS_LIMIT
        assert "N" * name in text
        assert text.endswith(" Reply STOP to end.")


def test_an_sms_is_written_in_its_alphabet_where_a_name_can_be():
    facts = {"brand": {**FRAME["brand"], "name": "Söhne “&” Co – …"}}
    assert render("missed_call", {**facts, "first_name": "Nguyễn"}, "sms").text.startswith(
        'Söhne "&" Co - ...: Hi Nguyen, you called'
    )
    name_of_its_own = render("missed_call", {**facts, "first_name": "प्रिया"}, "sms").text
    assert set(name_of_its_own) - gsm.ALPHABET == set("प्रिया")


def test_a_meeting_is_told_in_the_contacts_own_time():
    meeting = {"starts_at": "2026-07-14T22:30:00Z"}
    facts = {**FRAME, "meeting": meeting}
    assert (
        "Wednesday 15 July at 00:30 CEST."
        in render("meeting_reminder", {**facts, "timezone": "Europe/Berlin"}, "sms").text
    )
    assert (
        "Tuesday 14 July at 19:30 UTC-03."
        in render("meeting_reminder", {**facts, "timezone": "America/Sao_Paulo"}, "sms").text
    )
    for zone in (None, "", "Mars/Olympus", "../etc/passwd", "America", 5):
        assert "Tuesday 14 July at 22:30 UTC." in render("meeting_reminder", {**facts, "timezone": zone}, "sms").text


@pytest.mark.parametrize(
    "starts_at", [None, "", "soon", 5, "2026-07-14", "2026-07-14T22:30:00", "0001-01-01T00:00:00+14:00"]
)
def test_a_meeting_whose_time_is_not_sure_is_told_without(starts_at):
    facts = {**FRAME, "timezone": "America/New_York", "meeting": {"starts_at": starts_at}}
    assert ": Our call is coming up. " in render("meeting_reminder", facts, "sms").text


def question_shown(question: object) -> str | None:
    text = render("call_new_lead", {**FRAME, "question": question}).text
    asked = re.search("They asked: “(.*)”", text)
    return asked[1] if asked else None


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("Do you\n\tship to\u202e Malta?", "Do you ship to Malta?"),
        ("<b>How</b> <script src='https://e.example'>long?", "How long?"),
        ("See https://e.example/x, please", "See (link removed) please"),
        ("Is HTTPS://E.EXAMPLE or www.e.example mine?", "Is (link removed) or (link removed) mine?"),
        ("Write to me@e.example or e.example/me", "Write to (link removed) or (link removed)"),
        ("My shop is tables.example.Help!", "My shop is tables. example. Help!"),
        ("From 3.5 to 4 p.m., e.g. and/or?", "From 3.5 to 4 p.m., e.g. and/or?"),
        ("{{ brand }} {% x %}", "brand % x %"),
        ("price < 5", "price 5"),
        ("word " * 100, "word " * 46 + "word…"),
    ],
)
def test_what_a_stranger_wrote_is_shown_without_markup_and_links(question, shown):
    assert question_shown(question) == shown


@pytest.mark.parametrize("question", [None, "", " \n", 7, ["?"], "https://e.example", "<b></b>", "?!", "\u200b"])
def test_what_says_nothing_is_left_out(question):
    assert question_shown(question) is None


@given(st.text(st.sampled_from("ab.:/@<>{}w \n“htps?#\u202e"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_link_and_no_markup_gets_through(question):
    shown = question_shown(question) or ""
    assert not re.search(r"://|[<>{}`]|\w\.[^\W\d_]{2}|\w@\w", shown)
    assert len(shown) <= 240


@pytest.mark.parametrize(
    ("renewal", "days", "shown"),
    [
        ({"date": "2026-05-01"}, 45, "renewal on 1 May 2026, in 45 days."),
        ({"date": "2026-05-01T23:00:00Z"}, "1", "renewal on 1 May 2026, in 1 day."),
        ({"date": date(2026, 5, 1)}, None, "renewal on 1 May 2026."),
        ({"date": "May"}, 45, "renewal in 45 days."),
        ({"date": 20260501}, True, "renewal soon."),
        ([], -3, "renewal soon."),
        (None, "4 weeks", "renewal soon."),
    ],
)
def test_a_renewal_is_told_as_far_as_it_is_known(renewal, days, shown):
    assert shown in render("call_renewal", {**FRAME, "renewal": renewal, "days": days}).text


@pytest.mark.parametrize(
    ("milestone", "shown"),
    [
        ({"name": "orders", "number": 1000}, "1,000 orders!"),
        ({"name": "First order", "number": 1}, "First order!"),
        ({"name": "The shop is open", "number": "many"}, "The shop is open!"),
        ({"number": 1000}, "You have come a long way"),
        ("orders", "You have come a long way"),
    ],
)
def test_a_milestone_is_told_as_far_as_it_is_known(milestone, shown):
    assert shown in render("note_milestone", {**FRAME, "milestone": milestone}).text


ANYTHING = st.one_of(
    *(st.none(), st.text(), st.integers(), st.booleans(), st.floats(), st.lists(st.text())),
    st.dictionaries(
        st.sampled_from(["name", "number", "date", "plan", "value", "currency", "starts_at", "url"]),
        st.one_of(st.none(), st.text(), st.integers(), st.sampled_from(["EUR", "2026-05-01", "2026-05-01T09:00:00Z"])),
    ),
)
WITHOUT_A_PAGE = [(template.name, template.channel) for template in declared() if template.channel != "email"]


@given(
    st.sampled_from(WITHOUT_A_PAGE),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["first_name", "account", "question", "reason", "days", "meeting", "renewal", "milestone", "timezone"],
            ANYTHING,
        ),
    ),
)
@settings(max_examples=200, deadline=None)
def test_junk_for_other_channels_is_rendered_or_refused(version, context):
    template, channel = version
    try:
        message = render(template, {**FRAME, **context}, channel)
    except MissingContext:
        return
    assert message.subject.isprintable()
    assert message.html is None
    assert "  " not in message.text


@pytest.mark.parametrize("hole", ["{{ nickname }}", "{{ topic.nickname }}", "{{ none }}"])
def test_copy_cannot_print_what_is_not_there(folder, hole):
    edit(folder / "messages" / "welcome.j2", "Stuck somewhere", hole)
    with pytest.raises(TemplateError, match=r"welcome\.j2"):
        Templates(folder).render("welcome", FRAME)
