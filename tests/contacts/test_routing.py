"""Which journeys an event starts, ends and speaks to, with the traps that other systems fell into."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contacts.facts import Facts, Happening
from contacts.routing import Exit, Plan, Run, Skip, Start, Tell, route
from contacts.specs import Card, always, on, once, once_per
from tests.contacts.support import START, at, card, happening

ALICE = Facts("alice")


def a_run(id: str = "r", *, who: str = "alice", entered: datetime = START, **fields: Any) -> Run:
    given = {"journey": "course", "key": None, "open": True, **fields}
    return Run(id=id, workflow_id=f"w/{id}", contact_id=who, entered_at=entered, **given)


def routed(event: Happening, *cards: Card, facts: Facts = ALICE, **given: Any) -> Plan:
    defaults: dict[str, Any] = {"runs": [], "endings": [], "freed": (), "now": event.occurred_at}
    return route(event, facts, cards=cards or (card(),), **{**defaults, **given})


def skipped(plan: Plan) -> str | None:
    assert not plan.starts
    return plan.skips[0].reason if plan.skips else None


FORM = happening("form.submitted", at(1), form="signup")
BOUGHT = happening("purchase.completed", at(2), order_id="o")
TALKED = happening("conversation.started", at(2))

CHECKOUT = card(
    "checkout", trigger=on("checkout.started"), key="checkout_id", reentry=once(), exits=(), max_run=timedelta(days=10)
)


def checkout(when: datetime = START, id: str = "c-1") -> Happening:
    return happening("checkout.started", when, checkout_id=id)


def bought(when: datetime, id: str | None = "c-1") -> Happening:
    return happening("purchase.completed", when, order_id="o", **({} if id is None else {"checkout_id": id}))


def checkout_run(id: str, key: str, **fields: Any) -> Run:
    return a_run(id, journey="checkout", key=key, **fields)


def test_trap_an_older_checkout_bought_ends_the_newer_one_that_replaced_it() -> None:
    newest = card("checkout", trigger=on("checkout.started"), key="checkout_id", exits=(), newest_only=True)
    older, newer = checkout_run("r-1", "c-1", open=False), checkout_run("r-2", "c-2", entered=at(0.5))
    assert routed(bought(at(1)), newest, runs=[older, newer]).exits == (Exit(newer, "converted"),)
    assert routed(bought(at(1)), CHECKOUT, runs=[older, newer]).exits == ()
    second_report = bought(at(0.2))
    assert routed(second_report, newest, runs=[older, newer], now=at(2)).exits == ()


# Starts


def test_a_trigger_starts_a_run() -> None:
    assert routed(FORM) == Plan(starts=(Start("course", None),))
    assert routed(checkout(), CHECKOUT) == Plan(starts=(Start("checkout", "c-1"),))


def test_an_event_means_only_the_journeys_that_name_it() -> None:
    other = card("other", trigger=on("form.submitted", form="quiz"))
    assert routed(FORM, card(), other).starts == (Start("course", None),)
    assert routed(happening("custom.whatever"), card(), other) == Plan()


def test_who_is_in_it_does_not_start_again() -> None:
    assert skipped(routed(FORM, runs=[a_run()])) == "already in it"
    assert routed(FORM, runs=[a_run(who="bob")]).starts
    assert routed(checkout(at(1), "c-2"), CHECKOUT, runs=[checkout_run("r", "c-1")]).starts


def test_an_erased_contact_starts_nothing() -> None:
    assert skipped(routed(FORM, facts=Facts("alice", erased_at=START))) == "erased"


def test_the_audience_is_kept_to() -> None:
    customer = Facts("alice", customer_since=START)
    assert skipped(routed(FORM, card(unless=("customer",)), facts=customer)) == "already customer"
    assert skipped(routed(FORM, card(only=("customer",)))) == "not customer"
    assert routed(FORM, card(only=("customer",)), facts=customer).starts


def test_a_journey_may_keep_out_of_the_way_of_another() -> None:
    polite = card(unless=("during:welcome",))
    welcome = a_run(journey="welcome")
    assert skipped(routed(FORM, polite, runs=[welcome])) == "already during:welcome"
    assert routed(FORM, polite, runs=[a_run(journey="welcome", open=False)]).starts
    assert routed(FORM, polite, runs=[a_run(journey="welcome", who="bob")]).starts


def test_a_keyed_journey_needs_its_key() -> None:
    keyless = happening("checkout.started", checkout_id=None)
    assert skipped(routed(keyless, CHECKOUT)) == "no checkout_id in the event"


@pytest.mark.parametrize(
    ("reentry", "days", "starts"),
    [(once(), 900, False), (once_per(days=180), 179, False), (once_per(days=180), 180, True), (always(), 0, True)],
)
def test_reentry(reentry: Any, days: float, starts: bool) -> None:
    again = happening("form.submitted", at(days))
    plan = routed(again, card(reentry=reentry), runs=[a_run(open=False)])
    assert bool(plan.starts) == starts
    if not starts:
        assert skipped(plan) == f"re-entry: {reentry}"


def test_reentry_counts_for_each_key() -> None:
    done = [checkout_run("r", "c-1", open=False)]
    assert skipped(routed(checkout(at(5)), CHECKOUT, runs=done)) == "re-entry: once"
    assert routed(checkout(at(5), "c-2"), CHECKOUT, runs=done).starts


def test_a_trigger_too_old_starts_nothing() -> None:
    assert routed(FORM, now=at(31)).starts
    assert skipped(routed(FORM, now=at(31.01))) == "too long ago"


# Exits


def test_an_exit_ends_the_run_and_says_how() -> None:
    run = a_run()
    assert routed(BOUGHT, runs=[run]) == Plan(exits=(Exit(run, "converted"),))
    assert routed(TALKED, runs=[run]) == Plan(exits=(Exit(run, "exited"),))


def test_an_exit_means_what_it_matches() -> None:
    picky = card(exits=on("page.viewed", page="pricing"))
    assert not routed(happening("page.viewed", at(1), page="blog"), picky, runs=[a_run()]).exits
    assert routed(happening("page.viewed", at(1), page="pricing"), picky, runs=[a_run()]).exits


def test_trap_an_exit_does_not_start_anything_by_itself() -> None:
    """An exit that is nobody's trigger starts nothing, in a run or out of it."""
    for runs in ([], [a_run()], [a_run(open=False)]):
        for event in (BOUGHT, TALKED):
            plan = routed(event, runs=runs)
            assert plan.starts == ()
            assert plan.skips == ()


