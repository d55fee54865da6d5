"""The pages a contact sees and the mails they read, in a real browser, narrow and wide."""

import shutil
from collections.abc import AsyncIterator

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


@pytest.fixture(params=WIDTHS, ids="{}px".format)
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
        ("contact.identified", {"email": email}),
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
