"""A gift that no colleague sees to: its card goes out, whole and in time, or nothing does."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import respx
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import templates.render
from activities import signatures as ask
from activities.deliver import Deliver
from connectors.recording import Recording
from connectors.tremendous import LONGEST_CARD, Tremendous, TremendousSettings
from templates.render import Templates
from tests.activities.conftest import House

API = "https://testflight.tremendous.com/api/v2"
CARD = """\
Dear Alice,

Your first result is in, and it is your doing. The first one is the hardest, because until then you only have our word \
for it.

Put your feet up for the length of one cup. We look forward to the second.

Warmly,
all of us at """

Edit = Callable[[str, str, str], None]


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Changes a file of the messages, for this test."""
    folder = Path(shutil.copytree(Path(templates.render.__file__).parent, tmp_path / "templates"))

    def change(file: str, old: str, new: str) -> None:
        path = folder / "messages" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        changed = Templates(folder)
        monkeypatch.setattr(templates.render, "shipped", lambda: changed)

    return change


@pytest.fixture
def gift(house: House) -> ask.DeliverRequest:
    return house.touch("gift_first_value", channel="gift", purpose="lifecycle")


@pytest.fixture
def giving(house: House) -> Deliver:
    account = {"api_key": "TEST_key", "base_url": API, "funding_source": "BALANCE", "campaign": "C", "amount": "25.00"}
    return replace(house.deliver, senders={"gift": Tremendous(TremendousSettings(_env_file=None, **account))})


async def test_the_card_goes_out_as_it_is_read_by_a_colleague(
    house: House, giving: Deliver, gift: ask.DeliverRequest, attempt: ActivityEnvironment
) -> None:
    with respx.mock:
        order = {"order": {"id": "O", "status": "EXECUTED", "rewards": [{"id": "R"}]}}
        orders = respx.post(f"{API}/orders").respond(json=order)
        assert (await attempt.run(giving.deliver, gift)).status == "sent"
        sent = json.loads(orders.calls.last.request.content)
    card = CARD + house.policy.brand.name
    assert sent["reward"]["delivery"]["meta"] == {"message": card}
    touch = await house.the_touch()
    assert (touch.provider_id, touch.body.endswith(f"{card}\n")) == ("R", True)


async def test_nothing_but_a_gift_has_a_card(house: House, attempt: ActivityEnvironment) -> None:
    letters = Recording.on("mail")
    deliver = replace(house.deliver, senders={"email": house.outside, "mail": letters})
    await attempt.run(deliver.deliver, house.touch())
    letter = replace(house.touch("letter_thank_you", channel="mail", purpose="lifecycle"), key="another")
    await attempt.run(deliver.deliver, letter)
    assert [message.card for message in (*house.outside.delivered, *letters.delivered)] == [None, None]


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("gift_first_value.toml", 'type = "milestone", fallback = ""', 'type = "milestone"', "milestone"),
        ("gift_first_value.j2", "Put your feet up", "Put {{ what }} up", "what"),
    ],
)
async def test_a_card_with_a_hole_calls_nobody(
    house: House,
    giving: Deliver,
    gift: ask.DeliverRequest,
    attempt: ActivityEnvironment,
    edit: Edit,
    file: str,
    old: str,
    new: str,
    named: str,
) -> None:
    edit(file, old, new)
    with respx.mock, pytest.raises(ApplicationError, match=rf"gift_first_value.*{named}"):
        await attempt.run(giving.deliver, gift)
    assert (await house.the_touch()).status == "waiting"


async def test_a_card_that_is_too_long_calls_nobody(
    house: House, giving: Deliver, gift: ask.DeliverRequest, attempt: ActivityEnvironment, edit: Edit
) -> None:
    edit("gift_first_value.j2", "Put your feet up", "Well done! " * (LONGEST_CARD // 10))
    with respx.mock:
        delivery = await attempt.run(giving.deliver, gift)
    assert (delivery.status, delivery.reason) == ("failed", f"card: is longer than {LONGEST_CARD:,} characters")
    assert (await house.the_touch()).status == "failed"
