"""The Dockerfile builds from files that exist and from the versions that the rest of the repository names.

No container engine is needed here; that the images build is for whoever has one.
"""

import ast
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from settings import Settings
from tools.stack.flink import template
from tools.stack.machine.ports import DEFAULT_PORTS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
# One instruction a line, comments and continuations resolved.
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
ARGS = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES_PACKAGES = ("settings", "schemas", "udfs", "connectors", "services")
IMPORT_NAMES = {
    "backports": "backports-zstd", "crawleruseragents": "crawler-user-agents", "re2": "google-re2",
    "cassandra": "cassandra-driver", "kafka": "kafka-python", "pyflink": "apache-flink", "ruamel": "ruamel.yaml",
}  # fmt: skip
# What boto3, PyFlink and Numba are made of, or hand to their users.
BROUGHT = {"botocore", "pandas", "py4j", "llvmlite"}


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """(version, hashes) by package of a hashed lock file."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / lock).read_text()):
        if pin := re.match(r"([a-z0-9._-]+)==([^ \\]+)", block):
            found[pin[1]] = (pin[2], frozenset(re.findall(r"sha256:([0-9a-f]{64})", block)))
    return found


def copies() -> list[tuple[str | None, list[str]]]:
    """(stage or None, sources) of every COPY."""
    found = []
    for line in INSTRUCTIONS:
        words = line.split()
        if words[:1] == ["COPY"]:
            stage = words[1].removeprefix("--from=") if words[1].startswith("--from=") else None
            found.append((stage, words[2 if stage else 1 : -1]))
    return found


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, and what it takes from them, which may be modules too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def third_party_imports(packages: Iterable[str]) -> set[str]:
    """The packages that these import without Flink, and that their modules of other packages of ours do."""
    own = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    waiting = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    seen: set[Path] = set()
    names: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        found = imports(path)
        if path.parts[len(ROOT.parts)] in packages and any(name.startswith("pyflink") for name in found):
            continue
        names |= {name.split(".", maxsplit=1)[0] for name in found}
        for name in found:
            module = ROOT / name.replace(".", "/")
            waiting += [file for file in (module.with_suffix(".py"), module / "__init__.py") if file.exists()]
    return names - own - set(sys.stdlib_module_names)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / "docker" / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    sources = [source for stage, listed in copies() if stage is None for source in listed]
    assert sources
    for source in sources:
        path = source.removeprefix("./")
        assert (ROOT / path).exists(), f"the Dockerfile copies {path}, which is not in the repository"
        assert path in allowed or str(Path(path).parent) in allowed, f"{path} is not let in by Dockerfile.dockerignore"


def test_stages_that_are_copied_from_exist() -> None:
    stages = {line.split(" AS ")[1].strip() for line in INSTRUCTIONS if line.startswith("FROM ")}
    assert {"job", "services"} <= stages
    assert {stage for stage, _ in copies() if stage is not None} <= stages


def test_flink_is_the_version_of_the_jars_and_of_the_wheel() -> None:
    pom = ET.parse(ROOT / "pom.xml").getroot()
    in_pom = pom.findtext(".//{*}properties/{*}flink.version")
    assert ARGS["FLINK_VERSION"] == in_pom == pins("requirements.lock")["apache-flink"][0]
    assert "flink" in {profile.text for profile in pom.iterfind(".//{*}profile/{*}id")}
    assert "-Pflink " in DOCKERFILE


def test_flinks_reporter_has_its_plugin_and_its_port() -> None:
    """As the wheel, made of the same distribution, has it: Flink goes on without, and nobody has its figures."""
    settings = template()
    factory = settings["metrics.reporter.prom.factory.class"]
    plugin = "plugins/metrics-prometheus/flink-metrics-prometheus-{}.jar"
    wheel = distribution("apache-flink")
    jar = wheel.locate_file("pyflink/" + plugin.format(wheel.version))
    service = "META-INF/services/org.apache.flink.metrics.reporter.MetricReporterFactory"
    assert factory in zipfile.ZipFile(str(jar)).read(service).decode().split()
    assert f"RUN ls /opt/flink/{plugin.format('*')}" in INSTRUCTIONS
    first, _, last = settings["metrics.reporter.prom.port"].partition("-")
    assert f"EXPOSE {first}" in INSTRUCTIONS
    assert int(first) < int(last)


def test_python_and_uv_are_the_versions_of_the_project() -> None:
    assert PROJECT["project"]["requires-python"].startswith(f">={ARGS['PYTHON_VERSION']},")
    setup = (ROOT / "bin" / "setup").read_text()
    assert f"UV_VERSION={ARGS['UV_VERSION']}\n" in setup


def test_the_services_lock_is_part_of_the_whole_lock() -> None:
    whole = pins("requirements.lock")
    services = pins("docker/services.lock")
    assert services
    different = [name for name, pin in services.items() if whole.get(name) != pin]
    assert not different, f"docker/services.lock differs from requirements.lock in {different}: see docker/services.in"


def test_the_services_image_holds_what_the_services_import() -> None:
    listed = {
        line.strip() for line in (ROOT / "docker" / "services.in").read_text().splitlines() if line[:1] not in {"#", ""}
    }
    assert listed <= set(pins("docker/services.lock"))
    # Of udfs only what the others reach.
    imported = third_party_imports(set(SERVICES_PACKAGES) - {"udfs"})
    missing = {name for name in imported if IMPORT_NAMES.get(name, name.replace("_", "-")) not in listed}
    assert not missing, f"add {missing} to docker/services.in and compile it again"


@pytest.mark.slow
def test_every_package_that_the_product_imports_is_named() -> None:
    """A package that another one brings may go with that one's next version."""
    names = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["iceberg"]]
    named = {re.split(r"[^a-z0-9.-]", name, maxsplit=1)[0] for name in names}
    own = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    # Benchmarks also import what is for tests.
    files = [path for package in own - {"benchmarks"} for path in (ROOT / package).rglob("*.py")]
    imported = {name.split(".", maxsplit=1)[0] for path in files for name in imports(path)}
    packages = {
        IMPORT_NAMES.get(name, name.replace("_", "-")) for name in imported - own - set(sys.stdlib_module_names)
    }
    assert packages - named - BROUGHT == set(), "name them under dependencies in pyproject.toml, and compile the lock"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("job", {"settings", "schemas", "udfs", "connectors", "jobs", "tools"}),
        ("services", set(SERVICES_PACKAGES)),
    ],
)
def test_each_image_holds_every_package_that_its_own_import(target: str, expected: set[str]) -> None:
    start = next(
        i for i, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ") and line.endswith(f" AS {target}")
    )
    end = next((i for i in range(start + 1, len(INSTRUCTIONS)) if INSTRUCTIONS[i].startswith("FROM ")), None)
    inside = {line.split()[1] for line in INSTRUCTIONS[start:end] if line.startswith("COPY ")}
    assert expected <= inside
    own = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    for package in expected:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            if target == "services" and "pyflink" in text:
                continue
            used = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE)) & own
            assert used <= inside, f"{path.relative_to(ROOT)} imports {used - inside}, which the image lacks"


