"""Amazon SES: what a notification of SNS must be to be believed, what it means, and what is sent."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest
import respx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AwsCredentials
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http, sns
from connectors.base import Accepted, Confirms, Message, Prepares, Refused, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.ses import Ses, SesSettings
from contacts.events import Event

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/ses"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:mail-events"
HOST = "https://sns.eu-central-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0a1b2c.pem"
CONFIRM = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t0ken"
SECRET = "s3cret/key"
KEY = "0b5a-11/greet_them/2"
SEND = "https://email.eu-central-1.amazonaws.com/v2/email/outbound-emails"
SENDER = "Fernhill Studio <hello@fernhill.example.com>"
MESSAGE = Message(
    KEY,
    "Alice@example.com",
    "Grüße, and two things",
    "Hello\n",
    "<p>Hello</p>",
    unsubscribe_url="https://hub.example.com/u/t0ken",
    metadata={"journey": "welcome", "template": "second"},
)

RSA_KEY = rsa.generate_private_key(65537, 2048)


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = RSA_KEY,
    since: datetime = NOW - timedelta(days=30),
    until: datetime = NOW + timedelta(days=30),
) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    draft = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    draft = draft.serial_number(1).not_valid_before(since).not_valid_after(until)
    return draft.sign(key, SHA256()).public_bytes(Encoding.PEM)


PEM = certificate()


def made(client: httpx.AsyncClient | None = None, **given: Any) -> Ses:
    wanted = {
        "region": "eu-central-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": SECRET,
        "configuration_set": "journeys",
        "topic_arn": TOPIC,
        **given,
    }
    return Ses(SesSettings(_env_file=None, **wanted), client, from_address=SENDER)


SES = made()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


@pytest.fixture
def aws() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


def request(envelope: Any) -> Request:
    return Request("POST", URL, {"content-type": "text/plain; charset=UTF-8"}, json.dumps(envelope).encode())


def signed(type: str = "Notification", version: str = "1", *, key: rsa.RSAPrivateKey = RSA_KEY, **more: Any) -> Request:
    """A request as SNS writes it: the string to sign is put together here once more, apart from our code."""
    envelope: dict[str, Any] = {
        "Type": type,
        "MessageId": "22b80b92-fdea",
        "TopicArn": TOPIC,
        "Message": "Grüße",
        "Timestamp": "2026-03-02T08:59:58.123Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
    }
    if type == "Notification":
        envelope["UnsubscribeURL"] = f"{HOST}/?Action=Unsubscribe"
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    else:
        envelope |= {"Token": "t0ken", "SubscribeURL": CONFIRM}
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    envelope |= more
    text = "".join(f"{name}\n{envelope[name]}\n" for name in names if envelope.get(name) is not None)
    hash = SHA1() if version == "1" else SHA256()  # noqa: S303
    envelope["Signature"] = b64encode(key.sign(text.encode(), PKCS1v15(), hash)).decode()
    return request(envelope)


def altered(given: Request, **fields: Any) -> Request:
    return request({**json.loads(given.body), **fields})


async def believed(ses: Ses, given: Request, now: datetime = NOW) -> None:
    await ses.prepare(given)
    ses.verify(given, now)


async def refusal(ses: Ses, given: Request, now: datetime = NOW) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await believed(ses, given, now)
    return caught.value.status, caught.value.reason


def test_what_it_is() -> None:
    assert isinstance(SES, Source)
    assert isinstance(SES, Prepares)
    assert isinstance(SES, Confirms)
    assert isinstance(SES, Sender)
    assert (SES.idempotent, SES.listed_within) == (False, None)


class TestSignature:
    @pytest.fixture
    def ses(self, client: httpx.AsyncClient, aws: respx.MockRouter) -> Ses:
        aws.get(CERTIFICATE, name="certificate").respond(200, content=PEM)
        return made(client)

    @pytest.mark.parametrize("version", ["1", "2"])
    @pytest.mark.parametrize("type", ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"])
    async def test_every_type_in_both_versions(self, ses: Ses, type: str, version: str) -> None:
        await believed(ses, signed(type, version))

    async def test_a_subject_counts_where_there_is_one(self, ses: Ses) -> None:
        good = signed(Subject="Hello")
        await believed(ses, good)
        await believed(ses, signed(Subject=None))
        await believed(ses, signed(Subject=""))
        assert (await refusal(ses, altered(good, Subject=None)))[0] == 401
        assert (await refusal(ses, altered(signed(), Subject="Hello")))[0] == 401

    @pytest.mark.parametrize(
        "field", ["Message", "MessageId", "Timestamp", "Token", "SubscribeURL", "Signature", "SignatureVersion", "Type"]
    )
    async def test_whatever_is_altered_is_refused(self, ses: Ses, field: str) -> None:
        other = {
            "Type": "UnsubscribeConfirmation",
            "SignatureVersion": "2",
            "Signature": b64encode(b"x" * 256).decode(),
            "Timestamp": "2026-03-02T08:59:58.124Z",
        }
        given = altered(signed("SubscriptionConfirmation"), **{field: other.get(field, "other")})
        assert await refusal(ses, given) == (401, "the signature does not match")

    async def test_another_key(self, ses: Ses) -> None:
        other = rsa.generate_private_key(65537, 2048)
        assert await refusal(ses, signed(key=other)) == (401, "the signature does not match")

    @pytest.mark.parametrize("signature", ["", "%%%", "é", "AAAA"])
    async def test_a_signature_that_is_none(self, ses: Ses, signature: str) -> None:
        assert await refusal(ses, altered(signed(), Signature=signature)) == (401, "the signature does not match")

    async def test_the_topic_is_pinned(self, ses: Ses, aws: respx.MockRouter) -> None:
        # Signed by SNS as validly as ours, for the topic of somebody else.
        foreign = signed(TopicArn="arn:aws:sns:eu-central-1:210987654321:mail-events")
        status, reason = await refusal(ses, foreign)
        assert (status, "topic" in reason) == (401, True)
        assert not aws.calls

    async def test_without_a_topic_everything_is_refused(
        self, client: httpx.AsyncClient, aws: respx.MockRouter
    ) -> None:
        status, reason = await refusal(made(client, topic_arn=None), signed())
        assert (status, "no topic is set" in reason) == (401, True)
        assert not aws.calls

    async def test_several_topics(self, client: httpx.AsyncClient, aws: respx.MockRouter) -> None:
        aws.get(CERTIFICATE).respond(200, content=PEM)
        await believed(made(client, topic_arn=f"{TOPIC}-2, {TOPIC}"), signed())

    @pytest.mark.parametrize(
        "url",
        [
            CERTIFICATE.replace("https", "http"),
            "https://sns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.s3-us-west-2.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com.evil.example.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com@evil.example.com/a.pem",
            "https://evil.example.com/sns.eu-central-1.amazonaws.com/a.pem",
            "https://snsxeu-central-1.amazonaws.com/a.pem",
            "https://169.254.169.254/a.pem",
            f"{HOST}:8443/a.pem",
            f"{HOST}/a.pem?b",
            f"{HOST}/a.pem#b",
            f"{HOST}/a.pem\n",
            f"{HOST}/a/b.pem",
            f"{HOST}/../a.pem",
            f"{HOST}/a.txt",
            "",
        ],
    )
    async def test_no_other_url_is_ever_fetched(self, ses: Ses, aws: respx.MockRouter, url: str) -> None:
        status, reason = await refusal(ses, signed(SigningCertURL=url))
        assert (status, "SigningCertURL" in reason) == (401, True)
        assert not aws.calls

    async def test_the_china_partition_has_a_host_of_its_own(
        self, client: httpx.AsyncClient, aws: respx.MockRouter
    ) -> None:
        url = "https://sns.cn-north-1.amazonaws.com.cn/a.pem"
        topic = "arn:aws-cn:sns:cn-north-1:123456789012:mail-events"
        aws.get(url).respond(200, content=PEM)
        await believed(made(client, topic_arn=topic), signed(TopicArn=topic, SigningCertURL=url))

    async def test_a_certificate_is_fetched_once(self, ses: Ses, aws: respx.MockRouter) -> None:
        for _ in range(3):
            await believed(ses, signed())
        assert aws["certificate"].call_count == 1

    async def test_few_certificates_are_kept(self, ses: Ses, aws: respx.MockRouter) -> None:
        aws.get(url__regex=rf"{HOST}/[0-9]+\.pem").respond(200, content=PEM)
        urls = [f"{HOST}/{number}.pem" for number in range(sns.CERTIFICATES)]
        for url in (CERTIFICATE, *urls):
            await believed(ses, signed(SigningCertURL=url))
        await believed(ses, signed())
        assert aws["certificate"].call_count == 2

    async def test_nothing_is_believed_before_its_certificate_is_here(self, ses: Ses) -> None:
        with pytest.raises(Refused, match="has not been fetched"):
            ses.verify(signed(), NOW)

    @pytest.mark.parametrize(
        "answer",
        [
            httpx.Response(500),
            httpx.Response(403),
            httpx.Response(302, headers={"location": "https://evil.example.com/a.pem"}),
            httpx.Response(200, content=b"not a certificate"),
            httpx.ConnectTimeout(""),
            httpx.ReadTimeout(""),
        ],
    )
    async def test_a_certificate_that_cannot_be_had_now(
        self, client: httpx.AsyncClient, aws: respx.MockRouter, answer: Any
    ) -> None:
        fetch = aws.get(CERTIFICATE).mock(side_effect=[answer, httpx.Response(200, content=PEM)])
        ses = made(client)
        with pytest.raises(TryAgain):
            await ses.prepare(signed())
        await believed(ses, signed())
        assert fetch.call_count == 2

    @pytest.mark.parametrize(
        ("since", "until", "taken"),
        [
            (NOW - timedelta(days=9), NOW + timedelta(seconds=1), True),
            (NOW - timedelta(days=9), NOW - timedelta(seconds=1), False),
            (NOW + timedelta(seconds=1), NOW + timedelta(days=9), False),
        ],
    )
    async def test_a_certificate_has_its_time(
        self, client: httpx.AsyncClient, aws: respx.MockRouter, since: datetime, until: datetime, taken: bool
    ) -> None:
        aws.get(CERTIFICATE).respond(200, content=certificate(since=since, until=until))
        if taken:
            await believed(made(client), signed())
        else:
            assert await refusal(made(client), signed()) == (401, "the certificate that signed this is not valid now")

    async def test_a_certificate_of_another_kind(self, client: httpx.AsyncClient, aws: respx.MockRouter) -> None:
        aws.get(CERTIFICATE).respond(200, content=certificate(ec.generate_private_key(ec.SECP256R1())))
        assert (await refusal(made(client), signed()))[0] == 401

    @pytest.mark.parametrize(("minutes", "taken"), [(-76, False), (-74, True), (4, True), (6, False)])
    async def test_age(self, ses: Ses, minutes: int, taken: bool) -> None:
        given = signed(Timestamp=(NOW + timedelta(minutes=minutes)).isoformat())
        if taken:
            await believed(ses, given)
        else:
            assert (await refusal(ses, given))[0] == 401

    @pytest.mark.parametrize("sent", ["", "yesterday", "2026-03-02T08:59:58"])
    async def test_a_timestamp_that_is_none(self, ses: Ses, sent: str) -> None:
        assert (await refusal(ses, signed(Timestamp=sent)))[0] == 400

    async def test_a_body_without_its_envelope(self, ses: Ses) -> None:
        status, reason = await refusal(ses, request({"eventType": "Delivery", "mail": {}}))
        assert (status, "raw message delivery must be off" in reason) == (400, True)
        assert (await refusal(ses, Request("POST", URL, {}, b"hello")))[0] == 400
        assert (await refusal(ses, altered(signed(), Type="Other")))[0] == 400
        assert (await refusal(ses, altered(signed(), SignatureVersion="3")))[0] == 400


class TestConfirmation:
    async def test_a_subscription_is_confirmed(self, client: httpx.AsyncClient, aws: respx.MockRouter) -> None:
        call = aws.get(CONFIRM).respond(200, text="<ConfirmSubscriptionResponse/>")
        ses = made(client)
        await ses.confirm(signed("SubscriptionConfirmation"))
        await ses.confirm(signed("SubscriptionConfirmation"))
        assert call.call_count == 2

    @pytest.mark.parametrize("type", ["Notification", "UnsubscribeConfirmation"])
    async def test_nothing_else_is(self, client: httpx.AsyncClient, aws: respx.MockRouter, type: str) -> None:
        await made(client).confirm(signed(type, SubscribeURL=CONFIRM))
        assert not aws.calls

    @pytest.mark.parametrize(
        "url",
        [
            None,
            "",
            CONFIRM.replace("https", "http"),
            CONFIRM.replace("eu-central-1.amazonaws", "evil.example"),
            CONFIRM.replace(f"{HOST}/", "https://169.254.169.254/"),
            CONFIRM.replace(f"{HOST}/", f"{HOST}@evil.example.com/"),
            CONFIRM.replace(f"{HOST}/", f"{HOST}:8443/"),
            CONFIRM.replace(f"{HOST}/?", f"{HOST}/other?"),
            CONFIRM.replace("ConfirmSubscription", "DeleteTopic"),
            CONFIRM.replace("mail-events", "other"),
            CONFIRM + "&Action=DeleteTopic",
            "https://[",
        ],
    )
    async def test_no_other_url_is_ever_called(
        self, client: httpx.AsyncClient, aws: respx.MockRouter, url: str | None
    ) -> None:
        with pytest.raises(NeverAgain, match="SubscribeURL"):
            await made(client).confirm(signed("SubscriptionConfirmation", SubscribeURL=url))
        assert not aws.calls

    async def test_of_a_topic_that_is_not_ours(self, client: httpx.AsyncClient, aws: respx.MockRouter) -> None:
        topic = f"{TOPIC}-2"
        foreign = signed("SubscriptionConfirmation", TopicArn=topic, SubscribeURL=CONFIRM.replace(TOPIC, topic))
        with pytest.raises(Refused):
            await made(client).confirm(foreign)
        assert not aws.calls

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (httpx.Response(500), TryAgain),
            (httpx.Response(429), TryAgain),
            (httpx.ReadTimeout(""), TryAgain),
            (httpx.Response(400), NeverAgain),
            (httpx.Response(302, headers={"location": "https://evil.example.com/"}), NeverAgain),
        ],
    )
    async def test_it_did_not_work(
        self, client: httpx.AsyncClient, aws: respx.MockRouter, answer: Any, kind: type[ConnectorError]
    ) -> None:
        aws.get(CONFIRM).mock(side_effect=[answer])
        with pytest.raises(kind):
            await made(client).confirm(signed("SubscriptionConfirmation"))
        assert len(aws.calls) == 1


MAIL = {
    "messageId": "0100-a1",
    "timestamp": "2026-03-02T08:00:00.000Z",
    "source": "hello@fernhill.example.com",
    "destination": ["Alice@example.com"],
    "tags": {"ses:configuration-set": ["journeys"], "touch": ["0b5a-11--greet_them--2"]},
}
AT = "2026-03-02T08:30:00.500Z"


def notice(kind: str, *, mail: dict[str, Any] | None = None, field: str = "eventType", **parts: Any) -> Request:
    return signed(Message=json.dumps({field: kind, "mail": {**MAIL, **(mail or {})}, **parts}))


def only(given: Request) -> Event:
    (event,) = SES.parse(given, NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def bounce(type: str, sub_type: str, *addresses: str) -> dict[str, Any]:
    recipients = [{"emailAddress": a, "diagnosticCode": "smtp; 550 no"} for a in addresses or ("alice@example.com",)]
    return {"bounceType": type, "bounceSubType": sub_type, "bouncedRecipients": recipients, "timestamp": AT}


def complaint(**more: Any) -> dict[str, Any]:
    return {"complainedRecipients": [{"emailAddress": "alice@example.com"}], "timestamp": AT, **more}


@pytest.mark.parametrize("field", ["eventType", "notificationType"])
@pytest.mark.parametrize(
    ("kind", "parts", "type"),
    [
        ("Delivery", {"delivery": {"recipients": ["alice@example.com"], "timestamp": AT}}, "message.delivered"),
        ("Open", {"open": {"timestamp": AT, "ipAddress": "192.0.2.1", "userAgent": "x"}}, "message.opened"),
        ("Click", {"click": {"timestamp": AT, "link": "https://example.com/a"}}, "message.clicked"),
        ("Complaint", {"complaint": complaint(complaintFeedbackType="abuse")}, "message.complained"),
        ("Complaint", {"complaint": complaint(complaintSubType=None)}, "message.complained"),
    ],
)
def test_what_became_of_a_mail(field: str, kind: str, parts: dict[str, Any], type: str) -> None:
    event = only(notice(kind, field=field, **parts))
    assert (event.type, event.source) == (type, "ses")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 30, 0, 500_000, tzinfo=UTC)
    assert (event.data["touch"], event.data["channel"], event.data["message_id"]) == (KEY, "email", "0100-a1")
    assert event.data["address"].lower() == "alice@example.com"
    assert event.data.get("url") == ("https://example.com/a" if type == "message.clicked" else None)
    assert not {"ipAddress", "userAgent"} & event.data.keys()
    assert who(event) == {("email", "alice@example.com")}
    assert "alice" not in event.source_id


@pytest.mark.parametrize(
    ("type", "sub_type", "permanent"),
    [
        ("Permanent", "General", True),
        ("Permanent", "NoEmail", True),
        ("Permanent", "Suppressed", True),
        ("Permanent", "OnAccountSuppressionList", True),
        ("Transient", "General", False),
        ("Transient", "MailboxFull", False),
        ("Undetermined", "Undetermined", False),
    ],
)
def test_bounces(type: str, sub_type: str, permanent: bool) -> None:
    event = only(notice("Bounce", bounce=bounce(type, sub_type)))
    assert event.type == "message.bounced"
    assert (event.data["permanent"], event.data["reason"]) == (permanent, f"{type} {sub_type}")
    assert event.data["address"] == "alice@example.com"
    assert event.data["touch"] == KEY


def test_who_unsubscribed_in_a_list_of_ses_has_an_address_that_works() -> None:
    bounced, withdrawn = SES.parse(notice("Bounce", bounce=bounce("Permanent", "UnsubscribedRecipient")), NOW)
    assert (bounced.type, bounced.data["permanent"]) == ("message.bounced", False)
    assert (withdrawn.type, withdrawn.data["channel"], withdrawn.data["purpose"]) == (
        "consent.withdrawn",
        "email",
        "all",
    )
    assert bounced.source_id != withdrawn.source_id


def test_a_mail_that_is_late_or_was_rejected() -> None:
    delay = {"delayedRecipients": [{"emailAddress": "alice@example.com"}], "delayType": "MailboxFull", "timestamp": AT}
    late = only(notice("DeliveryDelay", deliveryDelay=delay))
    assert (late.type, late.data["permanent"], late.data["reason"]) == ("message.bounced", False, "delayed MailboxFull")
    rejected = only(notice("Reject", reject={"reason": "Bad content"}))
    assert (rejected.type, rejected.data["permanent"], rejected.data["reason"]) == (
        "message.bounced",
        False,
        "rejected",
    )


def test_a_complaint_of_long_ago_is_none_of_this_mail() -> None:
    event = only(notice("Complaint", complaint=complaint(complaintSubType="OnAccountSuppressionList")))
    assert (event.type, event.data["permanent"]) == ("message.bounced", True)


def test_not_spam_is_no_complaint() -> None:
    assert SES.parse(notice("Complaint", complaint=complaint(complaintFeedbackType="not-spam")), NOW) == []


def wishes(all: bool, **topics: str) -> dict[str, Any]:
    listed = [{"topicName": name, "subscriptionStatus": status} for name, status in topics.items()]
    return {"unsubscribeAll": all, "topicSubscriptionStatus": listed}


@pytest.mark.parametrize(
    ("new", "old", "withdrawn"),
    [
        (wishes(True), wishes(False), True),
        (wishes(False, news="OptOut"), wishes(False, news="OptIn"), True),
        (wishes(False, news="OptOut"), None, True),
        (wishes(False, news="OptOut", tips="OptIn"), wishes(False, news="OptOut"), False),
        (wishes(False, news="OptIn"), wishes(True), False),
        (None, None, False),
    ],
)
def test_a_change_of_subscription(new: Any, old: Any, withdrawn: bool) -> None:
    change = {"timestamp": AT, "contactList": "all", "newTopicPreferences": new, "oldTopicPreferences": old}
    events = SES.parse(notice("Subscription", subscription=change), NOW)
    assert [(e.type, e.data.get("channel"), e.data.get("purpose")) for e in events] == (
        [("consent.withdrawn", "email", "all")] if withdrawn else []
    )


def test_every_recipient_is_an_event() -> None:
    events = SES.parse(notice("Bounce", bounce=bounce("Permanent", "General", "a@example.com", "b@example.com")), NOW)
    assert [e.data["address"] for e in events] == ["a@example.com", "b@example.com"]
    assert len({e.source_id for e in events}) == 2


def test_the_same_said_twice_is_one_event() -> None:
    parts = {"open": {"timestamp": AT}}
    first, again = only(notice("Open", **parts)), only(altered(notice("Open", **parts), MessageId="another"))
    assert first.source_id == again.source_id
    others = [
        notice("Open", open={"timestamp": "2026-03-02T08:30:01Z"}),
        notice("Open", mail={"messageId": "0100-a2"}, **parts),
        notice("Open", mail={"destination": ["bob@example.com"]}, **parts),
        notice("Click", click={"timestamp": AT, "link": "https://example.com/a"}),
        notice("Click", click={"timestamp": AT, "link": "https://example.com/b"}),
    ]
    assert len({first.source_id, *(only(other).source_id for other in others)}) == 6


@pytest.mark.parametrize("tags", [None, {}, {"touch": []}, {"touch": [""]}, {"other": ["x"]}])
def test_mail_that_is_none_of_ours(tags: Any) -> None:
    assert "touch" not in only(notice("Open", mail={"tags": tags}, open={"timestamp": AT})).data


@pytest.mark.parametrize("kind", ["Send", "Rendering Failure", "AmazonSnsSubscriptionSucceeded", "Received", "New"])
def test_other_kinds_mean_nothing(kind: str) -> None:
    assert SES.parse(notice(kind), NOW) == []
    assert SES.parse(signed(Message=json.dumps({"notificationType": kind, "message": "hello"})), NOW) == []


def test_messages_that_are_none_of_ses() -> None:
    test = "Successfully validated SNS topic for Amazon SES event publishing."
    for arriving in (
        signed(Message=test),
        signed(Message=""),
        signed(Message="[1]"),
        signed("SubscriptionConfirmation"),
        signed("UnsubscribeConfirmation", Message=json.dumps({"eventType": "Open"})),
    ):
        assert SES.parse(arriving, NOW) == []


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^Message: is not JSON$"):
        SES.parse(signed(Message='{"eventType": "Open'), NOW)
    with pytest.raises(ValueError, match=r"^timestamp: "):
        SES.parse(notice("Open"), NOW)
    with pytest.raises(ValueError, match=r"^mail: "):
        SES.parse(signed(Message='{"eventType": "Open"}'), NOW)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["Bounce", "Complaint", "Delivery", "DeliveryDelay", "Reject", "Open", "Click", "Subscription"])
ENVELOPE = ["Type", "MessageId", "TopicArn", "Message", "Timestamp", "SigningCertURL", "Signature", "SubscribeURL"]
SOME = st.just("2026-03-02T08:30:00Z") | st.just("9999-12-31T23:59:59-12:00") | ANY


@given(
    KINDS,
    st.dictionaries(st.sampled_from(["messageId", "timestamp", "destination", "tags"]), SOME),
    st.dictionaries(st.sampled_from(["timestamp", "recipients", "bounceType", "bouncedRecipients", "link"]), SOME),
    st.dictionaries(st.sampled_from(ENVELOPE), ANY),
    st.binary(),
)
def test_junk_bodies_parse_or_raise_a_value_error(
    kind: str, mail: dict[str, Any], part: dict[str, Any], envelope: dict[str, Any], raw: bytes
) -> None:
    name = kind[0].lower() + kind[1:]
    bare = json.loads(SIGNED.body)
    inner = json.dumps({"eventType": kind, "mail": {**MAIL, **mail}, name: part})
    for arriving in (
        request({**bare, "Message": inner}),
        request({**bare, "Message": inner, **envelope}),
        request(envelope),
        Request("POST", URL, {}, raw),
    ):
        try:
            SES.parse(arriving, NOW)
        except ValueError as error:
            assert "\n" not in str(error)


SIGNED = signed()


@given(st.dictionaries(st.sampled_from(ENVELOPE[:-1]), ANY, min_size=1), st.binary())
async def test_junk_is_refused(envelope: dict[str, Any], raw: bytes) -> None:
    transport = httpx.MockTransport(lambda asked: httpx.Response(200, content=PEM))
    async with httpx.AsyncClient(transport=transport) as client:
        ses = made(client)
        await believed(ses, SIGNED)
        for arriving in (altered(SIGNED, **envelope), request(envelope), Request("POST", URL, {}, raw)):
            await refusal(ses, arriving)


@pytest.fixture
def sending(client: httpx.AsyncClient) -> Ses:
    return made(client)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


async def test_a_mail_goes_out(sending: Ses, aws: respx.MockRouter) -> None:
    route = aws.post(SEND).respond(200, json={"MessageId": "0100-a1"})
    assert await sending.send(MESSAGE) == Accepted("0100-a1")
    assert sent(route) == {
        "FromEmailAddress": "Fernhill Studio <hello@fernhill.example.com>",
        "Destination": {"ToAddresses": ["Alice@example.com"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "Grüße, and two things", "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": "Hello\n", "Charset": "UTF-8"},
                    "Html": {"Data": "<p>Hello</p>", "Charset": "UTF-8"},
                },
                "Headers": [
                    {"Name": "Auto-Submitted", "Value": "auto-generated"},
                    {"Name": "List-Unsubscribe", "Value": "<https://hub.example.com/u/t0ken>"},
                    {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
                ],
            }
        },
        "EmailTags": [{"Name": "touch", "Value": "0b5a-11--greet_them--2"}],
        "ConfigurationSetName": "journeys",
    }


@pytest.mark.parametrize("token", [None, "lent-t0ken"])
async def test_the_call_is_signed_as_aws_signs(
    client: httpx.AsyncClient, aws: respx.MockRouter, token: str | None
) -> None:
    route = aws.post(SEND).respond(200, json={"MessageId": "1"})
    before = datetime.now(UTC).replace(microsecond=0)
    await made(client, session_token=token).send(MESSAGE)
    call = route.calls.last.request
    at = datetime.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert before <= at <= datetime.now(UTC)
    again = AWSRequest("POST", SEND, headers={"Content-Type": call.headers["content-type"]}, data=call.content)
    with patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        SigV4Auth(AwsCredentials("AKIDEXAMPLE", SECRET, token), "ses", "eu-central-1").add_auth(again)
    assert call.headers["authorization"] == again.headers["Authorization"]
    assert call.headers.get("x-amz-security-token") == token


async def test_no_way_out_text_alone_and_no_configuration_set(client: httpx.AsyncClient, aws: respx.MockRouter) -> None:
    route = aws.post(SEND).respond(200, json={"MessageId": "1"})
    await made(client, configuration_set=None).send(replace(MESSAGE, html=None, unsubscribe_url=None))
    simple = sent(route)["Content"]["Simple"]
    assert simple["Body"].keys() == {"Text"}
    assert [header["Name"] for header in simple["Headers"]] == ["Auto-Submitted"]
    assert "ConfigurationSetName" not in sent(route)


async def test_names_and_domains_outside_ascii(client: httpx.AsyncClient, aws: respx.MockRouter) -> None:
    route = aws.post(SEND).respond(200, json={"MessageId": "1"})
    settings = SesSettings(_env_file=None, region="eu-central-1", access_key_id="A", secret_access_key="b")
    ses = Ses(settings, client, from_address="Grüße <hello@fernhill.example.com>")
    await ses.send(replace(MESSAGE, to="alice@bücher.example.com"))
    name, _, address = sent(route)["FromEmailAddress"].partition(" ")
    assert address == "<hello@fernhill.example.com>"
    assert b64decode(name.removeprefix("=?utf-8?b?").removesuffix("?=")).decode() == "Grüße"
    assert sent(route)["Destination"]["ToAddresses"] == ["alice@xn--bcher-kva.example.com"]
    with pytest.raises(NeverAgain, match="to is outside ASCII"):
        await ses.send(replace(MESSAGE, to="grüße@example.com"))


@pytest.mark.parametrize(
    ("status", "code", "kind", "delay"),
    [
        (429, "TooManyRequestsException", TryAgain, None),
        (400, "TooManyRequestsException", TryAgain, None),
        (400, "LimitExceededException", TryAgain, timedelta(hours=1)),
        (400, "SendingPausedException", TryAgain, timedelta(hours=1)),
        (400, "AccountSuspendedException", NeverAgain, None),
        (400, "MessageRejected", NeverAgain, None),
        (400, "MailFromDomainNotVerifiedException", NeverAgain, None),
        (400, "BadRequestException", NeverAgain, None),
        (403, "SignatureDoesNotMatch", NeverAgain, None),
        (404, "NotFoundException", NeverAgain, None),
        (500, "InternalServiceErrorException", Unknown, None),
        (503, "ServiceUnavailable", Unknown, None),
    ],
)
@pytest.mark.parametrize("place", ["header", "body"])
async def test_each_refusal(
    sending: Ses,
    aws: respx.MockRouter,
    status: int,
    code: str,
    kind: type[ConnectorError],
    delay: timedelta | None,
    place: str,
) -> None:
    said: dict[str, str] = {"message": "Email address is not verified: alice@example.com"}
    headers = {"x-amzn-requestid": "r-1"}
    if place == "header":
        headers["x-amzn-errortype"] = f"{code}:http://internal.amazon.com/coral/"
    else:
        said["__type"] = f"com.amazonaws.ses#{code}"
    aws.post(SEND).respond(status, json=said, headers=headers)
    with pytest.raises(kind) as caught:
        await sending.send(MESSAGE)
    assert (caught.value.reason, caught.value.request_id) == (f"{status} {code}", "r-1")
    if isinstance(caught.value, TryAgain):
        assert caught.value.delay == delay
    for secret in (SECRET, "lice@example.com", "AKIDEXAMPLE"):
        assert secret not in repr(caught.value) + str(caught.value)


async def test_an_answer_that_was_lost(sending: Ses, aws: respx.MockRouter) -> None:
    aws.post(SEND).mock(side_effect=[httpx.ReadTimeout(""), httpx.Response(200, json={})])
    for _ in range(2):
        with pytest.raises(Unknown):
            await sending.send(MESSAGE)


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"to": "alice"}, BadAddress, "not an e-mail address"),
        ({"subject": "a\r\nBcc: eve@example.com"}, NeverAgain, "subject holds a control character"),
        ({"subject": "x" * 901}, NeverAgain, "subject: is longer than 900"),
        ({"unsubscribe_url": "mailto:stop@example.com"}, NeverAgain, "unsubscribe_url is not"),
        ({"key": "a b"}, NeverAgain, "key does not fit into a tag"),
        ({"key": "a" * 257}, NeverAgain, "key does not fit into a tag"),
    ],
)
async def test_what_is_refused_before_a_call(
    sending: Ses, aws: respx.MockRouter, changes: dict[str, str], kind: type[NeverAgain], says: str
) -> None:
    with pytest.raises(kind, match=says):
        await sending.send(replace(MESSAGE, **changes))
    assert not aws.calls


@pytest.mark.parametrize("without", ["region", "access_key_id", "secret_access_key"])
async def test_what_is_not_set_is_named(without: str) -> None:
    with pytest.raises(NeverAgain, match=f"SES_{without.upper()}"):
        await made(**{without: None}).send(MESSAGE)


async def test_a_sender_without_an_address() -> None:
    with pytest.raises(NeverAgain, match="no address to send from"):
        await Ses(SesSettings(_env_file=None)).send(MESSAGE)
    with pytest.raises(ValueError, match="is not a sender"):
        Ses(SesSettings(_env_file=None), from_address="Fernhill")
    with pytest.raises(NeverAgain):
        await SES.look_up(KEY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topic_arn", "mail-events"),
        ("topic_arn", f"{TOPIC},x"),
        ("topic_arn", TOPIC.replace("eu-central-1", "evil.example.com/")),
        ("region", "eu-central-1.evil.example.com"),
        ("configuration_set", "a b"),
    ],
)
def test_settings_that_aws_would_not_take(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name) as caught:
        made(**{name: value})
    assert SECRET not in str(caught.value)
