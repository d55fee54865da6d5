"""The environment becomes typed settings, or one line that names the variable at fault."""

import dataclasses
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import settings
from contacts.clock import Clock

PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://app:hunter2@db:5432/perennial",
    "PUBLIC_URL": "https://hub.example.com/",
    "SECRET": "s" * 32,
    "WRITE_KEYS": "web-key, shop-key",
    "MAIL_FROM": "Ann <ann@example.com>",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of its own and an environment without a setting."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)


def give(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(settings.PREFIX + name, value)


def refusal() -> settings.WrongSetting:
    with pytest.raises(settings.WrongSetting) as caught:
        settings.load()
    assert "\n" not in str(caught.value)
    return caught.value


def test_development_needs_nothing(tmp_path: Path) -> None:
    loaded = settings.load()
    assert loaded.environment == "development"
    assert loaded.database_url is None
    assert loaded.public_url == "http://127.0.0.1:8080"
    assert [key.get_secret_value() for key in loaded.write_keys] == ["dev-write-key"]
    assert loaded.clock == Clock()


def test_the_generated_secret_stays_and_is_private(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = {loaded.secret.get_secret_value() for loaded in threads.map(lambda _: settings.load(), range(8))}
    assert len(found) == 1
    assert len(found.pop()) >= settings.SECRET_LENGTH
    file = tmp_path / ".perennial" / "secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["secret"]


def test_production_reads_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, PRODUCTION)
    loaded = settings.load()
    assert loaded.database_url is not None
    assert loaded.database_url.get_secret_value() == "postgresql+psycopg://app:hunter2@db:5432/perennial"
    assert loaded.public_url == "https://hub.example.com"
    assert [key.get_secret_value() for key in loaded.write_keys] == ["web-key", "shop-key"]
    assert "hunter2" not in repr(loaded)
    assert "shop-key" not in repr(loaded)
    assert not Path(".perennial").exists()


@pytest.mark.parametrize("missing", ["DATABASE_URL", "PUBLIC_URL", "SECRET", "WRITE_KEYS", "MAIL_FROM"])
def test_production_names_what_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, {name: value for name, value in PRODUCTION.items() if name != missing})
    assert refusal().variable == f"PERENNIAL_{missing}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PUBLIC_URL", "http://hub.example.com"),
        ("MAILBOX_DIR", "/tmp/mail"),  # noqa: S108
        ("CLOCK", '{"rate": 86400}'),
    ],
)
def test_production_refuses_what_only_a_laptop_may_do(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, PRODUCTION | {variable: value})
    assert refusal().variable == f"PERENNIAL_{variable}"


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("GATEWAY_PORT", "abc", "must be a whole number (got 'abc')"),
        ("GATEWAY_PORT", "70000", "must be less than or equal to 65535 (got '70000')"),
        ("ENVIRONMENT", "prod", "must be 'development' or 'production' (got 'prod')"),
        ("PUBLIC_URL", "hub", "must be a web address such as https://hub.example.com (got 'hub')"),
        ("WRITE_KEYS", " , ", "must not be empty"),
        ("CLOCK", "{", "must be JSON"),
        ("CLOCK", '{"rate": 0}', "rate must be above 0"),
        ("CLOCK", '{"speed": 2}', "knows origin, start, rate and late, not speed"),
        (
            "CLOCK",
            '{"start": "2026-03-02T09:00:00"}',
            "origin and start need a UTC offset, such as 2026-03-02T09:00:00Z",
        ),
        ("EVENTS_SECRET", "abc", "must be a Standard Webhooks secret, which starts with whsec_"),
        ("MAIL_FROM", "ann", "must be an address such as Ann of Acme <ann@example.com>"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    variable: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, {variable: value})
    assert str(refusal()) == f"PERENNIAL_{variable}: {line}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://app:hunter2@db/perennial"),
        ("DATABASE_URL", "postgresql://app:hunter2@[db/perennial"),
        ("DATABASE_URL", "postgresql://app:hunter2@d\N{ACCOUNT OF}b/perennial"),
        ("SECRET", "hunter2"),
        ("EVENTS_SECRET", "hunter2"),
    ],
)
def test_a_refusal_keeps_the_secret(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, {variable: value})
    assert "hunter2" not in str(refusal())


def test_the_env_file_counts_and_a_variable_overrides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PERENNIAL_GATEWAY_PORT=9000\nPERENNIAL_TASK_QUEUE=mine\nPOSTGRES_PASSWORD=x\n")
    give(monkeypatch, {"TASK_QUEUE": "yours", "BUILD_ID": ""})
    loaded = settings.load()
    assert (loaded.gateway_port, loaded.task_queue, loaded.build_id) == (9000, "yours", None)


def test_another_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, PRODUCTION | {"BUILD_ID": "2026.3", "EVENTS_SECRET": "whsec_c2VjcmV0"})
    loaded = settings.load()
    for name, value in loaded.as_environment().items():
        monkeypatch.setenv(name, value)
    assert settings.load() == loaded


def test_a_fast_clock_survives_the_way_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 2, 9, tzinfo=UTC), 86400.0)
    fast = settings.load().model_copy(update={"clock": clock})
    monkeypatch.setenv("PERENNIAL_CLOCK", fast.as_environment()["PERENNIAL_CLOCK"])
    assert dataclasses.asdict(settings.load().clock) == dataclasses.asdict(clock)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_in_any_variable_is_never_a_trace(monkeypatch: pytest.MonkeyPatch, junk: str) -> None:
    for field in settings.Settings.model_fields:
        with monkeypatch.context() as patch:
            patch.setenv(settings.PREFIX + field.upper(), junk)
            try:
                settings.load()
            except settings.WrongSetting as wrong:
                assert "\n" not in str(wrong)
                assert wrong.variable.startswith(settings.PREFIX)
