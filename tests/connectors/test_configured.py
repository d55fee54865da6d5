"""Which connector does what: chosen by name, refused where it cannot, stood in for where it has no credentials."""

from collections.abc import Iterator
from typing import Any

import pytest

from connectors import configured
from connectors.base import Poller, Sender, Sink, Source
from connectors.configured import CONNECTORS, MissingCredentials, Outlets, Wiring, outlets, sources
from connectors.errands import Errands
from connectors.recording import Recording
from contacts.policy import Policy, Provider
from ops.wiring import wiring
from tests.contacts.support import changed

SECRET = "whsec_" + "c2VjcmV0LW9mLXR3ZW50eS1mb3VyLWJ5dGVz"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[pytest.MonkeyPatch]:
    """Nothing of this machine's variables, and no .env file."""
    monkeypatch.chdir(tmp_path)
    prefixes = tuple(str(known.settings.model_config.get("env_prefix")) for known in CONNECTORS.values())
    import os

    for name in [n for n in os.environ if n.startswith((*prefixes, "WEBHOOK_"))]:
        monkeypatch.delenv(name)
    yield monkeypatch


def made(production: bool = False, **wiring: Any) -> Outlets:
    return outlets(
        Wiring(**{"providers": {"email": ["smtp"]}, **wiring}), mail_from="hello@example.com", production=production
    )


def test_every_connector_is_made_without_a_setting_and_is_called_what_it_is() -> None:
    for name, one in sources().items():
        assert (one.name, isinstance(one, Source)) == (name, True)
    assert set(sources()) == set(CONNECTORS) - {"smtp"}


def test_what_each_can_do() -> None:
    able = sources()
    assert {n for n, one in able.items() if isinstance(one, Sender)} == {
        "intercom", "lob", "mailgun", "manychat", "postmark", "resend", "sendgrid", "sendoso", "ses", "tremendous",
        "twilio",
    }  # fmt: skip
    assert {"hubspot", "klaviyo", "make", "customerio", "salesforce"} <= {
        n for n, one in able.items() if isinstance(one, Sink)
    }
    assert {"stripe", "mailgun", "salesforce", "gohighlevel", "fillout"} <= {
        n for n, one in able.items() if isinstance(one, Poller)
    }


def test_in_development_recordings_stand_in_and_say_so() -> None:
    found = made(told=["klaviyo", "webhook/erp"], endpoints={"erp": "https://erp.example.com"}, asked=["mailgun"])
    assert isinstance(found.senders["email"], Recording)
    assert isinstance(found.crm, Recording)
    assert (dict(found.sinks), dict(found.pollers)) == ({}, {})
    assert found.stand_ins == (
        "HUBSPOT_ACCESS_TOKEN", "SMTP_HOST", "KLAVIYO_API_KEY", "WEBHOOK_ERP_SECRET", "MAILGUN_API_KEY",
        "SLACK_BOT_TOKEN",
    )  # fmt: skip


