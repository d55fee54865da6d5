"""A directory with nothing in it, and a database with a life to be told."""

from pathlib import Path

import pytest

from tests.cli.world import ROOT, World


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with the project's policy, and an environment that says nothing else."""
    for name in ("PERENNIAL_DATABASE_URL", "PERENNIAL_DEBUG", "STRIPE_SIGNING_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERENNIAL_POLICY_FILE", str(ROOT / "policy.toml"))
    return tmp_path


@pytest.fixture
def world(database_url: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", database_url)
    return World(database_url)
