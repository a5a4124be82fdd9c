"""Manifests match the code: commands, ports, settings, probes and destinations."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import typer.main
import yaml
from pydantic import SecretStr

from fixtures.engines import execute
from superimap.api.main import SHUTDOWN_GRACE_SECONDS
from superimap.cli import app
from superimap.core import environment
from superimap.core.config import Settings
from superimap.core.crypto import generate_key
from superimap.core.environment import variable_names
from superimap.dispatcher.timings import DispatcherTimings
from superimap.idler.main import CLOSE_SECONDS, HAND_OVER_SECONDS
from superimap.launch.dials import DIALLED_PORTS, PROCESS_DIALS, ServerKind
from superimap.launch.engines.postgres import bin_folder
from tests.support.monitoring import samples
from tests.support.pages import OPERATIONS, rows, section

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
K8S = ROOT / "deploy" / "k8s"
DOCUMENTS: list[dict[str, Any]] = [
    document for path in sorted(K8S.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
PORTS = {
    "api": {"PORT": 8000, "HEALTH_PORT": 8003},
    "idler": {"HEALTH_PORT": 8001},
    "dispatcher": {"HEALTH_PORT": 8002},
}


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS if document["kind"] in kinds]


def name_of(document: dict[str, Any]) -> str:
    return str(document["metadata"]["name"])


def pods() -> list[Any]:
    return [
        pytest.param(each["spec"]["template"]["spec"], id=name_of(each))
        for each in of_kind("Deployment", "Job")
    ]


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return dict(container)


def config() -> dict[str, str]:
    (document,) = of_kind("ConfigMap")
    return dict(document["data"])


def secrets(process: str) -> dict[str, str]:
    """The secret settings of a process: those that all share, and its own."""
    found = {name_of(each): each["stringData"] for each in of_kind("Secret")}
    return {**found["superimap"], **found[f"superimap-{process}"]}


def test_every_process_is_deployed():
    assert {name_of(each) for each in of_kind("Deployment")} == set(PORTS)
    assert {name_of(each) for each in of_kind("Job")} == {"migrate"}


@pytest.mark.parametrize("pod", pods())
def test_the_command_and_its_options_exist(pod):
    command, *options = container_of(pod)["args"]
    real = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]

    assert {word for word in options if word.startswith("--")} <= {
        flag for each in real.params for flag in each.opts
    }


@pytest.mark.parametrize("pod", pods())
def test_variables_of_the_environment_are_settings(pod):
    container = container_of(pod)
    real = {name for field in Settings.model_fields for name in variable_names(field)}

    assert {each["name"] for each in container.get("env", ())} <= real
    assert container["envFrom"] == [
        {"configMapRef": {"name": "superimap"}},
        {"secretRef": {"name": "superimap"}},
        {"secretRef": {"name": f"superimap-{container['name']}"}},
    ]


@pytest.mark.parametrize("process", [*PORTS, "migrate"])
def test_the_example_settings_are_accepted_with_a_key(monkeypatch, process):
    given = config() | secrets(process)
    assert given["ENCRYPTION_KEY"] == ""
    for name, value in (given | {"ENCRYPTION_KEY": generate_key()}).items():
        monkeypatch.setenv(name, value)

    settings = environment.load_settings()

    assert settings.environment == "production"
    for name in given:
        assert any(name in variable_names(field) for field in Settings.model_fields), name


def test_secrets_are_in_the_secret():
    secret = {
        environment.variable_name(name)
        for name, field in Settings.model_fields.items()
        if not field.repr or SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    }

    assert secret == {name for process in PORTS for name in secrets(process)}
    assert not secret & config().keys()


def test_each_process_logs_in_as_a_role_of_its_own_and_encrypted():
    for process in PORTS:
        url = urlsplit(secrets(process)["DATABASE_URL"])
        assert url.username == f"superimap_{process}_login"
        assert "sslmode=verify-full" in url.query
        assert secrets(process)["REDIS_URL"].startswith("rediss://")
    assert urlsplit(secrets("migrate")["DATABASE_URL"]).username == "superimap"
    assert [process for process in (*PORTS, "migrate") if "OPERATOR_KEY" in secrets(process)] == ["api"]


@pytest.mark.parametrize("process", [*PORTS, "operator"])
def test_a_service_of_compose_knows_no_password_but_its_own(process):
    passwords = set(re.findall(r"^(\w+_PASSWORD)=", (ROOT / ".env.example").read_text(), re.M))
    given = COMPOSE["services"][process]["environment"]
    own = f"{process.upper()}_DATABASE_PASSWORD"

    assert own in passwords
    assert (
        given["DATABASE_URL"] == f"postgresql://superimap_{process}_login:${{{own}}}@postgres:5432/superimap"
    )
    assert {name for name in passwords if given[name] == ""} == passwords
    assert "PASSWORD" not in given["DATABASE_URL"].replace(own, "")
    dashboard = given.get("DASHBOARD_DATABASE_URL")
    login = "postgresql://superimap_operator_login:${OPERATOR_DATABASE_PASSWORD}@postgres:5432/superimap"
    assert dashboard == (login if process == "api" else None)  # the dashboard is part of the API


async def test_the_script_of_logins_gives_each_login_the_role_of_its_process(
    open_folder, postgres_url, database_url
):
    psql = bin_folder(open_folder) / "psql"
    words = [f"--set={process}_password=s3cr't" for process in (*PORTS, "operator")]
    script = ROOT / "deploy/postgres/logins.sql"
    try:
        for _ in range(2):
            done = await asyncio.create_subprocess_exec(
                psql, database_url, "--quiet", "--set=ON_ERROR_STOP=1", *words, f"--file={script}"
            )
            assert await done.wait() == 0
        rows = await asyncio.gather(*(roles_of(database_url, process) for process in (*PORTS, "operator")))
    finally:
        for process in (*PORTS, "operator"):
            await execute(postgres_url, f"DROP ROLE IF EXISTS superimap_{process}_login")

    assert rows == [f"superimap_{process}" for process in (*PORTS, "operator")]


async def roles_of(url: str, process: str) -> str:
    """The group role of a login, as the login itself sees it."""
    db = await asyncpg.connect(url.replace("superimap@", f"superimap_{process}_login@"))
    try:
        return ",".join(
            row[0]
            for row in await db.fetch(
                "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') AND rolname <> current_user"
            )
        )
    finally:
        await db.close()


@pytest.mark.parametrize("deployment", of_kind("Deployment"), ids=name_of)
def test_probes_use_the_port_that_the_process_opens(deployment):
    container = container_of(deployment["spec"]["template"]["spec"])
    ports = PORTS[name_of(deployment)]
    opened = container["ports"]

    assert container["env"] == [{"name": name, "value": str(port)} for name, port in ports.items()]
    assert [each["containerPort"] for each in opened] == [*ports.values()]
    for probe, path in (
        ("livenessProbe", "/healthz"),
        ("startupProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": opened[0]["name"]}
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["HEALTH_PORT"])


def test_grace_periods_are_longer_than_the_time_to_stop():
    grace = {
        name_of(each): each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for each in of_kind("Deployment")
    }
    timings = DispatcherTimings()

    assert grace["idler"] == 40 >= HAND_OVER_SECONDS + CLOSE_SECONDS + 10
    assert grace["dispatcher"] >= timings.lane_grace + timings.post_grace + 10
    (api,) = [each for each in of_kind("Deployment") if name_of(each) == "api"]
    command, before = container_of(api["spec"]["template"]["spec"])["lifecycle"]["preStop"]["exec"]["command"]
    assert (command, int(before) >= 5) == ("sleep", True)
    drain = Settings.model_fields["drain_seconds"].default
    assert grace["api"] >= int(before) + drain + SHUTDOWN_GRACE_SECONDS + 10


@pytest.mark.parametrize("pod", pods())
def test_processes_run_with_minimal_privileges(pod):
    security = container_of(pod)["securityContext"]

    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False


def test_selectors_find_their_pods():
    labels = {
        name_of(each): each["spec"]["template"]["metadata"]["labels"] for each in of_kind("Deployment", "Job")
    }
    for each in of_kind("Deployment", "PodDisruptionBudget"):
        assert each["spec"]["selector"]["matchLabels"].items() <= labels[name_of(each)].items()
    for each in of_kind("NetworkPolicy"):
        wanted = each["spec"]["podSelector"]["matchLabels"].items()
        found = {name for name, own in labels.items() if wanted <= own.items()}
        assert found == ({name_of(each)} if name_of(each) in labels else set(labels))
    (service,) = of_kind("Service")
    assert service["spec"]["selector"].items() <= labels["api"].items()
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "idler"
    assert scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] in samples()


DIALLING_MODULES = {
    "superimap.db.postgres": ServerKind.POSTGRESQL,
    "superimap.doorbells.redis": ServerKind.REDIS,
    "superimap.imap.connection": ServerKind.MAIL,
    "superimap.oauth.http_client": ServerKind.OAUTH,
    "superimap.dispatcher.webhook_client": ServerKind.WEBHOOK,
    "superimap.idler.tracer_smtp": ServerKind.SUBMISSION,
}


@pytest.mark.parametrize("process", PORTS)
def test_the_table_of_destinations_is_what_a_process_can_dial(process):
    script = f"import sys, superimap.{process}.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    dialled = {where for module, where in DIALLING_MODULES.items() if module in loaded.split()}
    assert dialled | {ServerKind.DNS} == PROCESS_DIALS[process]


def policies_of(process: str) -> list[dict[str, Any]]:
    """The egress rules that select the pods of a process."""
    (labels,) = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind("Deployment", "Job")
        if name_of(each) == process
    ]
    return [
        rule
        for each in of_kind("NetworkPolicy")
        if each["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        for rule in each["spec"].get("egress", ())
    ]


@pytest.mark.parametrize("process", PROCESS_DIALS)
def test_the_network_policy_allows_exactly_what_a_process_dials(process):
    allowed = {
        (port["port"], port.get("protocol", "TCP")) for rule in policies_of(process) for port in rule["ports"]
    }

    wanted = {(port, "TCP") for where in PROCESS_DIALS[process] for port in DIALLED_PORTS[where]}
    assert allowed == wanted | {(53, "UDP")}


@pytest.mark.parametrize("process", PROCESS_DIALS)
@pytest.mark.parametrize(
    ("address", "port", "is_allowed"),
    [
        ("203.0.113.7", 5432, True),
        ("2001:db8::7", 5432, True),
        ("169.254.20.10", 53, True),  # NodeLocal DNSCache
        ("169.254.20.10", 5432, False),
        ("169.254.169.254", 80, False),  # the metadata service of most clouds
        ("169.254.169.254", 443, False),
        ("fd00:ec2::254", 80, False),  # that of AWS over IPv6
        ("fe80::1", 443, False),
    ],
)
def test_the_network_policy_has_both_families_and_no_metadata_service(process, address, port, is_allowed):
    def contains(block: dict[str, Any]) -> bool:
        where = ipaddress.ip_address(address)
        return where in ipaddress.ip_network(block["cidr"]) and not any(
            where in ipaddress.ip_network(each) for each in block.get("except", ())
        )

    allowed = [
        rule
        for rule in policies_of(process)
        if any(each["port"] == port for each in rule["ports"])
        and any(contains(peer["ipBlock"]) for peer in rule["to"] if "ipBlock" in peer)
    ]
    assert bool(allowed) == is_allowed


def test_each_rule_of_a_process_has_both_families():
    for process in PROCESS_DIALS:
        for rule in policies_of(process):
            families = {
                ipaddress.ip_network(peer["ipBlock"]["cidr"]).version
                for peer in rule["to"]
                if "ipBlock" in peer
            }
            assert families == {4, 6} or {port["port"] for port in rule["ports"]} == {53}


def test_operations_lists_what_each_process_dials():
    listed = {
        row[0].strip("`"): row[1] for row in rows(section(OPERATIONS, "Kubernetes")) if row[0].startswith("`")
    }

    assert listed == {
        process: ", ".join(where for where in ServerKind if where in dials)
        for process, dials in PROCESS_DIALS.items()
    }


def test_ports_allowed_in_are_the_ports_that_processes_open():
    let_in = {
        port["port"]
        for each in of_kind("NetworkPolicy")
        for rule in each["spec"].get("ingress", ())
        for port in rule["ports"]
    }

    assert let_in == {port for ports in PORTS.values() for port in ports.values()}


def test_kustomize_lists_every_file_but_the_examples():
    listed = set(yaml.safe_load((K8S / "kustomization.yaml").read_text())["resources"])
    files = {path.name for path in K8S.glob("*.yaml")} - {"kustomization.yaml"}

    assert listed == {name for name in files if not name.endswith(".example.yaml")}
