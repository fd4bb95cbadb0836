"""What is shipped for Prometheus and Grafana asks only for what engine and API really count."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from engine.telemetry.metrics import Metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
ETC = sorted((DEPLOY.parent / "etc").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROMTOOL = shutil.which("promtool")


def _series(registry: CollectorRegistry) -> set[str]:
    """Names that the metrics of a registry have on the page, whether or not they have children yet."""
    names = set()
    for metric in registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric.type, ("",))
        names |= {metric.name + ending for ending in endings}
    return names


def _asked(text: str) -> set[str]:
    return set(re.findall(r"\bedgewise_[a-z0-9_]+", text))


# The API's own are counted in api/metrics.py, read here as text: its registry needs a running service.
API = _asked((DEPLOY.parent / "api" / "metrics.py").read_text())
KNOWN = _series(Metrics().registry) | API | {f"{name}{end}" for name in API for end in ("_bucket", "_total")}


def test_alerts_ask_for_metrics_that_exist() -> None:
    rules = (DEPLOY / "prometheus" / "rules.yml").read_text()
    assert len(_asked(rules)) > 10
    assert _asked(rules) <= KNOWN


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_have_what_grafana_needs_and_ask_for_metrics_that_exist(path: Path) -> None:
    board: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    assert {"uid", "title", "schemaVersion", "time", "panels"} <= board.keys()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"]["uid"] == "edgewise-prometheus"
        for target in panel["targets"]:
            asked = _asked(target["expr"])
            assert asked, panel["title"]
            assert asked <= KNOWN, panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_hold_to_grafanas_own_types(path: Path) -> None:
    """What Grafana's types do not know is lost on the way through them; a word of no enumeration raises."""
    board: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    assert {"schemaVersion", "templating", "annotations"} <= board.keys()  # what its JSON Schema requires
    register_default_plugins()
    through = msgspec.json.decode(JSONEncoder().encode(Dashboard.from_json(board)))
    assert list(_lost(board, through, path.stem)) == []


def _lost(ours: Any, theirs: Any, at: str) -> Iterator[str]:
    """Where `theirs` does not say the same; what it adds are defaults."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from _lost(value, theirs.get(key), f"{at}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(one, other, f"{at}[{number}]")
    elif ours != theirs:
        yield at


def test_every_dashboard_has_a_name_of_its_own() -> None:
    boards = [msgspec.json.decode(path.read_bytes()) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(DASHBOARDS) == 4


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, of the package prometheus, is not installed")
@pytest.mark.parametrize(
    "command", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")], ids=" ".join
)
def test_promtool_takes_the_configuration_and_the_alerts_fire(command: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, *command],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, of the package prometheus, is not installed")
def test_promtool_finds_nothing_on_the_page_of_the_engine() -> None:
    from prometheus_client import generate_latest

    assert PROMTOOL is not None
    metrics = Metrics()
    metrics.slippage("entry").observe(-0.001)
    metrics.model_latency("m").observe(1)
    page = generate_latest(metrics.registry)
    ran = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=page, capture_output=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr.decode() + ran.stdout.decode()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_services_run_without_rights_and_come_back(path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    service = unit["Service"]
    assert service["User"] == "edgewise"
    assert service["ExecStart"].split()[1] in {"engine", "api"}
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert service["Restart"] == "always"
    assert service["Environment"] == f"EDGEWISE_HOME=/var/lib/{service['StateDirectory']}"


def test_containers_run_without_rights_and_find_each_other() -> None:
    folder = DEPLOY / "docker"
    image = (folder / "Dockerfile").read_text()
    assert image.index("\nUSER edgewise") > image.index("useradd")
    assert "--require-hashes -r requirements.lock" in image
    plan = YAML(typ="safe").load((folder / "compose.yaml").read_text())
    services = plan["services"]
    assert set(services) == {"engine", "api", "postgres", "valkey", "prometheus", "grafana"}
    for name, service in services.items():
        assert ":" in service["image"] or service["image"] == "edgewise", f"{name} has no version"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            known = source in plan["volumes"] or (folder / source).resolve().exists()
            assert known, f"{name} mounts {source}, which there is not"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
    for name in ("engine", "api"):
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["healthcheck"]
    assert not [key for key in services["api"]["environment"] if key.startswith("OKX")]
    asked = set(re.findall(r"\$\{(EDGEWISE_\w+)", "".join(p.read_text() for p in ETC)))
    for name in ("engine", "api"):
        given = {key for key in services[name]["environment"] if key.startswith("EDGEWISE")}
        assert given <= asked, f"{name} is given what no file asks for"
