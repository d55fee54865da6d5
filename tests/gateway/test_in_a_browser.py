"""The pages a contact sees and the mails they read, in a real browser, narrow and wide."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, async_playwright

from contacts import preferences
from contacts.events import event, identities
from door.door import Door
from settings import Settings
from templates.render import declared, render
from tests.gateway.support import NOW, PUBLIC_URL, Stored, unique

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = (360, 900)
# Text of an element's own that is too small to read; the preheader is meant to be out of sight.
TINY = """[...document.querySelectorAll('body *')].some(e =>
  [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
  && e.offsetHeight > 2 && parseFloat(getComputedStyle(e).fontSize) < 12)"""
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


PAGE_WIDTHS = (320, 900)


@pytest.fixture(params=PAGE_WIDTHS, ids="{}px".format)
async def page(browser: Browser, client: httpx.AsyncClient, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A page whose every request is answered by the real app; nothing else can be reached."""
    page = await browser.new_page(viewport={"width": request.param, "height": 800})

    async def answer(route: Route) -> None:
        asked = route.request
        given = await client.request(
            asked.method, asked.url, content=asked.post_data_buffer, headers=await asked.all_headers()
        )
        await route.fulfill(status=given.status_code, headers=dict(given.headers), body=given.content)

    await page.route("**/*", answer)
    yield page
    await page.close()


@pytest.fixture
async def links(door: Door, settings: Settings) -> tuple[str, dict[str, str]]:
    """A reader who allowed promotion, and the links in their mail."""
    email, contact_id = f"{unique()}@example.com", ""
    for type, data in (
        ("contact.identified", {"email": email, "phone": "+4930901820"}),
        ("consent.granted", {"channel": "email", "purpose": "promotional"}),
    ):
        whose = identities(("email", email))
        fact = event(type, source="t", source_id=unique(), occurred_at=NOW, identities=whose, data=data)
        contact_id = (await door.intake.record(fact, NOW)).contact_id or ""
    touch = unique("touch")
    return email, preferences.links(settings.secret, settings.public_url, contact_id, "email", "promotional", touch)


async def test_one_press_of_the_button_unsubscribes(
    page: Page, links: tuple[str, dict[str, str]], stored: Stored
) -> None:
    email, urls = links
    await page.goto(urls["unsubscribe_url"])
    assert not await page.evaluate(OVERFLOWS)
    assert (await stored.consent("email", email))["email/promotional"] is True
    await page.get_by_role("button", name="Unsubscribe").click()
    await page.wait_for_load_state()
    assert (await stored.consent("email", email))["email/promotional"] is False
    assert not await page.evaluate(OVERFLOWS)


async def test_a_box_that_is_unticked_and_saved_is_a_refusal(
    page: Page, links: tuple[str, dict[str, str]], stored: Stored
) -> None:
    email, urls = links
    await page.goto(urls["preferences_url"])
    assert not await page.evaluate(OVERFLOWS)
    await page.locator("input[type=checkbox][value='email/promotional']").uncheck()
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_load_state()
    assert (await stored.consent("email", email))["email/promotional"] is False
    assert not await page.locator("input[type=checkbox][value='email/promotional']").is_checked()


async def test_wishes_are_said_without_script_and_confirmed(
    page: Page, links: tuple[str, dict[str, str]], stored: Stored
) -> None:
    email, urls = links
    await page.goto(urls["preferences_url"])
    await page.get_by_label("Being found in search").check()
    # Radios are grouped by their legends, so each can be told from one of the same name.
    await page.get_by_role("group", name="How often").get_by_label("Monthly").check()
    where = page.get_by_role("group", name="Where you would rather hear from us")
    await where.get_by_label("Text messages").check()
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_load_state()
    note = await page.get_by_role("status").inner_text()
    assert "Saved, and it holds at once." in note
    assert "We write about: Being found in search." in note
    assert (await page.title()).startswith("Saved: ")
    assert not await page.evaluate(OVERFLOWS)
    profile = (await stored.facts("email", email))["profile"]
    assert [profile[n]["value"] for n in ("topics", "frequency", "preferred_channel")] == [["seo"], "monthly", "sms"]


async def test_a_break_is_taken_and_ended_by_the_keyboard(
    page: Page, links: tuple[str, dict[str, str]], stored: Stored
) -> None:
    email, urls = links
    await page.goto(urls["preferences_url"])
    length = page.get_by_label("How long")
    await length.select_option("90")
    await length.focus()
    await page.keyboard.press("Tab")
    focused = "getComputedStyle(document.activeElement).outlineStyle + document.activeElement.innerText"
    assert await page.evaluate(focused) == "solidTake a break"
    await page.keyboard.press("Enter")
    await page.wait_for_load_state()
    assert "until 31 May 2026" in await page.get_by_role("status").inner_text()
    assert not await page.evaluate(OVERFLOWS)
    assert "pause:-" in (await stored.facts("email", email))["holds"]
    await page.get_by_role("button", name="End the break now").press("Enter")
    await page.wait_for_load_state()
    assert "Welcome back." in await page.get_by_role("status").inner_text()


async def test_every_field_has_its_words_and_nothing_is_tiny(page: Page, links: tuple[str, dict[str, str]]) -> None:
    await page.goto(links[1]["preferences_url"])
    unnamed = "[...document.querySelectorAll('input:not([type=hidden]), select')].filter(e => !e.labels.length).length"
    assert await page.evaluate(unnamed) == 0
    assert await page.evaluate("document.querySelectorAll('fieldset').length") == await page.locator("legend").count()
    assert await page.evaluate("document.documentElement.lang") == "en"
    dangling = """[...document.querySelectorAll('[aria-describedby]')]
      .filter(e => !document.getElementById(e.getAttribute('aria-describedby'))).length"""
    assert await page.evaluate(dangling) == 0
    assert not await page.evaluate(TINY)
    # A finger hits 24 pixels at least: the whole label can be pressed.
    small = "[...document.querySelectorAll('label.box, button, select')].some(e => e.offsetHeight < 24)"
    assert not await page.evaluate(small)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_what_they_are_on_by_day_and_by_night() -> None:
    css = (Path(__file__).parents[2] / "door/pages/base.html").read_text(encoding="utf-8")
    palettes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block)) for block in re.findall(r":root {[^}]*}", css)]
    assert len(palettes) == 2
    for palette in palettes:
        on = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("page", "card", "note")]
        for ink, ground in [*on, ("on-accent", "accent")]:
            light, dark = sorted((luminance(palette[ink]), luminance(palette[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground, palette)


@pytest.mark.parametrize("template", ["welcome", "checkout_reminder", "onboarding_first_step"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_a_mail_fits_its_window(browser: Browser, template: str, width: int) -> None:
    page = await browser.new_page(viewport={"width": width, "height": 900})
    try:
        for sample in next(d for d in declared() if d.name == template).samples.values():
            mail = render(template, sample)
            await page.set_content(mail.html)
            assert not await page.evaluate(OVERFLOWS), sample
            assert await page.locator("h1").count() == 1
            assert await page.locator("a", has_text="Stop these e-mails").is_visible()
            assert not await page.evaluate(TINY), sample
    finally:
        await page.close()


def test_the_links_are_those_of_the_front_door(links: tuple[str, dict[str, str]]) -> None:
    assert all(url.startswith(PUBLIC_URL) for url in links[1].values())