def test_trap_an_exit_need_not_look_like_the_entry() -> None:
    """The entry came with a form and an answer, the exit shares no field with it."""
    run = a_run()
    event = happening("conversation.started", at(3), conversation_id="77", rep="Sam")
    assert routed(event, card(trigger=on("form.submitted", form="signup")), runs=[run]).exits == (Exit(run, "exited"),)


def test_a_trigger_that_is_also_an_exit_starts_nothing_even_where_no_run_is_open() -> None:
    course = card(exits=(on("form.submitted", form="signup"),))
    assert routed(FORM, course) == Plan()
    assert routed(happening("form.submitted", at(1), form="other"), course).starts == (Start("course", None),)


def test_trap_an_exit_that_is_also_a_trigger_ends_the_run_and_starts_no_second() -> None:
    both = card(trigger=on("form.submitted"), exits=on("form.submitted"))
    run = a_run()
    assert routed(FORM, both, runs=[run]).exits == (Exit(run, "exited"),)
    assert routed(FORM, both, runs=[run]).starts == ()


def test_an_event_older_than_the_entry_ends_nothing() -> None:
    assert not routed(happening("purchase.completed", at(-0.01)), runs=[a_run()], now=at(3)).exits
    assert routed(happening("purchase.completed", at(0)), runs=[a_run()], now=at(3)).exits


def test_a_run_that_has_ended_is_not_ended_again() -> None:
    assert routed(BOUGHT, runs=[a_run(open=False)]) == Plan()


def test_one_event_ends_one_journey_and_starts_another() -> None:
    onboarding = card("onboarding", trigger=on("purchase.completed"), success=on("value.realized"))
    run = a_run()
    assert routed(BOUGHT, card(), onboarding, runs=[run]) == Plan(
        exits=(Exit(run, "converted"),), starts=(Start("onboarding", None),)
    )


# Keys


def test_an_exit_with_a_key_ends_the_run_with_that_key() -> None:
    first, second = checkout_run("1", "c-1"), checkout_run("2", "c-2")
    plan = routed(bought(at(1), "c-2"), CHECKOUT, runs=[first, second])
    assert plan.exits == (Exit(second, "converted"),)


def test_trap_somebody_elses_run_ends_by_its_key() -> None:
    """The order came with another mail address than the checkout."""
    other = checkout_run("1", "c-1", who="the same person under another address")
    mine = checkout_run("2", "c-2")
    plan = routed(bought(at(1), "c-1"), CHECKOUT, runs=[other, mine])
    assert plan.exits == (Exit(other, "converted"),)


@pytest.mark.parametrize("key", ["never seen", None])
def test_trap_an_order_that_names_no_checkout_we_know_ends_all_of_them(key: str | None) -> None:
    """Several checkouts started, one order placed."""
    mine = [checkout_run("1", "c-1"), checkout_run("2", "c-2")]
    others = [checkout_run("3", "c-3", who="bob")]
    plan = routed(bought(at(1), key), CHECKOUT, runs=[*mine, *others])
    assert [e.run.id for e in plan.exits] == ["1", "2"]


