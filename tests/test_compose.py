import json
import re
from typing import Any

import pytest
import yaml

from app.cli import app
from app.db import ROOT
from app.settings import Settings

FILES = ("compose.yaml", "compose.replicas.yaml")
PASSWORD = "${POSTGRES_PASSWORD:?give the database a password}"


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def services() -> dict[str, dict[str, Any]]:
    """Every service of both files, by its name, as the two files together make it."""
    found = compose(FILES[0])["services"]
    for name, more in compose(FILES[1])["services"].items():
        kept = dict(found[more["extends"]["service"]]) if "extends" in more else dict(found.get(name, {}))
        merged = kept | more
        for part in ("environment", "depends_on"):
            merged[part] = kept.get(part, {}) | more.get(part, {})
        found[name] = merged
    return dict(found)


SERVICES = services()
every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
OURS = [service for service in SERVICES.values() if "build" in service]


def dockerfile(word: str) -> list[str]:
    return re.findall(rf"(?m)^{word} (.*)", (ROOT / "Dockerfile").read_text())


@every_service
def test_a_service_can_do_no_more_than_it_needs(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()
    assert not {"configs", "secrets"} & service.keys()  # they are copied in, which a read-only root refuses


def test_only_the_api_is_reached_and_from_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    (exposed,) = dockerfile("EXPOSE")

    assert ports == {"api": [f"127.0.0.1:{exposed}:{exposed}"]}
    assert compose(FILES[0])["networks"]["record"] == {"internal": True}
    assert [name for name, service in SERVICES.items() if "public" in service["networks"]] == ["api"]


@pytest.mark.parametrize("name", ["db", "replica"])
def test_a_database_is_of_this_release_and_keeps_its_data(name: str) -> None:
    service = SERVICES[name]
    volume, _, folder = service["volumes"][0].partition(":")

    assert service["image"] == "postgres:18"
    assert service["user"] == "postgres"
    assert folder == "/var/lib/postgresql"
    assert volume in {each for file in FILES for each in compose(file)["volumes"]}
    assert "--host=127.0.0.1" in service["healthcheck"]["test"]


def test_the_databases_do_not_share_a_volume() -> None:
    assert SERVICES["db"]["volumes"] != SERVICES["replica"]["volumes"]


def test_everything_waits_for_what_it_needs() -> None:
    waits = {
        (name, other): wait["condition"]
        for name, service in SERVICES.items()
        for other, wait in service.get("depends_on", {}).items()
    }

    assert waits == {
        ("migrate", "db"): "service_healthy",
        ("api", "db"): "service_healthy",
        ("api", "migrate"): "service_completed_successfully",
        ("api", "replica"): "service_healthy",
        ("replica", "db"): "service_healthy",
    }
    assert len(dockerfile("HEALTHCHECK")) == 1  # that is how the API is asked


def test_the_commands_are_those_of_the_image() -> None:
    (serve,) = (json.loads(command) for command in dockerfile("CMD"))
    names = {each.name or str(getattr(each.callback, "__name__", "")) for each in app.registered_commands}

    assert SERVICES["migrate"]["command"][:3] == serve[:3] == ["python", "-m", "app"]
    assert {SERVICES["migrate"]["command"][3], serve[3]} <= names
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize("service", OURS)
def test_the_settings_are_ours_and_can_be_used(service: dict[str, Any]) -> None:
    given = {
        name.removeprefix("TRACKER_").lower(): value
        for name, value in service["environment"].items()
        if name.startswith("TRACKER_")
    }
    settings = Settings(**given, _env_file=None)

    assert given.keys() <= Settings.model_fields.keys()
    assert {each: getattr(settings, each) for each in given} == given
    assert service["environment"].keys() - {f"TRACKER_{name.upper()}" for name in given} == {"PGPASSWORD"}


def test_addresses_name_services_and_no_password() -> None:
    urls = [value for each in OURS for name, value in each["environment"].items() if name.endswith("_URL")]
    hosts = {re.fullmatch(r"postgresql://tracker@(\w+)/tracker", url) for url in urls}

    assert {host and host[1] for host in hosts} == {"db", "replica"}
    assert {each["environment"]["PGPASSWORD"] for each in OURS} == {PASSWORD}
    assert SERVICES["db"]["environment"] == {
        "POSTGRES_USER": "tracker",
        "POSTGRES_DB": "tracker",
        "POSTGRES_PASSWORD": PASSWORD,
    }


@pytest.mark.parametrize("name", FILES)
def test_no_registry_host_is_named(name: str) -> None:
    images = {service.get("image", "") for service in compose(name)["services"].values()}

    assert {image for image in images if "." in image or "/" in image} == set()
