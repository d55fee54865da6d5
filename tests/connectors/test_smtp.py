import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.headerregistry import Address
from email.message import EmailMessage

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.base import Message, Sender
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.mail import message_id
from connectors.smtp import Smtp, SmtpSettings, compose, judge

FROM = "Fernhill Studio <hello@fernhill.example.com>"
LINK = "https://hub.example.com/u/" + "t0ken-" * 40
MESSAGE = Message(
    key="run-7/greet/0",
    to="alice@example.com",
    subject="Grüße, and two things",
    text="Hello,\n\n.a line that begins with a dot\nhttps://www.example.com/" + "x" * 200 + "\n",
    html="<p>Grüße</p>",
    unsubscribe_url=LINK,
    metadata={"journey": "welcome", "template": "welcome_second"},
)


class Relay:
    """A real SMTP server; ``mail``, ``rcpt`` and ``data`` hold the reply to give instead of taking the mail."""

    def __init__(self) -> None:
        self.caught: list[bytes] = []
        self.recipients: list[str] = []
        self.mail = self.rcpt = self.data = ""
        self.before_answer: Callable[[SMTP], Awaitable[None]] | None = None
        self.transports: list[asyncio.BaseTransport] = []

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        self.transports.append(server.transport)
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.mail:
            return self.mail
        envelope.mail_from = address
        return "250 2.1.0 fine"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        if self.data:
            return self.data
        self.caught.append(envelope.original_content)
        self.recipients += envelope.rcpt_tos
        if self.before_answer:
            await self.before_answer(server)
        return "250 2.0.0 queued as 4711"

    def mails(self) -> list[EmailMessage]:
        return [email.message_from_bytes(raw, policy=email.policy.default) for raw in self.caught]