def test_a_known_key_whose_run_has_ended_ends_no_other() -> None:
    runs = [checkout_run("1", "c-1", open=False), checkout_run("2", "c-2")]
    assert routed(bought(at(1), "c-1"), CHECKOUT, runs=runs).exits == ()


def test_only_the_newest_run_counts_where_the_card_says_so() -> None:
    newest = card("checkout", trigger=on("checkout.started"), key="checkout_id", newest_only=True)
    old, bobs = checkout_run("1", "c-1"), checkout_run("3", "c-3", who="bob")
    plan = routed(checkout(at(1), "c-2"), newest, runs=[old, bobs])
    assert plan == Plan(exits=(Exit(old, "superseded"),), starts=(Start("checkout", "c-2"),))
    assert routed(checkout(at(1), "c-2"), CHECKOUT, runs=[old]).exits == ()


@pytest.mark.parametrize("open", [True, False])
def test_a_late_trigger_does_not_supersede_a_newer_run(open: bool) -> None:
    newest = card("checkout", trigger=on("checkout.started"), key="checkout_id", newest_only=True)
    newer = checkout_run("2", "c-2", entered=at(1), open=open)
    plan = routed(checkout(at(0), "c-1"), newest, runs=[newer], now=at(2))
    assert plan.exits == ()
    assert skipped(plan) == "a newer one is known"


# Late arrivals


def test_a_late_trigger_after_its_exit_starts_nothing() -> None:
    plan = routed(FORM, endings=[BOUGHT], now=at(3))
    assert skipped(plan) == "already ended by purchase.completed"
    assert routed(FORM, endings=[happening("page.viewed", at(2), page="blog")], now=at(3)).starts


@pytest.mark.parametrize(
    ("key", "runs", "starts"),
    [
        pytest.param("c-1", [], False, id="the same checkout"),
        pytest.param(None, [], False, id="an order of no checkout"),
        pytest.param("c-9", [], False, id="an order of a checkout we have not seen"),
        pytest.param("c-2", [checkout_run("2", "c-2")], True, id="an order of another checkout"),
        pytest.param("c-2", [checkout_run("2", "c-2", who="bob", open=False)], True, id="an order of Bob's checkout"),
    ],
)
def test_a_late_checkout_after_an_order(key: str | None, runs: list[Run], starts: bool) -> None:
    plan = routed(checkout(), CHECKOUT, runs=runs, endings=[bought(at(1), key)], now=at(2))
    assert bool(plan.starts) == starts


@given(
    st.lists(st.sampled_from(["start c-1", "start c-2", "buy c-1", "buy c-2", "buy -"]), max_size=5, unique=True),
    st.randoms(use_true_random=False),
)
def test_which_checkouts_stay_open_does_not_depend_on_the_order_of_arrival(deeds: list[str], random: Any) -> None:
    """One person's checkouts and orders, each checkout started before it is ordered.

    An order whose checkout we learn of later is the one exception: until then it may be for any of them, so it ends
    them all. Who has just ordered is rather not asked to come back.
    """
    history = list(enumerate(deeds))
    day_of = {what: day for day, what in history}
    for key in ("c-1", "c-2"):
        assume(f"buy {key}" not in day_of or day_of.get(f"start {key}", 9) < day_of[f"buy {key}"])
    shuffled = list(history)
    random.shuffle(shuffled)
    assert still_open(shuffled) <= still_open(history)
    checkouts_first = sorted(shuffled, key=lambda e: not e[1].startswith("start"))
    assert still_open(checkouts_first) == still_open(history)


@given(
    st.lists(st.sampled_from(["start c-1", "start c-2", "buy c-1", "buy c-2", "buy -"]), max_size=5, unique=True),
    st.randoms(use_true_random=False),
)
def test_a_checkout_that_was_ordered_is_over_whatever_the_clocks_say(deeds: list[str], random: Any) -> None:
    shuffled = list(enumerate(deeds))
    random.shuffle(shuffled)
    assert not {key for key in still_open(shuffled) if f"buy {key}" in deeds}


def test_what_may_come_again_is_over_only_by_what_came_after_it() -> None:
    """A ticket that is opened again has been solved before."""
    tickets = card("ticket", trigger=on("ticket.opened"), exits=on("ticket.solved"), key="ticket_id", reentry=always())
    solved = happening("ticket.solved", at(0), ticket_id="7")
    opened = happening("ticket.opened", at(1), ticket_id="7")
    run = a_run(journey="ticket", key="7", entered=at(1))
    assert routed(opened, tickets, endings=[solved], now=at(2)).starts == (Start("ticket", "7"),)
    assert routed(solved, tickets, runs=[run], now=at(2)).exits == ()


