"""A message in versions for several channels, and what it declares to be fetched live."""

import shutil
from pathlib import Path

import pytest

import templates.content
from templates.render import TemplateError, Templates, UnknownTemplate, declared, render, versions

SHIPPED = Path(templates.content.__file__).parents[1]
FRAME = {
    "brand": {"name": "Fernhill Studio", "address": "12 Mill Lane", "url": "https://www.example.com"},
    "unsubscribe_url": "https://hub.example.com/u/1",
    "preferences_url": "https://hub.example.com/p/1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The layouts, and no message but two."""
    copied = Path(shutil.copytree(SHIPPED, tmp_path / "templates"))
    for file in copied.glob("messages/*.*"):
        if file.name.partition(".")[0] not in ("meeting_reminder", "renewal_value"):
            file.unlink()
    return copied


def edit(file: Path, old: str, new: str) -> None:
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, new))


def test_the_versions_of_a_message_say_the_same_on_each_channel():
    facts = {**FRAME, "first_name": "Alice", "meeting": {"starts_at": "2026-07-14T22:30:00Z"}}
    mail, text = render("meeting_reminder", facts, "email"), render("meeting_reminder", facts, "sms")
    assert mail.html is not None
    assert text.html is None
    for version in (mail, text):
        assert version.template == "meeting_reminder"
        assert "Tuesday 14 July at 22:30 UTC." in " ".join(version.text.split())
    assert mail.fingerprint != text.fingerprint
    assert render("meeting_reminder", facts) == mail


def test_a_version_that_is_not_written_is_refused_with_those_that_are():
    with pytest.raises(UnknownTemplate, match="meeting_reminder: there is no version for call; there is email, sms"):
        render("meeting_reminder", FRAME, "call")
    with pytest.raises(UnknownTemplate, match="welcome: there is no version for sms; there is email"):
        render("welcome", FRAME, "sms")
    with pytest.raises(UnknownTemplate, match="wellcome: there is no such template"):
        versions("wellcome")


def test_a_version_is_declared_under_the_name_of_its_message():
    mail, text = versions("meeting_reminder")
    assert (mail.name, mail.channel, mail.file) == ("meeting_reminder", "email", "meeting_reminder")
    assert (text.name, text.channel, text.file) == ("meeting_reminder", "sms", "meeting_reminder.sms")
    assert mail.role == text.role == "urgent"
    assert [version for version in declared() if version.name == "meeting_reminder"] == [mail, text]
    assert versions("welcome")[0].role is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('channel = "sms"', 'channel = "call"', r"meeting_reminder\.sms\.toml: channel"),
        (
            'purpose = "lifecycle"',
            'purpose = "transactional"',
            r"sms\.toml: purpose: differs .* meeting_reminder\.toml",
        ),
        ('role = "urgent"', 'role = "educate"', r"sms\.toml: role: differs"),
        ('role = "urgent"', 'role = "hasty"', r"sms\.toml: role"),
        ('role = "urgent"', "", r"sms\.toml: role: differs"),
        ('type = "meeting"', 'type = "meeting", fallback = ""', r"sms\.toml: context: differs"),
        ("[context]", '[context]\ndays = { type = "integer", fallback = "" }', r"sms\.toml: context: differs"),
    ],
)
def test_versions_that_do_not_agree_are_refused(folder, old, new, complaint):
    edit(folder / "messages" / "meeting_reminder.sms.toml", old, new)
    with pytest.raises(TemplateError, match=complaint):
        Templates(folder)


def test_several_versions_without_a_role_are_refused(folder):
    for file in folder.glob("messages/meeting_reminder*.toml"):
        edit(file, 'role = "urgent"\n', "")
    with pytest.raises(TemplateError, match=r"meeting_reminder\.sms\.toml: role: .* needs one"):
        Templates(folder)


def test_a_version_of_nothing_is_refused(folder):
    (folder / "messages" / "meeting_reminder.toml").unlink()
    with pytest.raises(TemplateError, match=r"meeting_reminder\.sms\.toml: there is no meeting_reminder\.toml"):
        Templates(folder)


def test_a_channel_has_one_version(folder):
    for ending in ("toml", "j2"):
        first = folder / "messages" / f"meeting_reminder.{ending}"
        shutil.copy(first, first.with_name(f"meeting_reminder.email.{ending}"))
    with pytest.raises(TemplateError, match=r"meeting_reminder\.email\.toml: channel"):
        Templates(folder)


LIVE = 'usage = { type = "usage", fallback = "", live_seconds = 2 }'


@pytest.mark.parametrize(
    ("declaration", "complaint"),
    [
        ('usage = { type = "usage", live_seconds = 2 }', "context.usage: .*give it a fallback"),
        (
            'usage = { type = "text", fallback = "", live_seconds = 2 }',
            "context.usage: .*an object, and text takes none",
        ),
        (LIVE.replace("= 2", "= 0"), "context.usage.live_seconds: .*greater than 0"),
        (LIVE.replace("= 2", "= 60"), "context.usage.live_seconds: .*less than or equal to 5"),
        (LIVE.replace("= 2", '= "soon"'), "context.usage.live_seconds: .*valid number"),
        (LIVE.replace("seconds", "minutes"), "context.usage.live_minutes: Extra"),
        (LIVE.replace("live_seconds = 2", 'live_else = "told"'), "context.usage: .*give it live_seconds"),
        (LIVE.replace("= 2", '= 2, live_else = "guess"'), "context.usage.live_else: .*'fallback' or 'told'"),
    ],
)
def test_what_is_live_is_an_object_with_a_limit_and_a_fallback(folder, declaration, complaint):
    edit(folder / "messages" / "renewal_value.toml", LIVE, declaration)
    with pytest.raises(TemplateError, match=rf"renewal_value\.toml: {complaint}"):
        Templates(folder)
