"""Events by hand: what is typed, what is stored, what it does to runs."""

from typing import Any

import pytest
import sqlalchemy as sa

from contacts import tables
from contacts.events import Identity
from ops.output import Failure
from ops.send import data_of
from tests.cli.world import NOW, World, ago, failed, perennial, said

ADA = "ada@example.com"


def stored(world: World) -> Any:
    (row,) = world.rows(sa.select(tables.events))
    return row


def test_an_event_is_stored_and_starts_a_run(world: World) -> None:
    (answer,) = said(
        "event", "send", "checkout.started", "--email", ADA, "checkout_id=77", "value=4900", "currency=eur"
    )
    row = stored(world)
    assert (row.source, row.type, row.identities) == ("cli", "checkout.started", [["email", ADA]])
    assert row.data == {"checkout_id": "77", "value": 4900, "currency": "EUR", "items": []}
    assert abs((row.occurred_at - NOW).total_seconds()) < 3600
    assert answer["result"] == "stored"
    assert (answer["contact_id"], answer["event_id"]) == (row.contact_id, row.id)
    assert answer["started"] == [{"journey": "abandoned-checkout", "key": "77"}]
    starts = world.rows(sa.select(tables.dispatches.c.kind))
    assert [s.kind for s in starts] == ["start"]


def test_what_an_event_does_to_runs_is_answered(world: World) -> None:
    world.happens("contact.identified", at=ago(days=3), email=ADA)
    world.happens("checkout.started", at=ago(days=1), checkout_id="77")
    (again,) = said("event", "send", "checkout.started", "--email", ADA, "checkout_id=77")
    assert again["skipped"] == [{"journey": "abandoned-checkout", "reason": "already in it"}]
    (heard,) = said("event", "send", "resource.downloaded", "--email", ADA, "resource=guide")
    assert [t["journey"] for t in heard["told"]] == ["welcome"]
    (bought,) = said("event", "send", "purchase.completed", "--email", ADA, "order_id=o-1")
    assert {(e["journey"], e["outcome"]) for e in bought["ended"]} == {
        ("abandoned-checkout", "converted"),
        ("welcome", "converted"),
    }
    assert "post-purchase-education" in {s["journey"] for s in bought["started"]}
    text = perennial("event", "send", "checkout.started", "--email", ADA, "checkout_id=78").stdout
    assert text.startswith("checkout.started stored\n")
    assert "started       abandoned-checkout 78" in text


def test_the_same_id_is_a_repeat(world: World) -> None:
    send = ("event", "send", "page.viewed", "--email", ADA, "page=home", "--id", "once")
    assert [said(*send)[0]["result"], said(*send)[0]["result"]] == ["stored", "repeat"]
    assert "known already" in perennial(*send).stdout


def test_when_it_happened_may_be_given(world: World) -> None:
    said("event", "send", "page.viewed", "--email", ADA, "page=home", "--occurred", "2026-03-02T09:00:00+01:00")
    assert stored(world).occurred_at.isoformat() == "2026-03-02T08:00:00+00:00"


def test_several_identities_make_one_contact(world: World) -> None:
    options = ("--email", "Ada@Example.com", "--phone", "+49 30 901820", "--user", "u-1", "--anonymous", "device")
    (answer,) = said("event", "send", "page.viewed", "page=home", *options, "--identity", "stripe=cus_1")
    assert stored(world).identities == [
        ["email", ADA],
        ["phone", "+4930901820"],
        ["user", "u-1"],
        ["anonymous", "device"],
        ["stripe", "cus_1"],
    ]
    (by_id,) = said("event", "send", "page.viewed", "page=home", "--contact", answer["contact_id"])
    assert by_id["contact_id"] == answer["contact_id"]


def test_who_is_identified_by_an_address_can_be_written_to(world: World) -> None:
    said("event", "send", "contact.identified", "--email", ADA, "--phone", "+49 30 901820", "first_name=Ada")
    (page,) = said("contact", "show", ADA)
    assert page["profile"] == {"email": ADA, "first_name": "Ada", "phone": "+4930901820"}


