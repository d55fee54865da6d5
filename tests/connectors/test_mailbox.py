import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Message
from connectors.errors import NeverAgain
from connectors.mailbox import Letter, Letters, Mailbox, letter_page, list_page
from connectors.smtp import Smtp, SmtpSettings

MESSAGE = Message(
    "key",
    "alice@example.com",
    "Grüße & <b>more</b>",
    "Hello Älice,\n\nbye\n",
    html="<html><head><title>t</title></head><body><p>Hello <a href='https://www.example.com'>Älice</a></p></body></html>",
    unsubscribe_url="https://hub.example.com/u/1",
)


def through(port: int) -> Smtp:
    relay = SmtpSettings(host="127.0.0.1", port=port, tls="none", _env_file=None)
    return Smtp(relay, "Fernhill Studio <hello@example.com>")


def letter(**changes: object) -> Letter:
    facts = {
        "id": "1.M2P3",
        "received_at": datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
        "sender": "hello@example.com",
        "recipients": ("alice@example.com",),
        "subject": "Hello",
        "headers": (("Subject", "Hello"),),
        "text": "Hello",
        "html": "<p>Hello</p>",
    }
    return Letter(**{**facts, **changes})


async def test_what_is_sent_can_be_read(tmp_path):
    async with Mailbox(tmp_path / "not" / "yet" / "there") as mailbox:
        accepted = await through(mailbox.port).send(MESSAGE)
        (caught,) = mailbox.letters.list()
    assert caught.subject == MESSAGE.subject
    assert caught.sender == "hello@example.com"
    assert caught.recipients == ("alice@example.com",)
    assert caught.text.replace("\r\n", "\n") == MESSAGE.text
    assert caught.html.strip() == MESSAGE.html
    assert ("Message-ID", accepted.provider_id) in caught.headers
    assert ("List-Unsubscribe", "<https://hub.example.com/u/1>") in caught.headers


async def test_another_process_reads_the_same_directory(tmp_path):
    elsewhere = Letters(tmp_path)
    assert elsewhere.list() == []
    async with Mailbox(tmp_path) as mailbox:
        await through(mailbox.port).send(MESSAGE)
        (caught,) = elsewhere.list()
        assert elsewhere.get(caught.id) == caught == mailbox.letters.get(caught.id)
    assert Letters(tmp_path).list() == [caught]


def test_newest_first_and_no_more_than_asked_for(tmp_path):
    letters = Letters(tmp_path)
    for n in range(5):
        id = letters.add("a@example.com", ["b@example.com"], f"Subject: {n}\r\n\r\n".encode())
        os.utime(tmp_path / "new" / id, (1000 + n, 1000 + n))
    assert [found.subject for found in letters.list(limit=3)] == ["4", "3", "2"]
    assert letters.list()[0].received_at == datetime.fromtimestamp(1004, UTC)


@pytest.mark.parametrize("id", ["", "nope", "../../etc/passwd", "/etc/passwd", ".", "..", "a\x00b"])
def test_an_unknown_id_is_no_letter(tmp_path, id):
    assert Letters(tmp_path).get(id) is None


async def test_a_mail_too_large_is_refused(tmp_path):
    async with Mailbox(tmp_path, size_limit=200) as mailbox:
        with pytest.raises(NeverAgain, match="552"):
            await through(mailbox.port).send(MESSAGE)
        assert mailbox.letters.list() == []


async def test_closing_hangs_up_on_idle_clients_and_frees_the_port(tmp_path):
    async with Mailbox(tmp_path) as mailbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", mailbox.port)
        assert (await reader.readline()).startswith(b"220 ")
    with pytest.raises(ConnectionError):
        writer.write(b"NOOP\r\n")
        await writer.drain()
        assert await reader.read() == b""
        raise ConnectionResetError
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", mailbox.port)
    writer.close()


