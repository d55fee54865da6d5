"""The page of a contact: the six answers, and what they rest on."""

from datetime import timedelta
from typing import Any

import pytest

from tests.cli.world import NOW, World, ago, failed, perennial, said


@pytest.fixture
def ada(world: World) -> World:
    """Downloaded a guide, was welcomed, and now waits for the second mail of her welcome."""
    world.happens("consent.granted", at=ago(days=4), channel="email", purpose="promotional", evidence="signup form")
    world.happens("contact.identified", at=ago(days=3), email="ada@example.com", first_name="Ada", timezone="UTC")
    world.happens("resource.downloaded", at=ago(days=2), resource="seo-guide", topic="seo")
    noon = ago(days=2).replace(hour=12)
    world.sent(world.asks("welcome", "welcome", at=noon), at=noon)
    until = NOW + timedelta(days=1)
    world.enters("welcome", "deepen", at=ago(days=1), waits_for="resource.downloaded", until=until)
    return world


def shown(who: str = "ada@example.com") -> dict[str, Any]:
    (page,) = said("contact", "show", who)
    return page


def moment(at: Any) -> str:
    return f"{at:%-d %b %Y %H:%M} UTC"


def test_the_six_answers(ada: World) -> None:
    (run,) = shown()["runs"]
    answers = {name: run[name] for name in ("where", "next", "message", "channel", "owner", "success")}
    noon = ago(days=2).replace(hour=12)
    assert answers == {
        "where": f"stage deepen, entered {moment(ago(days=3))} by contact.identified",
        "next": f"waits for resource.downloaded, at most until {moment(NOW + timedelta(days=1))}",
        "message": f"welcome_second, if nothing ends the run before (last: welcome, sent {moment(noon)})",
        "channel": "email",
        "owner": "lifecycle",
        "success": "meeting.booked or purchase.completed; so that the contact gets further with the problem they came "
        "for and knows where to turn next",
    }
    assert (run["journey"], run["stage"]) == ("welcome", "deepen")


def test_a_run_that_waits_for_the_gate_says_for_which_message_and_why(ada: World) -> None:
    ada.happens("ticket.opened", at=ago(hours=3), ticket_id="4711")
    ada.asks("welcome", "welcome_second", at=ago(hours=2))
    page = shown()
    (run,) = page["runs"]
    assert run["next"].startswith("asks the gate again for welcome_second at ")
    assert run["next"].endswith("(hold_ticket)")
    assert run["message"].startswith("welcome_second (last: welcome, sent")
    assert [hold["kind"] + " " + hold["key"] for hold in page["holds"]] == ["ticket 4711"]


def test_a_run_whose_contact_is_with_a_person_says_so(ada: World) -> None:
    ada.happens("page.viewed", at=ago(minutes=50), page="pricing")
    ada.enters("nurture", "hand_over", at=ago(minutes=50), waits_for="the time", until=NOW + timedelta(minutes=10))
    ada.hands_over("nurture", at=ago(minutes=50))
    (run,) = shown()["runs"]
    assert run["next"] == f"waits for sales to take the hand-off, until {moment(NOW + timedelta(minutes=10))}"
    assert run["message"] == "none while a person has the contact"
    assert run["owner"] == "sales, by hand-off; the journey is lifecycle's"


def test_a_run_that_temporal_has_not_taken_up_says_so(world: World) -> None:
    world.happens("checkout.started", at=ago(minutes=1), checkout_id="cart-1")
    (run,) = shown()["runs"]
    assert run["where"].startswith("about to begin (Temporal has not reported yet), entered")
    assert run["next"] == "its first stage, as soon as Temporal takes it up"
    assert (run["journey"], run["key"], run["message"]) == (
        "abandoned-checkout",
        "cart-1",
        "checkout_reminder, if nothing ends the run before",
    )


def test_a_run_that_sleeps_says_when_it_goes_on(ada: World) -> None:
    until = NOW + timedelta(days=2)
    ada.enters("welcome", "prove", at=ago(hours=1), waits_for="the time", until=until)
    (run,) = shown()["runs"]
    assert run["next"] == f"goes on at {moment(until)}"