def test_production_refuses_to_start_without(elsewhere: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingCredentials, match="HUBSPOT_ACCESS_TOKEN: is required in production"):
        made(production=True)
    for name, value in (("HUBSPOT_ACCESS_TOKEN", "t"), ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")):
        elsewhere.setenv(name, value)
    with pytest.raises(MissingCredentials, match="SMTP_HOST: is required"):
        made(production=True)
    elsewhere.setenv("SMTP_HOST", "relay.example.com")
    assert made(production=True).stand_ins == ()


def test_a_primary_and_who_stands_in_for_it(elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setenv("POSTMARK_SERVER_TOKEN", "t")
    elsewhere.setenv("RESEND_API_KEY", "re_1")
    elsewhere.setenv("TREMENDOUS_API_KEY", "t")
    elsewhere.setenv("TREMENDOUS_FUNDING_SOURCE", "f")
    found = made(providers={"email": ["postmark", "resend"], "gift": ["tremendous", "errands"], "call": ["errands"]})
    assert found.senders["email"].name == "postmark"
    assert found.fallbacks["email"].name == "resend"
    assert found.senders["gift"].name == "tremendous"
    assert isinstance(found.fallbacks["gift"], Errands)
    assert isinstance(found.senders["call"], Errands)


@pytest.mark.parametrize(
    ("wiring", "reason"),
    [
        ({"providers": {"email": ["nobody"]}}, "there is no connector 'nobody'"),
        ({"providers": {"email": ["errands"]}}, "providers.email: a colleague carries out"),
        ({"providers": {"email": ["stripe"]}}, "stripe cannot send on email"),
        ({"crm": "stripe"}, "stripe cannot be the CRM"),
        ({"told": ["stripe"]}, "stripe cannot be told what happened"),
        ({"asked": ["klaviyo"]}, "klaviyo cannot be asked what happened"),
    ],
)
def test_who_cannot_do_it_is_refused(elsewhere: pytest.MonkeyPatch, wiring: dict[str, Any], reason: str) -> None:
    elsewhere.setenv("STRIPE_API_KEY", "rk_1")
    elsewhere.setenv("KLAVIYO_API_KEY", "pk_1")
    with pytest.raises(MissingCredentials, match=reason):
        made(**wiring)


def test_a_wrong_setting_names_its_variable_and_not_its_value(elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setenv("TWILIO_ACCOUNT_SID", "hush-hush")
    with pytest.raises(MissingCredentials, match="TWILIO_ACCOUNT_SID") as wrong:
        sources()
    assert "hush" not in str(wrong.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{purchase.completed: 1}", "^HUBSPOT_TIMELINE_EVENTS: must be JSON$"),
        ('{"purchase.completed": "a template"}', r"^HUBSPOT_TIMELINE_EVENTS_PURCHASE.COMPLETED: String should match"),
        ('{"contact.erased": "77"}', "^HUBSPOT_TIMELINE_EVENTS: contact.erased is told in another way$"),
    ],
)
def test_a_wrong_setting_of_several_values_is_one_line(elsewhere: pytest.MonkeyPatch, value: str, reason: str) -> None:
    elsewhere.setenv("HUBSPOT_TIMELINE_EVENTS", value)
    with pytest.raises(MissingCredentials, match=reason):
        sources()


def test_what_is_live_is_asked_of_stripe_before_the_business_itself(elsewhere: pytest.MonkeyPatch) -> None:
    assert made().live == ()
    for name, value in (("STRIPE_API_KEY", "rk_1"), ("LIVE_URL", "https://app.example.com"), ("LIVE_SECRET", "s")):
        elsewhere.setenv(name, value)
    assert [source.name for source in made().live] == ["stripe", "live"]


def test_endpoints_have_a_secret_each(elsewhere: pytest.MonkeyPatch) -> None:
    endpoint = {"told": ["webhook/erp"], "endpoints": {"erp": "https://erp.example.com/hook"}}
    elsewhere.setenv("WEBHOOK_ERP_SECRET", SECRET)
    assert made(**endpoint).sinks["webhook/erp"].name == "webhook/erp"
    elsewhere.setenv("WEBHOOK_ERP_SECRET", "whsec_c2hvcnQ=")
    with pytest.raises(MissingCredentials, match="WEBHOOK_ERP_SECRET: must be whsec_ and 24 to 64 bytes"):
        made(**endpoint)


def test_each_calls_out_at_the_pace_of_its_system(elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setenv("RESEND_API_KEY", "re_1")
    elsewhere.setenv("HUBSPOT_ACCESS_TOKEN", "t")
    elsewhere.setenv("HUBSPOT_CALLS_PER_SECOND", "3")
    asked: dict[str, float | None] = {}

    def pace(name: str, per_second: float | None) -> None:
        asked[name] = per_second

    wiring = Wiring({"email": ["resend"]})
    outlets(wiring, mail_from="hello@example.com", production=False, pace=pace)
    assert asked == {"hubspot": 3, "resend": 2}


def test_the_policy_says_who_does_what(policy: Policy) -> None:
    found = wiring(policy)
    assert found.providers == {
        "email": ["smtp"], "call": ["errands"], "note": ["errands"], "gift": ["errands"], "mail": ["errands"],
    }  # fmt: skip
    mail = Provider(primary="postmark", fallback="ses", outage="fall_back")
    found = wiring(changed(policy, providers={"email": mail, "sms": Provider(primary="twilio")}))
    assert (found.providers["email"], found.providers["sms"]) == (["postmark", "ses"], ["twilio"])
    assert set(configured.SOURCES) >= {"stripe", "hubspot"}
