"""The parts of a message in Slack. Plain text throughout: a contact's own words must not become a mention or a link."""

from typing import Any

Block = dict[str, Any]


def alert(title: str, body: str, buttons: list[Block]) -> list[Block]:
    """A title, what there is to say, and what can be clicked."""
    blocks: list[Block] = [{"type": "header", "text": plain(title, 150)}]
    if body:
        blocks.append({"type": "section", "text": plain(body, 3000)})
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    return blocks


def link(label: str, url: str) -> Block:
    """A button that leads somewhere."""
    return {"type": "button", "action_id": "open", "text": plain(label, 75), "url": url}


def context(words: str) -> Block:
    """A line in small print."""
    return {"type": "context", "elements": [plain(words, 300)]}


def plain(text: str, limit: int) -> Block:
    """Text that Slack shows as it is, cut at Slack's limit."""
    return {"type": "plain_text", "text": cut(text, limit), "emoji": False}


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fallback(text: str) -> str:
    """What stands for the blocks where they cannot be shown; Slack would read markup in it."""
    return cut(text, 3000).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
