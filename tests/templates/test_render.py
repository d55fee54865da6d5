import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

import templates.content
from templates.render import MissingContext, TemplateError, Templates, UnknownTemplate, declared, render

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
        return {template.name: template.fingerprint for template in Templates(folder).declared()}

    first = prints()
    assert first == {template.name: template.fingerprint for template in declared()}
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


@pytest.mark.parametrize("hole", ["{{ nickname }}", "{{ topic.nickname }}", "{{ none }}"])
def test_copy_cannot_print_what_is_not_there(folder, hole):
    edit(folder / "messages" / "welcome.j2", "Stuck somewhere", hole)
    with pytest.raises(TemplateError, match=r"welcome\.j2"):
        Templates(folder).render("welcome", FRAME)
