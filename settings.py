"""The environment as typed settings: one place that reads ``PERENNIAL_*``, from variables or an ``.env`` file.

Where Temporal is comes from Temporal's own configuration (``TEMPORAL_ADDRESS`` and its TOML profiles), and a
connector's credentials from that connector's own settings.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from contacts.clock import Clock

PREFIX = "PERENNIAL_"

DATA = Path(".perennial")
"""Where development keeps everything it makes: engines' data, logs, mail, the generated secret."""

SECRET_LENGTH = 32
"""Fewest characters of a secret that signs tokens."""

_CLOCK: TypeAdapter[Clock] = TypeAdapter(Clock)


class WrongSetting(Exception):
    """A setting is missing or cannot be used.

    Attributes:
        variable: The environment variable at fault.
        reason: What is wrong with it; never the value of a secret.
    """

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}")
        self.variable = variable
        self.reason = reason


def _wrong(reason: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{reason}", {"reason": reason})


def _parts(address: str) -> SplitResult:
    """The parts of an address, all empty where it has none; ``urlsplit`` itself may tell a password."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _postgresql(value: SecretStr) -> SecretStr:
    address = value.get_secret_value()
    parts = _parts(address)
    if parts.scheme not in ("postgresql", "postgresql+psycopg", "postgres") or parts.path in ("", "/"):
        raise _wrong("must look like postgresql://user:password@host:5432/database")
    return SecretStr("postgresql+psycopg" + address.removeprefix(parts.scheme))


def _web_address(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _wrong("must be a web address such as https://hub.example.com")
    return value.rstrip("/")


def _mailbox_address(value: str) -> str:
    _, address = parseaddr(value)
    try:
        validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise _wrong("must be an address such as Ann of Acme <ann@example.com>") from None
    if any(ord(c) < 32 for c in value):
        raise _wrong("must be on one line")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SECRET_LENGTH:
        raise _wrong(f"must be at least {SECRET_LENGTH} characters")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("whsec_"):
        raise _wrong("must be a Standard Webhooks secret, which starts with whsec_")
    return value


def _keys(value: object) -> object:
    return [key.strip() for key in value.split(",") if key.strip()] if isinstance(value, str) else value


def _parts_of_a_clock(value: object) -> object:
    if isinstance(value, dict) and (unknown := set(value) - {"origin", "start", "rate", "late"}):
        raise _wrong(f"knows origin, start, rate and late, not {', '.join(sorted(unknown))}")
    return value


def _straight_line(value: Clock) -> Clock:
    if value.origin.tzinfo is None or value.start.tzinfo is None:
        raise _wrong("origin and start need a UTC offset, such as 2026-03-02T09:00:00Z")
    if not 0 < value.rate < float("inf"):
        raise _wrong("rate must be above 0")
    if not 0 <= value.late < float("inf"):
        raise _wrong("late must not be below 0")
    return value


Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """What Perennial needs to know of the place it runs in. ``load`` makes one.

    Attributes:
        environment: ``production`` refuses everything that only a laptop may do.
        database_url: ``postgresql+psycopg://``; None where ``perennial up`` brings its own PostgreSQL.
        public_url: How contacts and other systems reach the gateway; no slash at the end.
        gateway_host: The address the gateway listens on.
        gateway_port: The port the gateway listens on.
        secret: Signs tokens, such as those in unsubscribe links. To change it makes every link sent so far void.
        write_keys: Who may call the tracking API.
        events_secret: The Standard Webhooks secret of ``/events``; None closes that door.
        metrics_key: The bearer token of ``/metrics``; None closes it in production and leaves it open elsewhere.
        policy_file: Frequency caps, quiet hours, scores and the like.
        mail_from: The sender of mail, ``Name <address>``.
        mailbox_dir: Where the development mailbox keeps mail; None for no mailbox.
        mailbox_port: The SMTP port of the development mailbox.
        temporal_ui: Where Temporal's pages are, for the development index.
        clock: The journeys' clock.
        task_queue: The Temporal task queue of worker and gateway.
        build_id: The worker's version; not None turns Worker Versioning on.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=False
    )

    environment: Literal["development", "production"] = "development"
    database_url: Annotated[SecretStr, AfterValidator(_postgresql)] | None = None
    public_url: Annotated[str, AfterValidator(_web_address)] = "http://127.0.0.1:8080"
    gateway_host: str = "127.0.0.1"
    gateway_port: Port = 8080
    secret: Annotated[SecretStr, AfterValidator(_signing_secret)]
    write_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_keys), Field(min_length=1)] = (
        SecretStr("dev-write-key"),
    )
    events_secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = None
    metrics_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    policy_file: Path = Path("policy.toml")
    mail_from: Annotated[str, AfterValidator(_mailbox_address)] = "Perennial <hello@example.com>"
    mailbox_dir: Path | None = None
    mailbox_port: Port = 1025
    temporal_ui: Annotated[str, AfterValidator(_web_address)] | None = None
    clock: Annotated[Clock, BeforeValidator(_parts_of_a_clock), AfterValidator(_straight_line)] = Clock()
    task_queue: Annotated[str, Field(min_length=1, max_length=200)] = "perennial"
    build_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _secret_of_this_checkout(cls, given: Any) -> Any:
        if given.get("environment", "development") == "development" and "secret" not in given:
            return {**given, "secret": _generated_secret(DATA / "secret")}
        return given

    @model_validator(mode="after")
    def _fit_for_production(self) -> Self:
        if self.environment != "production":
            return self
        for field in ("database_url", "public_url", "write_keys", "mail_from"):
            if field not in self.model_fields_set:
                raise WrongSetting(_variable(field), "is required in production")
        if not self.public_url.startswith("https://"):
            raise WrongSetting(_variable("public_url"), f"must be https in production (got {self.public_url!r})")
        if self.mailbox_dir is not None:
            raise WrongSetting(_variable("mailbox_dir"), "the development mailbox is not for production; unset it")
        if self.clock != Clock():
            raise WrongSetting(_variable("clock"), "production runs on the machine's clock; unset it")
        return self

    def as_environment(self) -> dict[str, str]:
        """The variables from which ``load`` makes these same settings in another process, secrets in clear."""
        values: dict[str, str] = {}
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, SecretStr):
                values[_variable(field)] = value.get_secret_value()
            elif field == "write_keys":
                values[_variable(field)] = ",".join(key.get_secret_value() for key in self.write_keys)
            elif isinstance(value, Clock):
                values[_variable(field)] = _CLOCK.dump_json(value).decode()
            elif value is not None:
                values[_variable(field)] = str(value)
        return values