def test_a_run_without_a_further_message_says_so(ada: World) -> None:
    for n, template in enumerate(("welcome_second", "welcome_third")):
        at = ago(days=1).replace(hour=10 + n)
        ada.sent(ada.asks("welcome", template, at=at), at=at)
    (run,) = shown()["runs"]
    assert run["message"].startswith("none: the journey has no further one")
    assert run["channel"] == "none"


def test_what_we_know_of_the_contact(ada: World) -> None:
    ada.happens("message.bounced", at=ago(hours=5), whose="ada@example.com", permanent=True, address="old@example.com")
    ada.happens("page.viewed", at=ago(hours=4), page="pricing")
    page = shown()
    assert page["contact"] == "ada@example.com"
    assert page["profile"]["first_name"] == "Ada"
    assert [(i["kind"], i["value"]) for i in page["identities"]] == [("email", "ada@example.com")]
    (consent,) = page["consents"]
    assert (consent["channel"], consent["purpose"], consent["granted"]) == ("email", "promotional", True)
    assert consent["evidence"] == "signup form"
    assert [(s["address"], s["reason"]) for s in page["suppressions"]] == [("old@example.com", "bounced")]
    assert page["score"]["points"] == pytest.approx(15 * 0.5 ** (2 / 30) + 41, abs=0.2)
    assert (page["score"]["handoff_at"], page["score"]["hot"]) == (50, True)
    assert page["entry_point"]["type"] == "contact.identified"
    assert page["events"][0]["type"] == "page.viewed"
    assert [(t["template"], t["status"]) for t in page["touches"]] == [("welcome", "sent")]
    assert [(r["journey"], r["outcome"]) for r in page["ended"]] == [("welcome", "exited")]


def test_a_touch_whose_run_ended_first_is_dropped(ada: World) -> None:
    ada.happens("ticket.opened", at=ago(hours=3), ticket_id="4711")
    ada.asks("welcome", "welcome_second", at=ago(hours=2))
    ada.happens("purchase.completed", at=ago(hours=1), order_id="o-1")
    (touch, _) = shown()["touches"]
    assert (touch["status"], touch["reason"]) == ("dropped", "exited")
    assert "dropped (exited)" in perennial("contact", "show", "ada@example.com").stdout


def test_a_contact_is_found_by_any_identity(ada: World) -> None:
    page = shown()
    assert shown(page["contact_id"])["contact_id"] == page["contact_id"]
    assert shown("ADA@example.com")["contact_id"] == page["contact_id"]
    assert failed("contact", "show", "nobody@example.com", status=1) == "no contact 'nobody@example.com'"


def test_a_contact_without_an_address_is_known_by_what_there_is(world: World) -> None:
    world.happens("page.viewed", at=ago(days=1), whose="eve@example.com", page="home")
    assert shown("eve@example.com")["contact"] == "eve@example.com"


@pytest.mark.parametrize("columns", [80, 120])
def test_the_text_fits_the_terminal(ada: World, columns: int) -> None:
    address = "https://www.example.com/" + "a-long-path-without-a-blank/" * 8
    ada.happens("page.viewed", at=ago(hours=1), page="pricing", url=address)
    result = perennial("contact", "show", "ada@example.com", columns=columns)
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= columns
    flat = " ".join(result.stdout.split())
    for part in ("In nurture", "signup form", "welcome exited", "where about to begin"):
        assert part in flat


def test_what_a_contact_typed_cannot_steer_the_terminal(ada: World) -> None:
    ada.happens("contact.updated", at=ago(hours=1), first_name="\x1b]0;mine\x07[red]Ada[/red]\r\u202e")
    result = perennial("contact", "show", "ada@example.com")
    assert "[red]Ada[/red]" in result.stdout
    assert not set("\x1b\x07\r\u202e") & set(result.stdout)