def test_a_type_that_nothing_acts_on_gets_a_hint(world: World) -> None:
    (answer,) = said("event", "send", "page.view", "--email", ADA)
    assert answer["hint"] == "nothing acts on page.view; did you mean page.viewed?"
    assert "did you mean page.viewed?" in perennial("event", "send", "page.view", "--email", ADA).stdout
    assert said("event", "send", "custom.anything", "--email", ADA)[0]["hint"] is None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["page.viewed", "page=home"], "say whose event it is: --email, --phone, --user"),
        (["page.viewed", "--email", ADA], "data.page: Field required"),
        (["page.viewed", "--email", "ada"], "email 'ada': is not an e-mail address"),
        (["page.viewed", "--phone", "030 901820"], "phone '030 901820': is not a phone number with its country"),
        (["page.viewed", "--identity", "faceboek=1"], "--identity: no kind 'faceboek'; there is email, phone"),
        (["page.viewed", "--identity", "stripe"], "stripe '': is not an identity"),
        (["Page Viewed", "--email", ADA], "type: must be dotted lower case, such as page.viewed"),
        (["page.viewed", "--email", ADA, "home"], "'home': data is given as key=value"),
        (["page.viewed", "--email", ADA, "--data", "{"], "--data must be a JSON object"),
        (["page.viewed", "--email", ADA, "--data", "[]"], "--data must be a JSON object"),
        (
            ["page.viewed", "--email", ADA, "page=x", "--occurred", "yesterday"],
            "--occurred 'yesterday': must be a time",
        ),
        (["page.viewed", "--email", ADA, "page=x", "--occurred", "2026-03-02T09:00:00"], "with an offset"),
        (
            ["purchase.completed", "--email", ADA, "order_id=1", "value=19.99"],
            "data.value: Input should be a valid int",
        ),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_leaves_nothing(world: World, arguments: list[str], line: str) -> None:
    assert line in failed("event", "send", *arguments, status=2)
    assert world.rows(sa.select(tables.events)) == []


def test_a_contact_that_is_not_there_is_one_line(world: World) -> None:
    line = failed("event", "send", "page.viewed", "page=x", "--contact", "nobody", status=1)
    assert line == "identities.contact: no contact 'nobody'"


@pytest.mark.parametrize(
    ("type", "pair", "value"),
    [
        ("custom.x", "n=3", 3),
        ("custom.x", "f=1.5", 1.5),
        ("custom.x", "yes=true", True),
        ("custom.x", "nothing=null", None),
        ("custom.x", 'list=["a", 1]', ["a", 1]),
        ("custom.x", 'text="3"', "3"),
        ("custom.x", "zip=01234", "01234"),
        ("custom.x", "url=https://www.example.com/?a=b", "https://www.example.com/?a=b"),
        ("custom.x", "empty=", ""),
        ("custom.x", "deep=" + "[" * 100_000, "[" * 100_000),
        ("ticket.opened", "ticket_id=4711", "4711"),
        ("page.viewed", "topic=7", "7"),
        ("purchase.completed", "value=4900", 4900),
        ("message.bounced", "permanent=true", True),
    ],
)
def test_a_value_is_json_where_it_is_and_text_where_the_field_is(type: str, pair: str, value: Any) -> None:
    name = pair.partition("=")[0]
    assert data_of(type, None, [pair], ()) == {name: value}


def test_pairs_win_over_the_document_and_that_over_the_addresses() -> None:
    ada = (Identity("email", ADA), Identity("user", "u-1"))
    document = '{"email": "second@example.com", "first_name": "Ada"}'
    assert data_of("contact.updated", None, [], ada) == {"email": ADA}
    assert data_of("contact.updated", document, ["first_name=Eve"], ada) == {
        "email": "second@example.com",
        "first_name": "Eve",
    }
    assert data_of("page.viewed", None, [], ada) == {}
    with pytest.raises(Failure, match="JSON object"):
        data_of("page.viewed", '"text"', [], ())
