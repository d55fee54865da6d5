"""What the settings of every connector share: each is ``<NAME>_*``, from variables or an ``.env`` file."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Credentials(BaseSettings):
    """A connector's own settings. A subclass names its ``env_prefix``; secrets are ``SecretStr`` and default to None.

    Attributes:
        calls_per_second: How often the system lets this account call, all workers together; None: as often as we like.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    calls_per_second: Annotated[float, Field(gt=0)] | None = None
