"""What the messages talk about: one file per topic, lessons after a purchase, thanks per entry point, our questions.

The files are copy, written by people for people; everything in them is checked when they are loaded.

>>> topic("seo").name
'being found in search'
>>> topic("no-such-topic").slug
'general'
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

FALLBACK = "general"

_T = TypeVar("_T")

_Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$")]
_Copy = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Subject = Annotated[str, StringConstraints(min_length=1, max_length=50, strip_whitespace=True)]
"""Short enough to leave room for the words a subject puts around it."""
_Link = Annotated[str, StringConstraints(pattern=r"^https://[^\s<>\"]+$")]

_ACRONYMS = {"seo", "spf", "dkim", "dmarc", "dns", "ga4", "roi", "utm", "faq", "pdf", "b2b"}


class ContentError(ValueError):
    """A content file does not hold what it should; the message names the file and the field."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resource(_Model):
    """Something to read or use. ``why`` says in one sentence what the reader gets from it."""

    slug: _Slug
    title: _Copy
    url: _Link
    why: _Copy


class Mistake(_Model):
    """What people commonly get wrong; ``title`` completes "a common mistake: ..."."""

    title: _Subject
    happens: _Copy
    instead: _Copy


class Proof(_Model):
    """A short story of a shop that had the problem."""

    headline: _Subject
    shop: _Copy
    before: _Copy
    change: _Copy
    after: _Copy
    url: _Link


class Case(_Model):
    """A case study: what was done, step by step, and what it brought; ``kind`` is a choice of ``shop_kind``."""

    kind: _Slug
    headline: _Subject
    shop: _Copy
    situation: _Copy
    done: tuple[_Copy, ...]
    result: _Copy
    url: _Link


class Change(_Model):
    """What has changed about a topic lately, and what we would do about it."""

    what: _Copy
    do: _Copy


class Topic(_Model):
    """A problem a contact may have, and all we can say about it.

    Attributes:
        name: Completes "about ...", as in "being found in search".
        problem: One sentence, as the contact would put it.
        resources: Three, in the order of use.
        cases: Of shops of different kinds; ask through ``case``.
        worth_it: Signs that solving it now pays; ``not_yet`` says when it does not.
        question: What a good consultant would ask first.
    """

    slug: _Slug
    name: _Subject
    problem: _Copy
    resources: tuple[Resource, Resource, Resource]
    mistake: Mistake
    proof: Proof
    cases: tuple[Case, ...] = Field(min_length=1)
    changed: Change
    worth_it: tuple[_Copy, ...]
    not_yet: _Copy
    question: _Copy

    def next_two(self, taken: str = "") -> tuple[Resource, ...]:
        """The first two resources that are not the one the contact has.

        Args:
            taken: The slug of what they have; anything else takes nothing away.
        """
        return tuple(r for r in self.resources if r.slug != taken)[:2]

    def case(self, kind: str = "") -> Case:
        """The case of a shop of that kind; else the first."""
        return next((case for case in self.cases if case.kind == kind), self.cases[0])


class Guide(_Model):
    """A help page."""

    title: _Copy
    url: _Link


class Lesson(_Model):
    """One step of learning a product; ``worked`` says how the reader knows it worked."""

    slug: _Slug
    subject: _Subject
    headline: _Copy
    opening: _Copy
    steps: tuple[_Copy, ...]
    worked: _Copy
    guide: Guide


class Choice(_Model):
    """An answer to choose.

    Attributes:
        says: The choice in words.
        reply: What we have to say to it; empty where that is nothing.
        topic: The topic it makes the contact's own.
    """

    says: _Copy
    reply: str = ""
    topic: _Slug | None = None


class Question(_Model):
    """What a form or a survey asks; ``what`` completes "you told us ..."."""

    slug: _Slug
    asked: _Copy
    what: _Copy
    choices: dict[_Slug, Choice] = Field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """What a contact took: a resource of ours, or the name it was reported under.

    ``slug`` and ``url`` are empty where we do not know the thing.
    """

    title: str
    slug: str = ""
    url: str = ""


