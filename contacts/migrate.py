"""Brings a database to the current schema (Alembic)."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    return config


def head() -> str:
    """The revision of the current schema."""
    script = ScriptDirectory.from_config(_config(""))
    return str(script.get_current_head())


def upgrade(url: str) -> None:
    """Applies every migration a database lacks. ``url``: a SQLAlchemy URL (``postgresql+psycopg://...``)."""
    command.upgrade(_config(url), "head")
