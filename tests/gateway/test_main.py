"""The gateway as a process: it says when it is ready, stops when told, and names a setting it cannot use."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ops import engines

ROOT = Path(__file__).parents[2]


def gateway(**variables: str) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        env={**inherited, "PERENNIAL_SECRET": "s" * 40, **variables},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_starts_without_temporal_says_so_and_stops_cleanly(database_url: str) -> None:
    port = str(engines.free_port(18080))
    variables = {
        "PERENNIAL_DATABASE_URL": database_url,
        "PERENNIAL_GATEWAY_PORT": port,
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    with gateway(**variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"gateway: ready on http://127.0.0.1:{port}\n"
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
        assert (ready.status_code, ready.json()["temporal"]) == (200, False)
        assert "server" not in ready.headers
        assert "perennial_monitor_up" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"PERENNIAL_DATABASE_URL": ""}, "gateway: PERENNIAL_DATABASE_URL: is required"),
        ({"PERENNIAL_GATEWAY_PORT": "eighty"}, "gateway: PERENNIAL_GATEWAY_PORT: must be"),
        ({"PERENNIAL_EVENTS_SECRET": "whsec_a"}, "gateway: PERENNIAL_EVENTS_SECRET: must be whsec_"),
        ({"PERENNIAL_POLICY_FILE": "nowhere.toml"}, "gateway: PERENNIAL_POLICY_FILE: nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(variables: dict[str, str], line: str) -> None:
    with gateway(**{"PERENNIAL_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", **variables}) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert out == ""
