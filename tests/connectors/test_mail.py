"""What every mail must be: recipient, headers, way out. How SMTP puts it on the wire is in test_smtp."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import mail
from connectors.base import Message, key_of
from connectors.errors import BadAddress, NeverAgain

MESSAGE = Message(
    key="run-7/greet/0",
    to="Alice@example.com",
    subject="Grüße",
    text="Hello\n",
    html="<p>Hello</p>",
    unsubscribe_url="https://hub.example.com/u/t0ken",
    metadata={"journey": "welcome", "template": "welcome second"},
)


def test_a_message_that_may_go_out() -> None:
    checked = mail.check("any", MESSAGE, "example.com")
    assert checked.to.addr_spec == "Alice@example.com"
    assert checked.headers == {
        "Auto-Submitted": "auto-generated",
        "Feedback-ID": "welcome-second:welcome:promotional:example.com",
        "List-Unsubscribe": "<https://hub.example.com/u/t0ken>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert (checked.text, checked.html) == ("Hello\n", "<p>Hello</p>")


def test_one_click_needs_https_but_on_this_machine() -> None:
    for url, one_click in (("http://hub.example.com/u/t", False), ("http://localhost:8080/u/t", True)):
        headers = mail.check("any", replace(MESSAGE, unsubscribe_url=url), "example.com").headers
        assert headers["List-Unsubscribe"] == f"<{url}>"
        assert ("List-Unsubscribe-Post" in headers) is one_click


def test_no_way_out_no_header() -> None:
    headers = mail.check("any", replace(MESSAGE, unsubscribe_url=None, html=None), "example.com").headers
    assert set(headers) == {"Auto-Submitted", "Feedback-ID"}


@pytest.mark.parametrize("bad", ["\r\nBcc: eve@example.com", "\x00", "\x1f", "\u2028", "\u0085", "\ud800"])
@pytest.mark.parametrize("field", ["to", "subject", "unsubscribe_url", "metadata.journey", "metadata.template"])
def test_what_would_leave_its_header_is_named(field: str, bad: str) -> None:
    name = field.removeprefix("metadata.")
    message = replace(MESSAGE, **{name: f"x{bad}"}) if name == field else replace(MESSAGE, metadata={name: f"x{bad}"})
    with pytest.raises(NeverAgain) as caught:
        mail.check("any", message, "example.com")
    assert caught.value.reason == f"{field} holds a control character"
    assert caught.value.connector == "any"


@pytest.mark.parametrize("field", ["to", "subject", "unsubscribe_url"])
def test_what_is_too_long_is_named(field: str) -> None:
    with pytest.raises(NeverAgain, match=f"{field}: is longer than 900 characters"):
        mail.check("any", replace(MESSAGE, **{field: "x" * 901}), "example.com")


@pytest.mark.parametrize(
    "url", ["mailto:stop@example.com", "https://a b", "https://x/<y>", "https://x/u>, <https://y", "https://ü.example"]
)
def test_a_link_that_no_mailbox_would_follow(url: str) -> None:
    with pytest.raises(NeverAgain, match="unsubscribe_url is not an http address"):
        mail.check("any", replace(MESSAGE, unsubscribe_url=url), "example.com")


@pytest.mark.parametrize("to", ["", "alice", "a@example.com, b@example.com", "Alice <a@example.com>", " a@example.com"])
def test_one_address_and_nothing_else(to: str) -> None:
    with pytest.raises(BadAddress) as caught:
        mail.check("any", replace(MESSAGE, to=to), "example.com")
    assert "example.com" not in str(caught.value)


@given(st.text(alphabet=st.characters(), max_size=50))
def test_any_body_can_be_encoded(text: str) -> None:
    checked = mail.check("any", replace(MESSAGE, text=text, html=text), "example.com")
    assert checked.html is not None
    assert checked.text.encode() == checked.html.encode()


def test_half_an_emoji_costs_itself_only() -> None:
    assert mail.check("any", replace(MESSAGE, text="a\ud83db"), "example.com").text == "a?b"


def test_a_sender() -> None:
    found = mail.sender('"Fernhill, Studio" <hello@example.com>')
    assert (found.display_name, found.addr_spec) == ("Fernhill, Studio", "hello@example.com")
    assert str(mail.sender("hello@example.com")) == "hello@example.com"


@pytest.mark.parametrize(
    "wrong", ["", "Fernhill", "a@b@c", "hällo@example.com", "A\r\nBcc: <e@example.com>", "A\x00 <a@example.com>"]
)
def test_no_sender(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a sender"):
        mail.sender(wrong)


def test_a_message_id_is_the_same_whenever_it_is_asked_for() -> None:
    assert mail.message_id("run-7/greet/0", "example.com") == mail.message_id("run-7/greet/0", "example.com")
    assert mail.message_id("run-7/greet/0", "example.com") != mail.message_id("run-7/greet/1", "example.com")


@pytest.mark.parametrize(
    ("text", "about_address"),
    [
        ("5.1.1 no such user", True),
        ("smtp;550-5.1.10 unknown (in reply to RCPT)", True),
        ("550 5.2.1 disabled", True),
        ("550 5.1.7 bad sender", False),
        ("552 5.2.2 full", False),
        ("550 5.7.1 blocked, see 5.1.1", False),
        ("450 4.1.1 later", False),
        ("550 no such user", False),
        ("550 15.1.1 and 5.1.1.1", False),
        ("5.1.100 of a later RFC", False),
        ("", False),
    ],
)
def test_whose_fault_a_bounce_is(text: str, about_address: bool) -> None:
    assert mail.about_address(text) is about_address


def test_a_key_comes_out_of_its_tag_again() -> None:
    key = "0b5a-11/greet_them/2"
    assert mail.tag("any", key) == "0b5a-11--greet_them--2"
    assert key_of(mail.tag("any", key)) == key


@pytest.mark.parametrize("key", ["", "a--b/c", "a b", "é", "a" * 257, "a/" * 100, "a\n"])
def test_a_key_that_would_not_is_refused(key: str) -> None:
    with pytest.raises(NeverAgain, match="key does not fit into a tag"):
        mail.tag("any", key)
