"""Captured requests with real signatures, and every way in which a capture or its signature can be wrong."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors import configured
from ops import webhook_check
from tests.cli.world import ROOT, failed, perennial
from tests.connectors import test_ses as ses

NOW = 1_764_000_000
SECRET = "a secret only we and they know"


def capture(connector: str, body: bytes, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "connector": connector,
        "method": "POST",
        "url": f"https://hub.example.com/webhooks/{connector}",
        "headers": headers,
        "body_base64": base64.b64encode(body).decode(),
        "now_unix": NOW,
        "credentials": {"signing_secret": SECRET},
        **changes,
    }


def mac(message: bytes, secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), message, hashlib.sha256).digest()


def stripe(body: bytes | None = None, **changes: Any) -> dict[str, Any]:
    given = {
        "id": "evt_1",
        "type": "checkout.session.expired",
        "created": NOW - 10,
        "data": {
            "object": {
                "id": "cs_1",
                "object": "checkout.session",
                "customer_details": {"email": "Ada@Example.com"},
                "amount_total": 4900,
                "currency": "eur",
            }
        },
    }
    body = json.dumps(given).encode() if body is None else body
    signature = f"t={NOW},v1={mac(f'{NOW}.'.encode() + body).hex()}"
    return capture("stripe", body, {"Stripe-Signature": signature}, **changes)


def hubspot(body: bytes | None = None, **changes: Any) -> dict[str, Any]:
    item = {
        "eventId": 7,
        "subscriptionId": 1,
        "portalId": 62515,
        "occurredAt": (NOW - 5) * 1000,
        "subscriptionType": "contact.creation",
        "objectId": 123,
    }
    body = json.dumps([item]).encode() if body is None else body
    sent = str(NOW * 1000)
    url = "https://hub.example.com/webhooks/hubspot"
    signature = base64.b64encode(mac(f"POST{url}".encode() + body + sent.encode())).decode()
    headers = {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": sent}
    return capture("hubspot", body, headers, **changes)


def zendesk(body: bytes | None = None, **changes: Any) -> dict[str, Any]:
    ticket = {
        "type": "ticket.opened",
        "ticket_id": "4711",
        "requester_email": "ada@example.com",
        "priority": "high",
        "updated_at": "2025-11-24T15:59:00Z",
    }
    body = json.dumps(ticket).encode() if body is None else body
    sent = "2025-11-24T16:00:00Z"
    headers = {
        "X-Zendesk-Webhook-Signature": base64.b64encode(mac(sent.encode() + body)).decode(),
        "X-Zendesk-Webhook-Signature-Timestamp": sent,
    }
    return capture("zendesk", body, headers, **changes)


def cloudevents(**changes: Any) -> dict[str, Any]:
    one = {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:example:crm",
        "type": "meeting.booked",
        "data": {"identities": {"email": "ada@example.com"}},
    }
    body = json.dumps(one).encode()
    key = base64.b64encode(SECRET.encode()).decode()
    signature = base64.b64encode(mac(f"msg_1.{NOW}.".encode() + body)).decode()
    headers = {
        "content-type": "application/cloudevents+json",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": f"v1,{signature}",
    }
    credentials = {"events_secret": f"whsec_{key}"}
    return capture("cloudevents", body, headers, **{"credentials": credentials, **changes})


def track(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    body = json.dumps({"batch": calls, "writeKey": "web"}).encode()
    given = {"credentials": {"write_keys": ["web"]}, "url": "https://hub.example.com/v1/batch", **changes}
    return capture("track", body, {"Content-Type": "application/json"}, **given)


def check(tmp_path: Path, document: object) -> tuple[int, dict[str, Any]]:
    file = tmp_path / "capture.json"
    file.write_text(json.dumps(document))
    result = perennial("webhook", "check", str(file))
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return result.exit_code, json.loads(result.stdout)


SIGNED = {"stripe": stripe, "hubspot": hubspot, "zendesk": zendesk, "cloudevents": cloudevents}


def test_a_genuine_request_is_valid_and_understood(here: Path) -> None:
    status, answer = check(here, stripe())
    assert status == 0
    assert answer == {
        "valid": True,
        "reason": None,
        "events": [
            {
                "type": "checkout.expired",
                "source_id": "evt_1",
                "occurred_at": "2025-11-24T15:59:50Z",
                "identities": [{"kind": "email", "value": "ada@example.com"}],
                "data": answer["events"][0]["data"],
            }
        ],
    }
    assert answer["events"][0]["data"]["checkout_id"] == "cs_1"
    assert answer["events"][0]["data"]["value"] == 4900


@pytest.mark.parametrize("connector", SIGNED)
def test_every_connector_believes_its_own_signature(here: Path, connector: str) -> None:
    status, answer = check(here, SIGNED[connector]())
    assert (status, answer["valid"], answer["reason"]) == (0, True, None)
    assert len(answer["events"]) == 1


@pytest.mark.parametrize("connector", SIGNED)
def test_a_changed_byte_is_not_valid(here: Path, connector: str) -> None:
    given = SIGNED[connector]()
    body = base64.b64decode(given["body_base64"])
    given["body_base64"] = base64.b64encode(body.replace(b"1", b"2", 1)).decode()
    status, answer = check(here, given)
    assert (status, answer) == (1, {"valid": False, "reason": "the signature does not match", "events": []})


@pytest.mark.parametrize("connector", SIGNED)
@pytest.mark.parametrize("late", [301, -301])
def test_a_stale_or_future_request_is_not_valid(here: Path, connector: str, late: int) -> None:
    status, answer = check(here, SIGNED[connector](now_unix=NOW + late))
    assert (status, answer["valid"], answer["events"]) == (1, False, [])
    assert "timestamp" in answer["reason"]


@pytest.mark.parametrize("connector", SIGNED)
def test_another_secret_is_not_valid(here: Path, connector: str) -> None:
    other = {"signing_secret": "whsec_b3RoZXI="}
    status, answer = check(here, SIGNED[connector](credentials=other))
    assert (status, answer["reason"]) == (1, "the signature does not match")


@pytest.mark.parametrize("connector", SIGNED)
@pytest.mark.parametrize("credentials", [{}, {"signing_secret": ""}, {"something_else": "x"}])
def test_a_missing_credential_is_refused_and_not_taken_from_this_machine(
    here: Path, monkeypatch: pytest.MonkeyPatch, connector: str, credentials: dict[str, str]
) -> None:
    for name in ("STRIPE_SIGNING_SECRET", "HUBSPOT_CLIENT_SECRET", "ZENDESK_SIGNING_SECRET", "PERENNIAL_EVENTS_SECRET"):
        monkeypatch.setenv(name, SECRET)
    (here / ".env").write_text(f"STRIPE_SIGNING_SECRET={SECRET}\nHUBSPOT_CLIENT_SECRET={SECRET}\n")
    status, answer = check(here, SIGNED[connector](credentials=credentials))
    assert (status, answer["valid"], answer["events"]) == (1, False, [])
    assert "secret" in answer["reason"]


def test_the_connectors_own_name_of_a_credential_does_too(here: Path) -> None:
    assert check(here, hubspot(credentials={"client_secret": SECRET}))[0] == 0


@pytest.mark.parametrize("make", [stripe, zendesk, hubspot])
def test_a_genuine_body_nobody_understands_is_valid_and_says_why(here: Path, make: Any) -> None:
    status, answer = check(here, make(b"this is not what they send"))
    assert (status, answer["valid"], answer["events"]) == (0, True, [])
    assert answer["reason"]


def test_what_was_understood_of_a_genuine_body_is_shown(here: Path) -> None:
    good = {"eventId": 1, "occurredAt": NOW * 1000, "subscriptionType": "contact.creation", "objectId": 5}
    status, answer = check(here, hubspot(json.dumps([good, {"eventId": 2}]).encode()))
    assert (status, answer["valid"], len(answer["events"])) == (0, True, 1)
    assert "item 1" in answer["reason"]


def test_a_kind_of_event_that_means_nothing_to_us_is_valid_and_empty(here: Path) -> None:
    body = json.dumps({"id": "evt_2", "type": "radar.early_fraud_warning.created", "created": NOW}).encode()
    assert check(here, stripe(body)) == (0, {"valid": True, "reason": None, "events": []})


def test_tracking_calls_are_judged_by_their_write_key(here: Path) -> None:
    page = {"type": "page", "userId": "u-1", "messageId": "m-1", "properties": {"page": "pricing"}}
    status, answer = check(here, track(page, {"type": "track", "userId": "u-1"}))
    assert (status, answer["valid"]) == (0, True)
    assert [e["type"] for e in answer["events"]] == ["page.viewed"]
    assert "call 1" in answer["reason"]
    for credentials in ({"write_keys": ["another"]}, {}):
        status, answer = check(here, track(page, credentials=credentials))
        assert (status, answer) == (1, {"valid": False, "reason": "the write key is not known", "events": []})


def test_every_source_there_is_can_be_checked() -> None:
    assert set(webhook_check.CONNECTORS) == {*configured.sources(), "track", "cloudevents"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"connector": "stripes"}, "connector: no connector 'stripes'; there is activecampaign, calendly"),
        ({"connector": None}, "connector: should be a valid string"),
        ({"url": 1}, "url"),
        ({"headers": []}, "headers"),
        ({"headers": {"Stripe-Signature": 1}}, "headers.Stripe-Signature"),
        ({"body_base64": "***"}, "body_base64: is not base64"),
        ({"body_base64": None}, "body_base64"),
        ({"now_unix": "soon"}, "now_unix"),
        ({"now_unix": 1e300}, "now_unix: is not a time a clock can show"),
        ({"method": ""}, "method"),
        ({"credentials": "x"}, "credentials"),
        ({"credentials": {"signing_secret": 5}}, "credentials.signing_secret"),
    ],
)
def test_a_wrong_field_is_named(here: Path, changes: dict[str, Any], named: str) -> None:
    file = here / "capture.json"
    file.write_text(json.dumps({**stripe(), **changes}))
    line = failed("webhook", "check", str(file), status=2)
    assert named in line
    assert SECRET not in line


@pytest.mark.parametrize("field", ["connector", "url", "headers", "body_base64", "now_unix"])
def test_a_missing_field_is_named(here: Path, field: str) -> None:
    file = here / "capture.json"
    file.write_text(json.dumps({k: v for k, v in stripe().items() if k != field}))
    assert f"{field}: is missing" in failed("webhook", "check", str(file), status=2)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_capture_is_one_line(here: Path, content: bytes) -> None:
    file = here / "capture.json"
    file.write_bytes(content)
    assert "capture.json: " in failed("webhook", "check", str(file), status=2)


def test_a_file_that_is_not_there_is_one_line(here: Path) -> None:
    assert failed("webhook", "check", "nothing.json", status=2) == "nothing.json: No such file or directory"
    assert "directory" in failed("webhook", "check", ".", status=2)


def test_standard_input_is_read_where_the_file_is_a_dash(here: Path) -> None:
    result = perennial("webhook", "check", "-", input=json.dumps(stripe()))
    assert (result.exit_code, json.loads(result.stdout)["valid"]) == (0, True)


@given(
    st.dictionaries(
        st.sampled_from(["connector", "method", "url", "headers", "body_base64", "now_unix", "credentials"]),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=3)
        | st.dictionaries(st.text(), st.text() | st.integers()),
    )
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_junk_in_a_capture_gets_past_one_line(changes: dict[str, Any]) -> None:
    try:
        judgement = webhook_check.judge(webhook_check.read(json.dumps({**stripe(), **changes}).encode()))
    except webhook_check.BadCapture as bad:
        assert "\n" not in str(bad)
    else:
        json.dumps(judgement.as_json())


def test_nothing_is_left_behind_and_no_database_is_asked(here: Path) -> None:
    file = here / "capture.json"
    file.write_text(json.dumps(stripe()))
    environment = {
        **os.environ,
        "PERENNIAL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "PYTHONPATH": str(ROOT),
    }
    command = (sys.executable, "-m", "cli", "webhook", "check", str(file))
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["valid"] is True
    assert [path.name for path in here.iterdir()] == ["capture.json"]


def test_what_would_be_fetched_comes_with_the_capture() -> None:
    envelope = ses.signed()
    given = capture("ses", envelope.body, dict(envelope.headers), now_unix=ses.NOW.timestamp())
    given["credentials"] = {"region": "eu-central-1", "topic_arn": ses.TOPIC}

    def judged(**more: Any) -> webhook_check.Judgement:
        return webhook_check.judge(webhook_check.read(json.dumps({**given, **more}).encode()))

    without = judged()
    assert (without.valid, "give what it would fetch under fetched" in str(without.reason)) == (False, True)
    assert judged(fetched={ses.CERTIFICATE: ses.PEM.decode()}).valid
    assert not judged(
        fetched={ses.CERTIFICATE: ses.certificate(ses.rsa.generate_private_key(65537, 2048)).decode()}
    ).valid