def test_policies_let_in_no_stranger_but_through_the_proxy() -> None:
    """Ports of Flink that are not named are open to Flink alone: so are the channels to Python workers."""
    text = (ROOT / "docker/kubernetes/network-policy.yaml").read_text()
    found = {one["metadata"]["name"]: one["spec"] for one in YAML(typ="safe").load_all(text)}
    assert found.keys() == {f"view-counts-{name}" for name in ("ingest", "query", "drain", "flink")}
    said = set()
    for name, spec in found.items():
        assert spec["policyTypes"] == ["Ingress"]
        assert spec["podSelector"] == {"matchLabels": {"view-counts": name.removeprefix("view-counts-")}}
        for rule in spec["ingress"]:
            # Without "from" or "ports", all may come, or to all ports.
            for port in rule.get("ports", [{"port": "any"}]):
                for sender in rule["from"]:
                    label = sender["podSelector"]["matchLabels"]["view-counts"]
                    said.add((name, label, port["port"], port.get("endPort")))
                    assert f"#   view-counts: {label} " in text
    settings = Settings()
    assert said == {
        ("view-counts-ingest", "proxy", settings.ingest.port, None),
        ("view-counts-ingest", "prometheus", settings.ingest.private_port, None),
        ("view-counts-ingest", "operator", settings.ingest.private_port, None),
        ("view-counts-query", "proxy", settings.query.port, None),
        ("view-counts-query", "prometheus", settings.query.private_port, None),
        ("view-counts-query", "operator", settings.query.private_port, None),
        ("view-counts-drain", "prometheus", settings.drain.private_port, None),
        ("view-counts-flink", "flink", "any", None),
        ("view-counts-flink", "operator", 8081, None),
        ("view-counts-flink", "prometheus", 9249, 9260),
    }


def test_every_port_of_the_local_stack_is_in_the_table_of_ports() -> None:
    text = (ROOT / "docs/secured-parts.md").read_text().split("## Private ports")[1]
    named: set[int] = set()
    for row in re.findall(r"^\| ([0-9, to]+) \|", text, re.MULTILINE):
        first, _, last = row.partition(" to ")
        named |= set(range(int(first), int(last) + 1)) if last else {int(one) for one in row.split(",")}
    assert set(DEFAULT_PORTS.values()) <= named


def test_flinks_page_takes_no_jar_and_cancels_no_job() -> None:
    values = template()
    assert (values["web.submit.enable"], values["web.cancel.enable"]) == ("false", "false")


def test_cron_jobs_submit_jobs_that_exist_one_at_a_time() -> None:
    found = list(YAML(typ="safe").load_all((ROOT / "docker/kubernetes/rollup.yaml").read_text()))
    scripts = set()
    for cron_job in found:
        assert cron_job["kind"] == "CronJob"
        assert cron_job["spec"]["concurrencyPolicy"] == "Forbid"
        labels = cron_job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        assert labels == {"view-counts": "operator"}, "the network policy lets nobody else submit a job"
        (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert container["args"][:2] == ["flink", "run"]
        scripts.add(container["args"][-1])
    assert scripts == {"jobs/rollup.py", "jobs/audit.py"}
    assert all((ROOT / script).is_file() for script in scripts)
