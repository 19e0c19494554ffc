"""The deployment files against the code they deploy; ./imp check-deploy does the rest."""

import functools
import re
import subprocess
import types
from pathlib import Path

import pytest
import tyro
from apache_beam.options.pipeline_options import PipelineOptions

from deploy import installs, manifests
from deploy.environment import ROOT
from imp_data.cli import Build
from imp_eval import serve_command

DOCKERFILES = sorted(installs.IMAGES.glob("*.Dockerfile"))
LOCK = (ROOT / "3rdparty/python/default.lock.txt").read_text()
needs_renderer = pytest.mark.skipif(
    manifests.renderer() is None, reason="neither kubectl nor kustomize is on PATH"
)


def rendered(name: str) -> dict[str, dict]:
    """By kind."""
    return {r["kind"]: r for r in manifests.rendered(manifests.HERE / "kubernetes" / name)}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_copies_and_installs_what_is_there(path: Path) -> None:
    text = path.read_text()
    [requirement] = re.findall(r"install\.sh /opt/imp '?([\w\[\]-]+)'?", text)
    assert requirement in [install.requirement for install in installs.INSTALLS]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(source.startswith(kept[1:]) for kept in ignored if kept.startswith("!"))
    assert re.search(rf'^ENTRYPOINT \["{requirement.partition("[")[0]}"\]$', text, flags=re.M)
    assert text.rindex("USER 1000") < text.rindex("ENTRYPOINT")


def test_the_install_script_knows_what_each_package_needs_of_ours() -> None:
    script = (installs.IMAGES / "install.sh").read_text()
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        name = path.parent.name
        [ours] = re.findall(rf'{name}\*\) ours="(.*)"', script)
        text = path.read_text()
        needed = set(re.findall(r'^    "imp-(\w+)[\["]', text.partition("[project.opt")[0], re.M))
        assert needed | {name.removeprefix("imp-")} <= set(ours.split())


def test_the_install_script_refuses_another_package_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [installs.IMAGES / "install.sh", tmp_path / "environment", "numpy"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("install.sh: 'numpy' is none of imp-proto,")
    assert len(done.stderr.splitlines()) == 1


def test_images_are_of_the_locks_version_of_beam_and_of_our_own() -> None:
    [beam] = re.findall(r"^apache-beam==(\S+)", LOCK, re.M)
    [ours] = set(
        re.findall(
            r'^version = "(.*)"',
            "\n".join(path.read_text() for path in ROOT.glob("packages/*/pyproject.toml")),
            re.M,
        )
    )
    files = [*DOCKERFILES, *manifests.HERE.rglob("*.yaml")]
    found = "\n".join(path.read_text() for path in files)
    assert set(re.findall(r"apache/beam\S*:([\d.]+)", found)) == {beam}
    assert set(re.findall(r"(?:newTag: |registry\.example/[\w-]+:)(\S+)", found)) == {ours}


@functools.wraps(serve_command.serve)
def kept(**options: object) -> types.SimpleNamespace:
    """What `imp-eval serve` would be given."""
    return types.SimpleNamespace(**options)


@needs_renderer
@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_the_serving_pods_are_what_the_server_takes(overlay: str) -> None:
    found = rendered(f"serving/overlays/{overlay}")
    pod = found["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    command, *options = container["args"]
    assert command == "serve"
    given = tyro.cli(kept, args=options)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": given.port, "metrics": given.metrics_port}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == given.port
    assert given.host == "0.0.0.0"
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > given.drain_seconds + pause
    selector = found["Service"]["spec"]["selector"]
    assert selector == found["Deployment"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {f"/{str(p).split('/')[1]}" for p in (*given.bundle, given.tokens)} <= mounted
    assert f"/{given.compilation_cache.parts[1]}" in mounted
    # By the queue, at two batches a pod.
    [metric] = found["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert int(metric["pods"]["target"]["averageValue"]) == 2 * given.batch_size
    server = (ROOT / "packages/imp-eval/src/imp_eval/server.py").read_text()
    assert f'"{metric["pods"]["metric"]["name"]}"' in server


@needs_renderer
@pytest.mark.parametrize("layout", ["base", "overlays/flink", "overlays/dataflow"])
def test_a_build_is_what_imp_data_and_beam_take(layout: str) -> None:
    job = rendered(f"building/{layout}")["Job"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    command, *options = container["args"]
    assert command == "build"
    at = options.index("--")
    tyro.cli(Build, args=options[:at])
    parsed = PipelineOptions(options[at + 1 :])
    known = set(PipelineOptions([]).get_all_options())
    assert set(parsed.get_all_options(retain_unknown_options=True, drop_default=True)) <= known


@pytest.mark.parametrize("path", manifests.JOBSETS, ids=lambda path: path.name)
def test_a_jobset_runs_what_imp_train_takes(path: Path) -> None:
    jobset = manifests.jobset(path)
    [job] = manifests.jobs_of(jobset)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:2] == ["imp-train", "run"]
    pods = job["spec"]["parallelism"]
    assert job["spec"]["completions"] == pods
    options = dict(
        re.match(r"--([\w.-]+)(?:=(.*))?", argument).groups() for argument in container["args"]
    )
    if "processes.number" in options:
        assert int(options["processes.number"]) == pods
        name = jobset["metadata"]["name"]
        host = f"{name}-{jobset['spec']['replicatedJobs'][0]['name']}-0-0.{name}"
        assert options["processes.coordinator"].startswith(f"{host}:")
