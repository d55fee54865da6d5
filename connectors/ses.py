"""Amazon SES: mail goes out by its API; what became of it comes in through SNS."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import formataddr
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr
from pydantic_core import from_json
from pydantic_settings import SettingsConfigDict

from connectors import http, mail, sigv4, sns
from connectors.base import Accepted, Message, Request, key_of
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, TryAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, one_line_errors
from contacts.events import Event, InvalidEvent, event, identities

TAG = "touch"
"""The tag that holds our touch's key."""

LARGEST_MAIL = 40 * 1024 * 1024
"""Bytes of text and HTML together. SES counts the mail it makes of them, which is larger."""

_LIMITS = Limits("ses", named={"text and html": LARGEST_MAIL}, unit="bytes")


def _topics(setting: str) -> str:
    if not all(sns.TOPIC.fullmatch(topic.strip()) for topic in setting.split(",")):
        raise ValueError("must be the ARN of an SNS topic, or several with commas between")
    return setting


class SesSettings(Credentials):
    """``SES_*``.

    Attributes:
        region: Where mail goes out and where the keys are used, such as ``eu-central-1``.
        access_key_id, secret_access_key: Of a user who may ``ses:SendEmail``.
        session_token: With keys that are lent for a while.
        configuration_set: Through which mail goes out; its event destination is what tells us what became of it.
        topic_arn: The SNS topic we believe; several may stand side by side, with commas.
        base_url: Another endpoint than the region's.
    """

    model_config = SettingsConfigDict(env_prefix="SES_")

    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$")] | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    configuration_set: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    topic_arn: Annotated[str, AfterValidator(_topics)] | None = None
    base_url: HttpUrl | None = None