def test_an_order_of_no_checkout_is_of_none_that_is_started_later() -> None:
    assert routed(checkout(at(1)), CHECKOUT, endings=[bought(at(0), None)], now=at(2)).starts
    assert routed(bought(at(0), None), CHECKOUT, runs=[checkout_run("1", "c-1", entered=at(1))], now=at(2)).exits == ()


def still_open(history: list[tuple[int, str]]) -> set[str]:
    """Plays a history in the order given and says which checkouts are followed in the end."""
    runs: list[Run] = []
    stored: list[Happening] = []
    for day, what in history:
        verb, key = what.split()
        event = checkout(at(day), key) if verb == "start" else bought(at(day), None if key == "-" else key)
        orders = [e for e in stored if e.type == "purchase.completed"]
        plan = routed(event, CHECKOUT, runs=runs, endings=orders, now=at(9))
        ended = {e.run.id for e in plan.exits}
        runs = [a_copy(r, r.open and r.id not in ended) for r in runs]
        runs += [checkout_run(f"{len(runs)}", s.key or "", entered=at(day)) for s in plan.starts]
        stored.append(event)
    return {r.key or "" for r in runs if r.open}


def a_copy(run: Run, open: bool) -> Run:
    return a_run(run.id, journey=run.journey, key=run.key, entered=run.entered_at, open=open)


# Hearing


def test_a_run_hears_what_it_may_be_waiting_for() -> None:
    listening = card(hears=on("page.viewed", page="pricing"))
    run = a_run()
    visit = happening("page.viewed", at(1), page="pricing")
    runs = [run, a_run("closed", open=False), a_run("bob's", who="bob")]
    assert routed(visit, listening, runs=runs) == Plan(tells=(Tell(run),))


def test_trap_a_conversion_does_not_wake_an_unrelated_run() -> None:
    other = card("other", exits=on("meeting.booked"), success=on("meeting.booked"), hears=on("page.viewed"))
    runs = [a_run(), a_run("o", journey="other")]
    plan = routed(BOUGHT, card(), other, runs=runs)
    assert [e.run.id for e in plan.exits] == ["r"]
    assert plan.tells == ()


def test_a_run_that_ends_need_not_hear() -> None:
    both = card(exits=on("conversation.started"), hears=on("conversation.started"))
    plan = routed(TALKED, both, runs=[a_run()])
    assert plan.tells == ()
    assert len(plan.exits) == 1


def test_when_a_hold_ends_the_runs_whose_touches_waited_for_it_hear_of_it() -> None:
    solved = happening("ticket.solved", at(1), ticket_id="7")
    cards = [card(), card("lessons", purpose="lifecycle")]
    runs = [a_run(), a_run("l", journey="lessons"), a_run("closed", open=False), a_run("bob's", who="bob")]
    assert [t.run.id for t in routed(solved, *cards, runs=runs, freed={"l", "closed", "bob's"}).tells] == ["l"]
    assert routed(solved, *cards, runs=runs).tells == ()


def test_a_skip_says_which_journey_and_why() -> None:
    assert routed(FORM, runs=[a_run()]).skips == (Skip("course", "already in it"),)


# What a run and its exit must have in common


OF_A_PLAN = card(
    "dunning",
    trigger=on("invoice.payment_failed"),
    success=(on("invoice.paid"),),
    exits=(on("subscription.canceled"),),
    key="invoice_id",
    own_key_only=True,
    same="subscription_id",
)


@pytest.mark.parametrize(
    ("named_at_entry", "named_at_exit", "ends"),
    [("s-1", "s-1", True), ("s-1", "s-2", False), ("s-1", None, True), (None, "s-2", True)],
)
def test_trap_the_end_of_another_plan_ends_no_run_of_this_one(
    named_at_entry: str | None, named_at_exit: str | None, ends: bool
) -> None:
    entry = {"invoice_id": "i-1", **({"subscription_id": named_at_entry} if named_at_entry else {})}
    gone = {"subscription_id": named_at_exit} if named_at_exit else {}
    run = a_run(journey="dunning", key="i-1", entry=entry)
    plan = routed(happening("subscription.canceled", at(1), **gone), OF_A_PLAN, runs=[run])
    assert plan.exits == ((Exit(run, "exited"),) if ends else ())
    failed = happening("invoice.payment_failed", at(0), **entry)
    late = routed(failed, OF_A_PLAN, endings=[happening("subscription.canceled", at(1), **gone)], now=at(2))
    assert bool(late.starts) is not ends
