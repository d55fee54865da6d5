"""What every mail must be, whoever carries it: a recipient, headers that stay headers, and a way out.

``check`` holds a message against the rules and gives what goes into it; ``sender`` reads who it comes from; ``tag`` is
how a touch's key travels with it.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr
from urllib.parse import urlsplit

from connectors.base import Message, key_of, tag_of
from connectors.errors import BadAddress, NeverAgain
from connectors.limits import Limits
from contacts.events import identity

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that are this machine."""

LONGEST_HEADER = 900
"""Characters of a header's value that leave room for its name in a line of 998."""

_NOT_IN_HEADERS = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's controls, surrogates and line breaks."""


@dataclass(frozen=True)
class Checked:
    """A message that may go out.

    Attributes:
        to: The recipient.
        headers: Beyond sender, recipient, subject, date and ``Message-ID``: ``Auto-Submitted``, ``Feedback-ID`` and,
            where the message has a way out, ``List-Unsubscribe`` and ``List-Unsubscribe-Post``.
        text: The text part, fit to be encoded.
        html: The HTML part, likewise; None where there is none.
    """

    to: Address
    headers: Mapping[str, str]
    text: str
    html: str | None


def sender(from_address: str) -> Address:
    """Who mail comes from.

    Args:
        from_address: ``Name <address>`` or an address alone.

    Raises:
        ValueError: It holds no address, one outside ASCII, or a control character.
    """
    found = None if _has_control(from_address) else _address(*parseaddr(from_address))
    if found is None or not found.addr_spec.isascii():
        raise ValueError(f"{from_address!r} is not a sender such as 'Fernhill Studio <hello@example.com>'")
    return found


def message_id(key: str, domain: str) -> str:
    """The ``Message-ID`` of a touch, always the same; a bounce that quotes it can be traced to its touch."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{domain}>"


def tag(connector: str, key: str) -> str:
    """A touch's key as the value of a provider's tag: at most 256 letters, digits, ``-`` and ``_``.

    Raises:
        NeverAgain: The key could not be read out of the tag again.
    """
    value = tag_of(key)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", value) or key_of(value) != key:
        raise NeverAgain(connector, "key does not fit into a tag")
    return value


def check(connector: str, message: Message, domain: str) -> Checked:
    """Holds a message against what every mail must be.

    Args:
        connector: Who asks, for the error.
        message: What is to be sent.
        domain: The sender's, for ``Feedback-ID``.

    Raises:
        NeverAgain: A value holds a line break or another control character, or is too long for a header; it is named.
        BadAddress: The recipient's address is none.
    """
    journey, template = message.metadata.get("journey", ""), message.metadata.get("template", "")
    link = message.unsubscribe_url
    values = {
        "to": message.to,
        "subject": message.subject,
        "unsubscribe_url": link or "",
        "metadata.journey": journey,
        "metadata.template": template,
    }
    for field, value in Limits(connector, each=LONGEST_HEADER).check(values).items():
        if _has_control(value):
            raise NeverAgain(connector, f"{field} holds a control character")
    to = _address("", message.to)
    if to is None:
        raise BadAddress(connector, "the recipient's address is not an e-mail address")
    feedback = (template, journey, message.purpose, domain)
    headers = {
        # Asks auto-responders to keep quiet: their answers would look like replies.
        "Auto-Submitted": "auto-generated",
        "Feedback-ID": ":".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part) for part in feedback),
    }
    if link is not None:
        if not re.fullmatch(r"https?://[!#-;=?-~]+", link):
            raise NeverAgain(connector, "unsubscribe_url is not an http address in ASCII without spaces")
        headers["List-Unsubscribe"] = f"<{link}>"
        if _one_click(link):
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return Checked(to, headers, _encodable(message.text), None if message.html is None else _encodable(message.html))


def about_address(text: str) -> bool:
    """Whether a receiving server's answer is about the mailbox itself, by its enhanced status code (RFC 3463).

    5.1.7 and 5.1.8 are about the sender's address; 5.2.2 is a full mailbox; 5.7.x is about us. An answer without such
    a code may be about us too ("relay not permitted"): nobody's address is given up for it.

    >>> about_address("550 5.1.1 no such user"), about_address("550 5.7.1 blocked"), about_address("550 no")
    (True, False, False)
    """
    found = re.search(r"(?<![\d.])5\.\d{1,3}\.\d{1,3}(?![\d.])", text)
    return found is not None and re.fullmatch(r"5\.(1\.([0-6]|10)|2\.1)", found[0]) is not None


def _has_control(value: str) -> bool:
    return any(unicodedata.category(c) in _NOT_IN_HEADERS for c in value)


def _address(display_name: str, address: str) -> Address | None:
    if identity("email", address) is None or address != address.strip():
        return None
    username, _, domain = address.rpartition("@")
    return Address(display_name, username, domain)


def _one_click(url: str) -> bool:
    """RFC 8058 wants https; a mailbox in development may sit next to us."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in LOOPBACK


def _encodable(text: str) -> str:
    """Half an emoji has no encoding; it must not cost the message."""
    return text.encode(errors="replace").decode()