@checked
class Ses(sns.FromSns):
    """The ``Sender`` of mail through Amazon SES, and the ``Source`` of what became of it."""

    name: ClassVar[str] = "ses"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(
        self, settings: SesSettings, client: httpx.AsyncClient | None = None, *, from_address: str = ""
    ) -> None:
        """Keeps the settings; connects to nothing.

        Raises:
            ValueError: ``from_address`` is given and holds no address.
        """
        topics = (settings.topic_arn or "").split(",")
        super().__init__(tuple(topic.strip() for topic in topics if topic.strip()), client or http.new_client())
        self._settings = settings
        self._from = mail.sender(from_address) if from_address else None

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. What SNS says about a subscription, and SES's test message, mean nothing."""
        envelope = sns.read(request)
        if envelope.Type != "Notification" or not envelope.Message.lstrip().startswith("{"):
            return []
        try:
            document = from_json(envelope.Message)
        except ValueError:
            raise InvalidEvent("Message", "is not JSON") from None
        with one_line_errors():
            kind = _Kind.model_validate(document)
            read = _READERS.get(kind.eventType or kind.notificationType or "")
            return read(_Notice.model_validate(document)) if read else []

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. SES drops no repeats: a call without an answer is ``Unknown``."""
        if self._from is None:
            raise NeverAgain(self.name, "there is no address to send from")
        checked = mail.check(self.name, message, self._from.domain)
        parts = {"Text": checked.text, **({} if checked.html is None else {"Html": checked.html})}
        _LIMITS.check({"text and html": "".join(parts.values())})
        # SES writes a Feedback-ID of its own, by which mailbox providers know it.
        headers = {name: value for name, value in checked.headers.items() if name != "Feedback-ID"}
        through = self._settings.configuration_set
        content = {
            "FromEmailAddress": formataddr((self._from.display_name, self._from.addr_spec)),
            "Destination": {"ToAddresses": [_ascii(checked.to.username, checked.to.domain)]},
            "Content": {
                "Simple": {
                    "Subject": _utf8(message.subject),
                    "Body": {name: _utf8(text) for name, text in parts.items()},
                    "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
                }
            },
            "EmailTags": [{"Name": TAG, "Value": mail.tag(self.name, message.key)}],
            **({"ConfigurationSetName": through} if through else {}),
        }
        request = self._signed("/v2/email/outbound-emails", json.dumps(content).encode())
        try:
            made, request_id = await http.exchange(self._client, _PROVIDER, request, _Created, idempotent=False)
        except http.Rejected as error:
            code = error.reason.rpartition(" ")[2]
            if code not in _LATER:
                raise
            raise TryAgain(self.name, error.reason, delay=_LATER[code], request_id=error.request_id) from None
        return Accepted(made.MessageId, request_id)

    async def look_up(self, key: str) -> Accepted | None:
        """Never answers.

        Raises:
            NeverAgain: Always; SES keeps no list of what it sent.
        """
        raise NeverAgain(self.name, "SES cannot be asked whether it has a mail")

    def _signed(self, path: str, body: bytes) -> httpx.Request:
        settings = self._settings
        if not (settings.region and settings.access_key_id and settings.secret_access_key):
            wanted = "SES_REGION, SES_ACCESS_KEY_ID, SES_SECRET_ACCESS_KEY"
            raise NeverAgain(self.name, f"no region or key is set ({wanted})")
        url = str(settings.base_url or f"https://email.{settings.region}.amazonaws.com").rstrip("/") + path
        headers = sigv4.sign(
            "POST",
            url,
            {"Content-Type": "application/json"},
            body,
            key=sigv4.AccessKey(
                settings.access_key_id,
                settings.secret_access_key.get_secret_value().strip(),
                settings.session_token.get_secret_value().strip() if settings.session_token else None,
            ),
            region=settings.region,
            service="ses",
            now=datetime.now(UTC),
        )
        return self._client.build_request("POST", url, content=body, headers=headers)


class _Created(Body):
    MessageId: Annotated[str, Field(min_length=1)]


_LATER = {
    "TooManyRequestsException": None,
    "ThrottlingException": None,
    "LimitExceededException": timedelta(hours=1),
    "SendingPausedException": timedelta(hours=1),
}
"""What is no fault of this mail's and ends, by itself or by somebody's hand, and when to look again."""


def _refusal(response: httpx.Response) -> http.Refusal:
    kind = response.headers.get("x-amzn-errortype") or http.body_of(response).get("__type")
    # Some of AWS's front ends put a namespace before it and an address behind it.
    name = kind.partition(":")[0].rpartition("#")[2] if isinstance(kind, str) else None
    return http.Refusal(http.codes(name), response.headers.get("x-amzn-requestid"))


# A 5xx does not say whether the mail was taken, and SES drops no repeats: only 429 is sure.
_PROVIDER = http.Provider("ses", busy=frozenset({429}), read=_refusal)


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def _ascii(username: str, domain: str) -> str:
    try:
        return f"{username.encode('ascii').decode()}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise NeverAgain(Ses.name, "to is outside ASCII before the @, which SES cannot write to") from None


class _Kind(Body):
    """``eventType`` where a configuration set publishes, ``notificationType`` where an identity notifies."""

    eventType: str | None = None
    notificationType: str | None = None


_OrEmpty = BeforeValidator(lambda value: {} if value is None else value)


class _Sent(Body):
    messageId: str
    timestamp: Moment
    destination: list[str] = Field(default_factory=list)
    tags: Annotated[dict[str, Any], _OrEmpty] = Field(default_factory=dict)


class _Recipient(Body):
    emailAddress: str


class _Bounce(Body):
    bounceType: str
    bounceSubType: str | None = None
    bouncedRecipients: list[_Recipient]
    timestamp: Moment


class _Complaint(Body):
    complainedRecipients: list[_Recipient]
    complaintFeedbackType: str | None = None
    complaintSubType: str | None = None
    timestamp: Moment


class _Delivery(Body):
    recipients: list[str]
    timestamp: Moment


class _Delay(Body):
    delayedRecipients: list[_Recipient]
    delayType: str | None = None
    timestamp: Moment


class _Reject(Body):
    reason: str | None = None


class _Open(Body):
    timestamp: Moment


class _Click(Body):
    timestamp: Moment
    link: str | None = None


class _Topic(Body):
    topicName: str
    subscriptionStatus: str


class _Wishes(Body):
    unsubscribeAll: bool = False
    topicSubscriptionStatus: list[_Topic] = Field(default_factory=list)

    def no(self) -> set[str]:
        """The topics that are not wanted."""
        return {topic.topicName for topic in self.topicSubscriptionStatus if topic.subscriptionStatus == "OptOut"}


class _Subscription(Body):
    timestamp: Moment
    newTopicPreferences: Annotated[_Wishes, _OrEmpty] = _Wishes()
    oldTopicPreferences: Annotated[_Wishes, _OrEmpty] = _Wishes()


class _Notice(Body):
    mail: _Sent
    bounce: dict[str, Any] = Field(default_factory=dict)
    complaint: dict[str, Any] = Field(default_factory=dict)
    delivery: dict[str, Any] = Field(default_factory=dict)
    deliveryDelay: dict[str, Any] = Field(default_factory=dict)
    reject: dict[str, Any] = Field(default_factory=dict)
    open: dict[str, Any] = Field(default_factory=dict)
    click: dict[str, Any] = Field(default_factory=dict)
    subscription: dict[str, Any] = Field(default_factory=dict)

    def say(self, type: str, at: datetime, address: str, data: Mapping[str, Any]) -> Event:
        """An event about one recipient of the mail.

        SES may say a thing twice, in two messages of SNS, so an event is named after what it says and not after those.
        """
        parts = (
            self.mail.messageId,
            type,
            at.isoformat(),
            address.lower(),
            data.get("url") or data.get("reason") or "",
        )
        return event(
            type,
            source=Ses.name,
            source_id=hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest(),
            occurred_at=at,
            identities=identities(("email", address)),
            data={name: value for name, value in data.items() if value is not None},
        )

    def message(self, type: str, at: datetime, address: str, **data: Any) -> Event:
        """An event about what became of the mail at one recipient."""
        tag = self.mail.tags.get(TAG)
        tag = tag[0] if isinstance(tag, list) and tag else tag
        touch = key_of(tag) if isinstance(tag, str) and tag else None
        about = {"touch": touch, "channel": "email", "message_id": self.mail.messageId, "address": address}
        return self.say(type, at, address, {**about, **data})

    def withdrawal(self, at: datetime, address: str) -> Event:
        """The recipient is unsubscribed in SES's own lists."""
        no = {"channel": "email", "purpose": "all", "evidence": "unsubscribed at Amazon SES"}
        return self.say("consent.withdrawn", at, address, no)