def load() -> Settings:
    """The settings of this process.

    Raises:
        WrongSetting: The first setting that is missing or cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise _first(error) from None
    except SettingsError as error:
        # pydantic-settings words it: error parsing value for field "clock" from source "..."
        field = str(error).split('"')[1]
        raise WrongSetting(_variable(field), "must be JSON") from None


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _first(error: ValidationError) -> WrongSetting:
    detail = error.errors(include_url=False)[0]
    field, *inner = (str(part) for part in detail["loc"])
    reason = _reason(detail)
    if inner and field == "clock":
        reason = f"{'.'.join(inner)} {reason}"
    if detail["type"] != "missing" and field in ("environment", "gateway_port", "mailbox_port", "public_url"):
        reason += f" (got {detail['input']!r})"
    return WrongSetting(_variable(field), reason)


def _reason(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "setting":
            return detail["msg"]
        case "missing":
            return "is required"
        case "int_parsing" | "int_type":
            return "must be a whole number"
        case "too_short" | "string_too_short":
            return "must not be empty"
        case _:
            return "must " + detail["msg"].removeprefix("Input should ")


def _generated_secret(file: Path) -> str:
    """The secret in ``file``, made on first use. Two processes at once agree on one."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".secret-") as draft:
        draft.write(secrets.token_urlsafe(SECRET_LENGTH))
        draft.flush()
        with suppress(FileExistsError):
            os.link(draft.name, file)
    return file.read_text().strip()
