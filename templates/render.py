"""Rendering: a template's name and a context in, a message's subject, text and HTML out.

A message is two files: ``messages/<name>.toml`` says what it is and what it must be told, ``messages/<name>.j2`` is its
copy, written once. A mail's copy is rendered twice with two sets of blocks (``layout/mjml``, ``layout/text``), so that
both parts say the same and carry the same links. Every other channel is text alone, in the layout of its name; of a
gift's copy the card is rendered apart as well (``layout/card``), for whoever prints it or sends it along.

A message may be written for further channels, one pair of files each: ``messages/<name>.sms.toml`` and ``.j2``. These
versions are one message: they agree on purpose, role and context.

Exceptions::

    TemplateError         the template is broken; the message says which file and why
      UnknownTemplate     there is no template of that name, or none for that channel
      MissingContext      the context lacks something the template cannot do without; ``template``, ``name``
"""

import hashlib
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import mjml
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateRuntimeError,
    TemplateSyntaxError,
    UndefinedError,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contacts.policy import Role
from templates import content, gsm
from templates.context import PLAIN, Type, clip, convert

Channel = Literal["email", "sms", "call", "note", "gift", "mail"]
"""
``email``  HTML and text
``sms``    one line, at most ``SMS_LIMIT`` characters
``call``   a task for a colleague: why to call, what we know, what to say and what not
``note``   the words of a card that a colleague writes or signs
``gift``   what to give, and the words of the card with it
``mail``   a letter for print
"""
Purpose = Literal["promotional", "lifecycle", "transactional"]

SMS_LIMIT = 300
"""Characters; two parts of an SMS, so that a long name still fits."""

LIVE_LIMIT = 5
"""Seconds that any value fetched live may take; a touch goes out that much later at most."""

_M = TypeVar("_M", bound=BaseModel)


class TemplateError(Exception):
    """A template cannot be used."""


class UnknownTemplate(TemplateError):
    """There is no template of that name, or none for that channel."""


class MissingContext(TemplateError):
    """The context lacks a value, or holds one of no use, and the template declares no fallback for it.

    Attributes:
        template: The template's name.
        name: The context name it needs.
    """

    def __init__(self, template: str, name: str) -> None:
        super().__init__(f"{template}: the context has no usable {name}, and the template declares no fallback for it")
        self.template = template
        self.name = name


@dataclass(frozen=True)
class Rendered:
    """A message as its reader will see it: the contact, or for a call, a note or a gift the colleague who sees to it.

    Attributes:
        template: The template's name.
        subject: One line. A colleague's says what to do; of an SMS and a letter only our own records show it.
        preheader: What an inbox shows after the subject, part of ``html`` too; empty for all but e-mail.
        text: The plain text part, or all there is. Only an e-mail's has its lines broken.
        html: The HTML part, whole; None for all but e-mail.
        card: The words of the card with a gift, from greeting to sign-off, which ``text`` holds too; None for all else.
        fingerprint: Changes when anything the template is made of changes; 12 hex digits.
    """

    template: str
    subject: str
    preheader: str
    text: str
    html: str | None
    card: str | None
    fingerprint: str


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Need(_Model):
    """A context name a template uses.

    Attributes:
        type: See ``templates.context.Type``.
        fallback: Used where the context has no usable value. Empty: the copy reads well without. None: required.
        live_seconds: The value is fetched as the message goes out, in at most so long; None: it is not.
        live_else: What stands where it is not there in time: the fallback, or what the message is told without it.
    """

    type: Type
    fallback: str | None = None
    live_seconds: Annotated[float, Field(gt=0, le=LIVE_LIMIT)] | None = None
    live_else: Literal["fallback", "told"] = "fallback"

    @model_validator(mode="after")
    def _can_do_without(self) -> Self:
        if self.live_seconds is None and self.live_else != "fallback":
            raise ValueError("live_else is for what is fetched live: give it live_seconds")
        if self.live_seconds is not None and self.live_else == "fallback" and self.fallback is None:
            raise ValueError("what is fetched live may be away: give it a fallback")
        if self.live_seconds is not None and self.type in PLAIN:
            raise ValueError(f"what is fetched live is an object, and {self.type} takes none")
        return self