@dataclass(frozen=True)
class Content:
    """All content, by slug; ``thanks`` by the first word of an entry point."""

    topics: Mapping[str, Topic]
    lessons: Mapping[str, Lesson]
    thanks: Mapping[str, str]
    questions: Mapping[str, Question]

    def topic(self, slug: str, taken: Taken | None = None) -> Topic:
        """The topic of that slug; else the one the taken resource belongs to; else the general one."""
        known = self.topics.get(slug.strip().casefold().replace("_", "-"))
        if known is not None and known.slug != FALLBACK:
            return known
        if taken is not None and taken.slug:
            return next(t for t in self.topics.values() if any(r.slug == taken.slug for r in t.resources))
        return self.topics[FALLBACK]

    def lesson(self, slug: str) -> Lesson:
        """The lesson of that slug.

        Raises:
            KeyError: There is none.
        """
        return self.lessons[slug]

    def taken(self, resource: str) -> Taken:
        """The resource of that slug or title; a name made readable where we have no such resource."""
        asked = resource.strip()
        for topic in self.topics.values():
            for ours in topic.resources:
                if asked.casefold() in (ours.slug, ours.title.casefold()):
                    return Taken(ours.title, ours.slug, ours.url)
        return Taken(_readable(asked))

    def thanks_for(self, entry_point: str) -> str | None:
        """How to thank somebody for coming in there: ``form.submitted`` and ``form:contact`` are both ``form``."""
        return self.thanks.get(re.split(r"[^a-z0-9]", entry_point.strip().casefold(), maxsplit=1)[0])

    def topic_told(self, question: str, answer: Any) -> str | None:
        """The topic that an answer makes the contact's own, if it does."""
        known = self.questions.get(question)
        given = answer if isinstance(answer, list | tuple) else [answer]
        chosen = [known.choices[a] for a in given if isinstance(a, str) and a in known.choices] if known else []
        return next((choice.topic for choice in chosen if choice.topic), None)


def load(folder: Path) -> Content:
    """Reads and checks every file of a content folder.

    Raises:
        ContentError: A file is malformed, a slug is used twice, a slug leads nowhere, or the general topic is missing.
    """
    lessons = _read(folder / "lessons.yaml", TypeAdapter(tuple[Lesson, ...]))
    thanks = _read(folder / "entry_points.yaml", TypeAdapter(dict[str, _Copy]))
    questions = _read(folder / "questions.yaml", TypeAdapter(tuple[Question, ...]))
    shared = {"lessons.yaml", "entry_points.yaml", "questions.yaml"}
    topics = [_read(f, TypeAdapter(Topic)) for f in sorted(folder.glob("*.yaml")) if f.name not in shared]

    for kind, slugs in (
        ("topic", [t.slug for t in topics]),
        ("resource", [r.slug for t in topics for r in t.resources]),
        ("lesson", [lesson.slug for lesson in lessons]),
        ("question", [question.slug for question in questions]),
    ):
        for slug in slugs:
            if slugs.count(slug) > 1:
                raise ContentError(f"{folder.name}: the {kind} {slug} is there twice")
    if FALLBACK not in {t.slug for t in topics}:
        raise ContentError(f"{folder.name}: the topic {FALLBACK} is missing")
    by_slug = {question.slug: question for question in questions}
    kinds = by_slug["shop_kind"].choices.keys() if "shop_kind" in by_slug else ()
    for kind, used, there in (
        ("topic", [c.topic for q in questions for c in q.choices.values() if c.topic], {t.slug for t in topics}),
        ("kind of shop", [case.kind for topic in topics for case in topic.cases], kinds),
    ):
        for slug in used:
            if slug not in there:
                raise ContentError(f"{folder.name}: there is no {kind} {slug}")
    return Content({t.slug: t for t in topics}, {lesson.slug: lesson for lesson in lessons}, thanks, by_slug)


def _read(file: Path, shape: TypeAdapter[_T]) -> _T:
    try:
        raw: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return shape.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ContentError(f"{file.name}: {where}: {first['msg']}") from None
    except (OSError, yaml.YAMLError) as error:
        raise ContentError(f"{file.name}: {' '.join(str(error).split())}") from None


def _readable(name: str) -> str:
    if re.search(r"\s", name):
        return name
    words = [w.upper() if w.casefold() in _ACRONYMS else w for w in re.split(r"[-_]+", name) if w]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


SHIPPED = load(Path(__file__).parent)

topic = SHIPPED.topic
lesson = SHIPPED.lesson