@asynccontextmanager
async def listening(factory: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    handler = Relay()
    async with listening(lambda: SMTP(handler, hostname="relay.example.com", enable_SMTPUTF8=True)) as port:
        handler.port = port
        yield handler
        for transport in handler.transports:
            transport.close()


def sender(port: int, **overrides: object) -> Smtp:
    return Smtp(SmtpSettings(host="127.0.0.1", port=port, tls="none", _env_file=None, **overrides), FROM)


def raw(*replies: str | None) -> Callable[[], asyncio.BaseProtocol]:
    """A server that greets, answers each command with the next reply and hangs up at a None."""

    class Script(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.left = transport, list(replies)
            self.answer()

        def data_received(self, data):
            self.answer()

        def answer(self):
            reply = self.left.pop(0) if self.left else "250 fine"
            if reply is None:
                self.transport.close()
            else:
                self.transport.write(reply.encode() + b"\r\n")

    return Script


async def test_mail_arrives_whole(relay):
    accepted = await sender(relay.port).send(MESSAGE)
    (mail,) = relay.mails()
    assert relay.recipients == ["alice@example.com"]
    assert mail["From"] == "Fernhill Studio <hello@fernhill.example.com>"
    assert mail["To"] == "alice@example.com"
    assert mail["Subject"] == MESSAGE.subject
    assert mail["Message-ID"] == accepted.provider_id == message_id(MESSAGE.key, "fernhill.example.com")
    assert accepted.request_id == "2.0.0 queued as 4711"
    assert mail["Date"].datetime.tzinfo is not None
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Feedback-ID"] == "welcome_second:welcome:promotional:fernhill.example.com"
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert html.get_content().strip() == MESSAGE.html


async def test_unsubscribe_header_is_on_one_line_unencoded(relay):
    await sender(relay.port).send(MESSAGE)
    lines = relay.caught[0].decode().split("\r\n")
    assert f"List-Unsubscribe: <{LINK}>" in lines
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    assert max(len(line) for line in lines) <= 998


async def test_no_way_out_no_header_and_text_alone_is_text_alone(relay):
    message = Message("k", "alice@example.com", "Receipt", "Thank you.\n", purpose="transactional")
    await sender(relay.port).send(message)
    (mail,) = relay.mails()
    assert mail["List-Unsubscribe"] is None
    assert mail["List-Unsubscribe-Post"] is None
    assert mail.get_content_type() == "text/plain"


@pytest.mark.parametrize(
    ("url", "one_click"),
    [
        ("https://hub.example.com/u/1", True),
        ("http://127.0.0.1:8080/u/1", True),
        ("http://localhost:8080/u/1", True),
        ("http://hub.example.com/u/1", False),
        ("http://localhost.example.com/u/1", False),
    ],
)
def test_one_click_needs_https_or_this_machine(url, one_click):
    mail = composed(unsubscribe_url=url)
    assert mail["List-Unsubscribe"] == f"<{url}>"
    assert (mail["List-Unsubscribe-Post"] is not None) is one_click


def composed(**changes: object) -> EmailMessage:
    message = Message(**{**vars(MESSAGE), **changes})
    return compose(message, Address("Fernhill Studio", addr_spec="hello@example.com"), "example.com")


def test_message_id_follows_the_key_and_hides_it():
    assert message_id("a", "example.com") == message_id("a", "example.com") != message_id("b", "example.com")
    assert "run-7" not in message_id(MESSAGE.key, "example.com")


@pytest.mark.parametrize("junk", ["a\nBcc: eve@example.com", "a\r\nX: y", "a\x00", "a\u2028b", "a\x85b", "\ud800"])
@pytest.mark.parametrize("field", ["to", "subject", "unsubscribe_url", "metadata.journey", "metadata.template"])
def test_a_header_cannot_be_broken_out_of(field, junk):
    name, _, inner = field.partition(".")
    with pytest.raises(NeverAgain, match=f"{field} holds a control character"):
        composed(**{name: {inner: junk} if inner else junk})


@pytest.mark.parametrize(
    "url", ["mailto:a@example.com", "https://e.example/a b", "https://e.example/>,<x", "ü", "", "x" * 901]
)
def test_an_unsubscribe_link_that_is_none_is_refused(url):
    with pytest.raises(NeverAgain, match="unsubscribe_url"):
        composed(unsubscribe_url=url)


@pytest.mark.parametrize(
    "to",
    ["", "alice", "@example.com", "alice@", "a@example.com, b@example.com", "Alice <a@b.example>", " a@example.com"],
)
def test_an_address_that_is_none_is_a_bad_address(to):
    with pytest.raises(BadAddress):
        composed(to=to)


@given(st.text(), st.text(), st.text(), st.one_of(st.none(), st.text()))
@settings(max_examples=150, deadline=None)
def test_junk_is_composed_or_refused(subject, text, journey, html):
    try:
        mail = composed(subject=subject, text=text, html=html, metadata={"journey": journey})
    except NeverAgain:
        return
    head = mail.as_bytes().partition(b"\r\n\r\n")[0]
    names = {line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"}
    assert names <= {name.encode() for name in mail}


async def test_an_address_outside_ascii_goes_where_the_relay_can(relay):
    await sender(relay.port).send(Message(**{**vars(MESSAGE), "to": "müller@example.com"}))
    assert relay.recipients == ["müller@example.com"]


async def test_an_address_outside_ascii_is_refused_where_it_cannot():
    async with listening(lambda: SMTP(Relay(), hostname="relay.example.com")) as port:
        with pytest.raises(NeverAgain, match="outside ASCII"):
            await sender(port).send(Message(**{**vars(MESSAGE), "to": "müller@example.com"}))


@pytest.mark.parametrize(
    ("step", "reply", "kind"),
    [
        ("mail", "451 4.3.0 busy", TryAgain),
        ("mail", "550 5.1.8 bad sender", NeverAgain),
        ("mail", "553 5.1.1 who are you", NeverAgain),
        ("rcpt", "450 4.2.1 greylisted", TryAgain),
        ("rcpt", "452 4.2.2 mailbox full", TryAgain),
        ("rcpt", "550 5.1.1 <alice@example.com>: no such user", BadAddress),
        ("rcpt", "550 5.2.1 mailbox disabled", BadAddress),
        ("rcpt", "556 5.1.10 takes no mail", BadAddress),
        ("rcpt", "552 5.2.2 mailbox full", NeverAgain),
        ("rcpt", "550 5.1.7 bad sender", NeverAgain),
        ("rcpt", "550 5.7.1 relay access denied", NeverAgain),
        ("rcpt", "550 relay not permitted", NeverAgain),
        ("data", "421 4.3.2 shutting down", TryAgain),
        ("data", "550 5.1.1 no such user", BadAddress),
        ("data", "554 5.7.1 looks like spam", NeverAgain),
        ("data", "552 5.3.4 too big", NeverAgain),
    ],
)
async def test_refusals(relay, step, reply, kind):
    setattr(relay, step, reply)
    with pytest.raises(ConnectorError) as refused:
        await sender(relay.port).send(MESSAGE)
    assert type(refused.value) is kind
    assert refused.value.reason.startswith(reply[:9])
    assert "alice" not in str(refused.value)
    assert not relay.caught


async def test_a_connection_lost_after_the_last_dot_is_unknown(relay):
    async def drop(server: SMTP) -> None:
        server.transport.abort()

    relay.before_answer = drop
    with pytest.raises(Unknown):
        await sender(relay.port).send(MESSAGE)
    assert len(relay.caught) == 1


async def test_silence_after_the_last_dot_is_unknown(relay):
    async def hang(server: SMTP) -> None:
        await asyncio.Event().wait()

    relay.before_answer = hang
    with pytest.raises(Unknown, match="Timed out"):
        await sender(relay.port, timeout=0.3).send(MESSAGE)
    assert len(relay.caught) == 1


async def test_an_accepted_mail_stays_accepted_when_the_goodbye_fails():
    replies = ("220 hi", "250 ehlo", "250 from", "250 to", "354 go", "250 taken", None)
    async with listening(raw(*replies)) as port:
        assert await sender(port).send(MESSAGE)


@pytest.mark.parametrize(
    "replies",
    [
        (None,),
        ("421 too busy",),
        ("220 hi", None),
        ("220 hi", "250 ehlo", None),
        ("220 hi", "250 ehlo", "250 from", None),
        ("220 hi", "250 ehlo", "garbage"),
        ("220 hi", "250 ehlo", "250 from", "250 to", "451 not now"),
    ],
)
async def test_what_goes_wrong_before_the_message_flows_can_be_tried_again(replies):
    async with listening(raw(*replies)) as port:
        with pytest.raises(TryAgain):
            await sender(port).send(MESSAGE)


async def test_an_answer_to_the_message_that_is_none_is_unknown():
    async with listening(raw("220 hi", "250 ehlo", "250 from", "250 to", "354 go", "what?")) as port:
        with pytest.raises(Unknown):
            await sender(port).send(MESSAGE)


async def test_a_relay_that_is_not_there_can_be_tried_again():
    async with listening(asyncio.Protocol) as port:
        pass
    with pytest.raises(TryAgain):
        await sender(port).send(MESSAGE)


async def test_a_silent_relay_can_be_tried_again():
    async with listening(asyncio.Protocol) as port:
        with pytest.raises(TryAgain):
            await sender(port, timeout=0.2).send(MESSAGE)


async def test_encryption_that_is_not_offered_is_not_done_without(relay):
    smtp = Smtp(SmtpSettings(host="127.0.0.1", port=relay.port, tls="starttls", _env_file=None), FROM)
    with pytest.raises(TryAgain, match="STARTTLS"):
        await smtp.send(MESSAGE)
    assert not relay.caught


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_credentials_are_used_and_never_told():
    relay, asked = Relay(), []

    def authenticator(server, session, envelope, mechanism, data):
        asked.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)

    def factory() -> SMTP:
        return SMTP(relay, hostname="r", authenticator=authenticator, auth_required=True, auth_require_tls=False)

    async with listening(factory) as port:
        await sender(port, username="hub", password="right").send(MESSAGE)
        with pytest.raises(NeverAgain) as refused:
            await sender(port, username="hub", password="wr0ng-secret").send(MESSAGE)
    assert (b"hub", b"right") in asked
    assert len(relay.caught) == 1
    assert type(refused.value) is NeverAgain
    assert "wr0ng-secret" not in repr(refused.value) + repr(
        SmtpSettings(host="h", username="u", password="wr0ng-secret")
    )


async def test_it_cannot_be_asked():
    smtp = sender(25)
    assert isinstance(smtp, Sender)
    assert (smtp.channel, smtp.idempotent, smtp.listed_within) == ("email", False, None)
    with pytest.raises(NeverAgain):
        await smtp.look_up("k")


@pytest.mark.parametrize("address", ["", "Fernhill", "Fernhill <hello>", "hellö@example.com"])
def test_a_sender_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="is not a sender"):
        Smtp(SmtpSettings(host="localhost", _env_file=None), address)


def test_settings_that_cannot_work_are_refused(monkeypatch):
    monkeypatch.setenv("SMTP_HOST", "relay.example.com")
    assert SmtpSettings(_env_file=None).host == "relay.example.com"
    monkeypatch.setenv("SMTP_USERNAME", "hub")
    with pytest.raises(ValidationError, match="come together"):
        SmtpSettings(_env_file=None)
    monkeypatch.setenv("SMTP_PASSWORD", "hunter2-secret")
    monkeypatch.setenv("SMTP_TLS", "none")
    with pytest.raises(ValidationError, match="in the clear") as refused:
        SmtpSettings(_env_file=None)
    assert "hunter2-secret" not in str(refused.value)


def test_no_host_is_said():
    with pytest.raises(ValueError, match="SMTP_HOST"):
        Smtp(SmtpSettings(_env_file=None), FROM)


@given(st.sampled_from(["connect", "from", "to", "data"]), st.integers(-1, 700), st.text())
def test_every_reply_means_something(step, code, text):
    verdict = judge(step, code, text)
    assert isinstance(verdict, TryAgain | NeverAgain | Unknown)
    assert not (isinstance(verdict, BadAddress) and step in ("connect", "from"))
    assert isinstance(verdict, TryAgain) or not 400 <= code < 500