class _FrontMatter(_Model):
    channel: Channel
    purpose: Purpose
    role: Role | None = None
    subject: str
    preheader: str | None = None
    headline: str | None = None
    because: str | None = None
    context: dict[str, Need] = Field(default_factory=dict)
    samples: dict[str, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _only_email_is_framed(self) -> Self:
        for line in ("preheader", "headline", "because"):
            if (getattr(self, line) is not None) != (self.channel == "email"):
                raise ValueError(f"{line}: an e-mail has one, and nothing else does")
        return self


class _Frame(_Model):
    context: dict[str, Need]
    opt_out: dict[str, Need]
    sample: dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """What a message's version for one channel says of itself.

    Attributes:
        name: Public: journeys and scenario files use it. All versions have it.
        file: The name of its two files, without their endings.
        role: What the message is for; None where there is one version.
        context: What it may be told, by name.
        samples: Whole contexts to show and test it with, by name; one of them is the emptiest it can do with.
        fingerprint: As in ``Rendered``.
    """

    name: str
    file: str
    channel: Channel
    purpose: Purpose
    role: Role | None
    context: Mapping[str, Need]
    samples: Mapping[str, Mapping[str, Any]]
    fingerprint: str


class Templates:
    """All templates of a folder, read and checked once."""

    def __init__(self, folder: Path) -> None:
        """Reads the folder.

        Raises:
            TemplateError: A file is malformed, a copy file is missing or has a syntax error.
        """
        self._mjml = _environment(folder, "mjml", autoescape=True, wrap=_wrap)
        self._text: dict[Channel, Environment] = {
            channel: _environment(folder, channel, "text", autoescape=False, wrap=_flow)
            for channel in get_args(Channel)
        }
        self._text["email"] = _environment(folder, "text", autoescape=False, wrap=_wrap)
        self._card = _environment(folder, "card", "text", autoescape=False, wrap=_flow)
        frame = _toml(folder / "layout" / "frame.toml", _Frame)
        shared = sorted(p for part in ("layout", "messages/parts", "content") for p in (folder / part).rglob("*.*"))
        self._front: dict[str, _FrontMatter] = {}
        self._messages: dict[str, tuple[Declared, ...]] = {}
        for file in sorted((folder / "messages").glob("*.toml"), key=lambda path: path.stem):
            front = _toml(file, _FrontMatter)
            name = self._fits(file, front)
            copy = file.with_suffix(".j2")
            try:
                self._text[front.channel].get_template(copy.name)
            except TemplateSyntaxError as error:
                raise TemplateError(f"{error.name}: line {error.lineno}: {error.message}") from None
            except OSError:
                raise TemplateError(f"{file.name}: there is no {copy.name} beside it") from None
            opt_out = frame.opt_out if front.channel == "email" and front.purpose != "transactional" else {}
            context = {**frame.context, **opt_out, **front.context}
            shared_facts = {fact: value for fact, value in frame.sample.items() if fact in context}
            declared = Declared(
                name=name,
                file=file.stem,
                channel=front.channel,
                purpose=front.purpose,
                role=front.role,
                context=context,
                samples={sample: {**shared_facts, **facts} for sample, facts in front.samples.items()},
                fingerprint=_fingerprint(folder, [*shared, file, copy]),
            )
            self._front[file.stem] = front
            self._messages[name] = (*self._messages.get(name, ()), declared)

    def _fits(self, file: Path, front: _FrontMatter) -> str:
        """The name of the message, to whose first version the file must be another."""
        name, _, channel = file.stem.partition(".")
        if not channel:
            return name
        if name not in self._front:
            raise TemplateError(f"{file.name}: there is no {name}.toml, the message's first version")
        if front.channel != channel or front.channel in (v.channel for v in self._messages[name]):
            raise TemplateError(f"{file.name}: channel: must be the one in the file's name, and not {name}.toml's")
        for part in ("purpose", "role", "context"):
            if getattr(front, part) != getattr(self._front[name], part):
                raise TemplateError(f"{file.name}: {part}: differs from that in {name}.toml")
        if front.role is None:
            raise TemplateError(f"{file.name}: role: a message with several versions needs one, to choose by")
        return name

    def declared(self) -> list[Declared]:
        """Every version of every message, by name."""
        return [version for versions in self._messages.values() for version in versions]

    def versions(self, template: str) -> tuple[Declared, ...]:
        """The versions of a message, its first one first.

        Raises:
            UnknownTemplate: There is no such template.
        """
        if template not in self._messages:
            raise UnknownTemplate(f"{template}: there is no such template; there are {', '.join(self._messages)}")
        return self._messages[template]

    def render(self, template: str, context: Mapping[str, Any], channel: str | None = None) -> Rendered:
        """The message for a context; names the template does not declare are ignored.

        Args:
            template: The message's name.
            context: What it is told.
            channel: For which channel; that of its first version if not given.

        Raises:
            UnknownTemplate: There is no such template, or none for the channel.
            MissingContext: See there.
        """
        versions = self.versions(template)
        declared = next((version for version in versions if channel in (None, version.channel)), None)
        if declared is None:
            channels = ", ".join(version.channel for version in versions)
            raise UnknownTemplate(f"{template}: there is no version for {channel}; there is {channels}")
        front, copy = self._front[declared.file], f"{declared.file}.j2"
        facts = _facts(declared, context)
        environment = self._text[front.channel]
        try:
            lines = {
                field: " ".join(environment.from_string(source).render(facts).split())
                for field in ("subject", "preheader", "headline", "because")
                if (source := getattr(front, field)) is not None
            }
            whole = {**facts, **lines, "purpose": front.purpose}
            card = _tidy(self._card.get_template(copy).render(whole)).strip() if front.channel == "gift" else None
            text = environment.get_template(copy).render(whole, card=card)
            html = self._html(copy, whole) if front.channel == "email" else None
        except UndefinedError as error:
            raise TemplateError(f"{copy} uses what it does not declare: {error.message}") from None
        except (TemplateRuntimeError, ValueError) as error:
            raise TemplateError(f"{copy}: {error}") from None
        preheader = lines.get("preheader", "")
        return Rendered(template, lines["subject"], preheader, _tidy(text), html, card, declared.fingerprint)

    def _html(self, copy: str, whole: Mapping[str, Any]) -> str:
        # No fonts: MJML would have the reader's mail program fetch one from a font service, and so tell on them.
        return mjml.mjml2html(self._mjml.get_template(copy).render(whole), fonts={})


@cache
def shipped() -> Templates:
    """The templates that come with Perennial."""
    return Templates(Path(__file__).parent)


def render(template: str, context: Mapping[str, Any], channel: str | None = None) -> Rendered:
    """Renders a shipped template; see ``Templates.render``."""
    return shipped().render(template, context, channel)


def versions(template: str) -> tuple[Declared, ...]:
    """The versions of a shipped message; see ``Templates.versions``."""
    return shipped().versions(template)


def declared() -> list[Declared]:
    """Every shipped template; a worker that calls it at start finds a broken one before a contact does."""
    return shipped().declared()


def _facts(template: Declared, context: Mapping[str, Any]) -> dict[str, Any]:
    facts = {}
    for name, need in template.context.items():
        value = convert(need.type, context.get(name), context) if context.get(name) is not None else None
        if value is None:
            if need.fallback is None:
                raise MissingContext(template.name, name)
            value = convert(need.type, need.fallback, context) if need.fallback else ""
        facts[name] = value
    return facts


def _environment(folder: Path, *layouts: str, autoescape: bool, wrap: Callable[..., str]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([*(folder / "layout" / layout for layout in layouts), folder / "messages"]),
        undefined=StrictUndefined,
        autoescape=autoescape,  # noqa: S701 - off only for text, where an escape would be seen
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"wrap": wrap, "clip": clip, "sms": _sms}
    environment.globals["lesson"] = content.lesson
    environment.globals |= {
        name: block
        for name, block in vars(environment.get_template("blocks.j2").module).items()
        if not name.startswith("_")
    }
    return environment


def _printable(value: Any) -> Any:
    if value is None:
        raise ValueError("it prints a value that is None")
    return value


def _wrap(words: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(words.split()), 76, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _flow(words: str, _: str = "") -> str:
    """One line a paragraph: a task list, a printer and a telephone break lines themselves."""
    return " ".join(words.split())


def _sms(words: str) -> str:
    text = gsm.fold(_flow(words))
    if len(text) > SMS_LIMIT:
        raise ValueError(f"it is {len(text)} characters long, and an SMS may have {SMS_LIMIT}")
    return text


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _toml(file: Path, shape: type[_M]) -> _M:
    try:
        return shape.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = [".".join(str(part) for part in first["loc"])] if first["loc"] else []
        raise TemplateError(": ".join([file.name, *where, first["msg"]])) from None
    except (OSError, ValueError) as error:
        raise TemplateError(f"{file.name}: {' '.join(str(error).split())}") from None


def _fingerprint(folder: Path, sources: list[Path]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        if source.suffix in (".j2", ".toml", ".yaml"):
            digest.update(f"{source.relative_to(folder)}\0".encode() + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