async def test_a_taken_port_is_said(tmp_path):
    async with Mailbox(tmp_path) as mailbox:
        with pytest.raises(OSError):
            async with Mailbox(tmp_path, mailbox.port):
                pass


@pytest.mark.parametrize(
    ("raw", "subject", "text"),
    [
        (b"Subject: =?utf-8?b?a?=\r\n\r\nhi", "=?utf-8?b?a?=", "hi"),
        (b"Subject: =?no-such-charset?q?a=C3=BC?=\r\n\r\nhi", "aü", "hi"),
        (b"Subject: \xc3\xbc\xff\r\n\r\n\xc3\xbc", "ü\ufffd", "ü"),
        (b"Subject: a\r\n b\r\nContent-Type: text/plain; charset=undefined\r\n\r\nhi", "a b", "hi"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n####", "", ""),
        (b"", "", ""),
    ],
)
def test_malformed_mail_is_shown_as_well_as_it_can_be(tmp_path, raw, subject, text):
    letters = Letters(tmp_path)
    found = letters.get(letters.add("", ["b@example.com"], raw))
    assert (found.subject, found.text) == (subject, text)


HEADER = st.sampled_from([b"Subject", b"Content-Type", b"Content-Transfer-Encoding", b"To", b"X", b"Date"])
VALUE = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"multipart/mixed; boundary=x", b"text/html; charset=\x00", b"=?utf-8?b?\xff?=", b"base64", b"=?rot13?q?a?="]
    ),
)


@given(st.lists(st.tuples(HEADER, VALUE), max_size=6), st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_can_be_kept_and_shown(tmp_path, headers, body):
    letters = Letters(tmp_path)
    raw = b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body
    found = letters.get(letters.add("a\udcff@example.com", ["b@example.com"], raw))
    letter_page(found, "/mailbox").encode()
    list_page([found], "/mailbox").encode()


def test_mail_nested_beyond_reading_spoils_nothing(tmp_path):
    letters = Letters(tmp_path)
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(3000))
    letters.add("a@example.com", ["b@example.com"], deep)
    letters.add("a@example.com", ["b@example.com"], b"Subject: fine\r\n\r\n")
    assert "fine" in [found.subject for found in letters.list()]


def test_the_list_links_to_each_letter():
    page = BeautifulSoup(list_page([letter(subject="<script>alert(1)</script>")], "/mailbox"), "html.parser")
    assert page.select_one(".letters a")["href"] == "/mailbox/1.M2P3"
    assert page.select_one(".letters strong").get_text() == "<script>alert(1)</script>"
    assert not page("script")


def test_an_empty_list_says_so():
    assert "No mail yet" in list_page([], "/mailbox")


def test_a_letter_is_shown_in_a_sandbox_as_text_and_with_its_headers():
    html = "<html><head></head><body><script>alert(1)</script>\"'</body></html>"
    shown = letter(html=html, text="<i>plain</i>", headers=(("X-A", "<b>"),))
    page = BeautifulSoup(letter_page(shown, "/mailbox"), "html.parser")
    assert not page("script")
    assert page.iframe["srcdoc"] == html.replace("<head>", '<head><base target="_blank">')
    assert "allow-scripts" not in page.iframe["sandbox"]
    assert "allow-same-origin" not in page.iframe["sandbox"]
    assert page.pre.get_text() == "<i>plain</i>"
    assert [cell.get_text() for cell in page.select("table tr *")] == ["X-A", "<b>"]
    assert page.select_one("a")["href"] == "/mailbox"


def test_a_letter_without_html_opens_as_text():
    page = BeautifulSoup(letter_page(letter(html=None), "/mailbox"), "html.parser")
    assert page.iframe is None
    assert page.select_one("#as-text").has_attr("checked")


def test_pages_load_nothing(tmp_path: Path):
    for page in (list_page([letter()], "/mailbox"), letter_page(letter(), "/mailbox")):
        assert not BeautifulSoup(page, "html.parser")(["link", "script", "img"])
        assert "url(" not in page and "@import" not in page
