"""An address in the data of an event is one we can write to, the same as the identity it is; or it is kept as text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts.events import event, identity
from contacts.facts import Facts, apply
from contacts.intake import Intake
from contacts.policy import Policy
from contacts.runs import envelope
from contacts.specs import Happening
from tests.contacts.support import START, at, facts_of, told


def data(**given: Any) -> dict[str, Any]:
    return event("contact.updated", source="tests", source_id="1", occurred_at=START, data=given).data


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"phone": "+1 (415) 555-2671"}, {"phone": "+14155552671"}),
        ({"phone": " +49 30 901820\n"}, {"phone": "+4930901820"}),
        ({"email": " Alice@Example.com "}, {"email": "alice@example.com"}),
        ({"phone": "(415) 555-2671"}, {"phone_as_given": "(415) 555-2671"}),
        ({"phone": 4930901820}, {"phone_as_given": "4930901820"}),
        ({"phone": "ask Bob"}, {"phone_as_given": "ask Bob"}),
        ({"email": "alice at example"}, {"email_as_given": "alice at example"}),
        ({"email": "n/a", "phone": "+4930901820"}, {"email_as_given": "n/a", "phone": "+4930901820"}),
        ({"phone": "", "email": "  "}, {}),
        ({"phone": None}, {}),
    ],
)
def test_what_can_be_written_to_is_an_address_and_the_rest_is_kept(given: dict[str, Any], kept: dict[str, str]) -> None:
    assert data(**given, name="Alice") == {**kept, "name": "Alice"}


@given(st.fixed_dictionaries({}, optional={"email": st.text(), "phone": st.text() | st.integers()}))
def test_an_address_is_what_its_identity_is_and_reading_it_again_changes_nothing(given: dict[str, Any]) -> None:
    once = data(**given)
    assert data(**once) == once
    for kind, value in given.items():
        known = identity(kind, str(value).replace("\x00", ""))
        assert once.get(kind) == (known.value if known else None)
        text = str(value).replace("\x00", "").strip()
        assert once.get(f"{kind}_as_given") == (None if known or not text else text)


async def test_a_number_as_its_vendor_writes_it_is_the_one_a_message_goes_to(
    engine: AsyncEngine, intake: Intake
) -> None:
    who = {"stripe": "cus_1", "phone": "+1 (415) 555-2671"}
    await intake.record(told("contact.updated", who=who, phone="+1 (415) 555-2671"), START)
    assert (await facts_of(engine, "cus_1")).address("sms") == "+14155552671"


async def test_a_number_without_its_country_is_no_address_and_hides_none(engine: AsyncEngine, intake: Intake) -> None:
    await intake.record(told("contact.updated", at(1), phone="030 901820"), at(1))
    facts = await facts_of(engine)
    assert (facts.address("sms"), facts.telephone) == (None, "030 901820")
    await intake.record(told("contact.updated", phone="+4930901820"), at(2))
    facts = await facts_of(engine)
    assert (facts.address("sms"), facts.telephone) == ("+4930901820", "+4930901820")


def test_what_was_given_stays_out_of_the_histories() -> None:
    given = data(phone="030 901820", email="n/a", plan="pro")
    assert envelope(Happening("e-1", "contact.updated", START, given))["data"] == {"plan": "pro"}


def test_a_number_from_before_is_written_to_all_the_same(policy: Policy) -> None:
    """Its events have it as the vendor wrote it, and as such it bounced."""
    old = Happening("e-1", "contact.updated", START, {"phone": "+1 (415) 555-2671"})
    refused = {"channel": "sms", "address": "+1 (415) 555-2671", "permanent": True}
    facts = apply(apply(Facts("c-1"), old, policy), Happening("e-2", "message.bounced", START, refused), policy)
    address = facts.address("sms")
    assert address == "+14155552671"
    assert facts.suppression("sms", address) is None
    local = Happening("e-1", "contact.updated", START, {"phone": "030 901820"})
    assert apply(Facts("c-1"), local, policy).address("sms") == "030 901820"
