"""From a question to a click in Slack and back into the run."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from connectors.base import Request
from connectors.recording import Alerted
from connectors.slack import Slack, SlackSettings
from connectors.slack_questions import buttons, contact_in
from contacts import journal, tables
from tests.road.conftest import Road, days_in
from tests.workflows.world import eventually

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK = Slack(SlackSettings(_env_file=None, bot_token="xoxb-1", channel="C1", signing_secret=SECRET))


async def asked(road: Road) -> Alerted:
    """Waits until a person has been told what a run asks."""

    async def look() -> list[Alerted]:
        return [call for call in road.recording.calls if isinstance(call, Alerted)]

    [alert] = await eventually(look)
    return alert


async def clicks(road: Road, alert: Alerted, label: str, user: str) -> str:
    """A person clicks a button of the alert in Slack; says whether that was news."""
    contact = contact_in(alert.link or "")
    assert contact
    [button] = [b for b in buttons(alert.key, contact) if b["text"]["text"] == label]
    now = road.clock.now()
    click = {
        "type": "block_actions",
        "user": {"id": user.upper(), "username": user},
        "container": {"channel_id": "C1", "message_ts": "1.1"},
        "actions": [{**button, "action_ts": f"{now.timestamp():.6f}"}],
    }
    body, stamp = urlencode({"payload": json.dumps(click)}).encode(), str(int(now.timestamp()))
    mac = hmac.new(SECRET.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {"x-slack-signature": f"v0={mac}", "x-slack-request-timestamp": stamp}
    request = Request("POST", "https://hub.example.com/webhooks/slack", headers, body)
    SLACK.verify(request, now)
    [event] = SLACK.parse(request, now)
    return (await road.intake.record(event, now)).result


async def lines(road: Road) -> list[dict[str, Any]]:
    """What the journal says of approvals."""
    async with road.engine.connect() as conn:
        return [e.data for _, e in await journal.read(conn) if e.kind == "approval"]


@pytest.mark.parametrize("said", [True, False])
async def test_a_click_decides_whether_there_is_a_present(road: Road, said: bool) -> None:
    async with road.all():
        await road.consent()
        await road.tell("purchase.completed", order_id="o-1", value=4900, currency="EUR")
        await road.tell("value.realized")
        alert = await asked(road)
        assert "a small present for the first result" in alert.body
        first, second = ("Approve", "Refuse") if said else ("Refuse", "Approve")
        assert await clicks(road, alert, first, "mia") == "stored"
        assert await clicks(road, alert, second, "noah") == "repeat"

        async def went_on() -> bool:
            return any(run.journey == "value-realized" and run.stage == "watch" for run in await road.rows(tables.runs))

        await eventually(went_on)
    presents = [touch for touch in await road.rows(tables.touches) if touch.template == "gift_first_value"]
    assert len(presents) == said
    question, answer = await lines(road)
    assert question["reason"] == answer["reason"]
    assert (answer["by"], answer["approved"]) == ("mia", said)
    [row] = await road.rows(tables.approvals)
    assert (row.approved, row.answered_by, row.closed_at) == (said, "mia", None)


async def test_an_answer_while_temporal_is_away_is_heard_even_if_the_time_is_over_by_then(road: Road) -> None:
    road.fast(days_in(7, seconds=20))
    async with road.temporal():
        async with road.worker(), road.relay():
            await road.consent()
            await road.tell("purchase.completed", order_id="o-1", value=4900, currency="EUR")
            await road.tell("value.realized")
            alert = await asked(road)
        # Nobody tells the run of it.
        await clicks(road, alert, "Approve", "mia")

        async def over() -> bool:
            [row] = await road.rows(tables.approvals)
            return bool(road.clock.now() > row.until)

        await eventually(over)
        async with road.worker():

            async def given() -> bool:
                return any(touch.template == "gift_first_value" for touch in await road.rows(tables.touches))

            await eventually(given)