def _bounced(notice: _Notice) -> list[Event]:
    bounce = _Bounce.model_validate(notice.bounce)
    # Whoever unsubscribed in SES's own list has an address that works.
    unsubscribed = bounce.bounceSubType == "UnsubscribedRecipient"
    permanent = bounce.bounceType == "Permanent" and not unsubscribed
    reason = http.codes(bounce.bounceType, bounce.bounceSubType)
    events: list[Event] = []
    for recipient in bounce.bouncedRecipients:
        at, address = bounce.timestamp, recipient.emailAddress
        events.append(notice.message("message.bounced", at, address, permanent=permanent, reason=reason))
        if unsubscribed:
            events.append(notice.withdrawal(at, address))
    return events


def _complained(notice: _Notice) -> list[Event]:
    complaint = _Complaint.model_validate(notice.complaint)
    if complaint.complaintFeedbackType == "not-spam":
        return []
    addresses = [recipient.emailAddress for recipient in complaint.complainedRecipients]
    if complaint.complaintSubType == "OnAccountSuppressionList":
        # Nobody complained about this mail: it was not sent, because of an earlier complaint.
        reason = complaint.complaintSubType
        return [
            notice.message("message.bounced", complaint.timestamp, a, permanent=True, reason=reason) for a in addresses
        ]
    return [
        notice.message("message.complained", complaint.timestamp, a, reason=complaint.complaintFeedbackType)
        for a in addresses
    ]


def _delivered(notice: _Notice) -> list[Event]:
    delivery = _Delivery.model_validate(notice.delivery)
    return [notice.message("message.delivered", delivery.timestamp, address) for address in delivery.recipients]


def _delayed(notice: _Notice) -> list[Event]:
    delay = _Delay.model_validate(notice.deliveryDelay)
    reason = f"delayed {http.codes(delay.delayType)}".strip()
    addresses = (recipient.emailAddress for recipient in delay.delayedRecipients)
    return [notice.message("message.bounced", delay.timestamp, a, permanent=False, reason=reason) for a in addresses]


def _rejected(notice: _Notice) -> list[Event]:
    sent = notice.mail
    return [
        notice.message("message.bounced", sent.timestamp, address, permanent=False, reason="rejected")
        for address in sent.destination
    ]


def _opened(notice: _Notice) -> list[Event]:
    at = _Open.model_validate(notice.open).timestamp
    return [notice.message("message.opened", at, address) for address in notice.mail.destination]


def _clicked(notice: _Notice) -> list[Event]:
    click = _Click.model_validate(notice.click)
    return [notice.message("message.clicked", click.timestamp, a, url=click.link) for a in notice.mail.destination]


def _subscribed(notice: _Notice) -> list[Event]:
    change = _Subscription.model_validate(notice.subscription)
    # Which of our purposes a topic of theirs is nobody knows: a no to any is taken for all.
    if not (
        change.newTopicPreferences.unsubscribeAll or change.newTopicPreferences.no() - change.oldTopicPreferences.no()
    ):
        return []
    return [notice.withdrawal(change.timestamp, address) for address in notice.mail.destination]


_READERS = {
    "Bounce": _bounced,
    "Complaint": _complained,
    "Delivery": _delivered,
    "DeliveryDelay": _delayed,
    "Reject": _rejected,
    "Open": _opened,
    "Click": _clicked,
    "Subscription": _subscribed,
}
