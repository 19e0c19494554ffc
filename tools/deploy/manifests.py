"""The manifests: rendered as `kubectl kustomize` does, and held against Kubernetes' schemas."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LAYOUTS = tuple(
    HERE / "kubernetes" / name
    for name in (
        "serving/overlays/cpu",
        "serving/overlays/gpu",
        "building/base",
        "building/overlays/flink",
        "building/overlays/dataflow",
    )
)
JOBSETS = (HERE / "jobset-gpu.yaml", HERE / "jobset-tpu.yaml")
# Of the versions whose schemas kubernetes-validate has.
_VERSION = "1.33"
_OF_A_CRD = """\
import json, sys, jsonschema
schema, resource = json.load(sys.stdin)
jsonschema.Draft4Validator(schema).validate(resource)
"""


def renderer() -> list[str] | None:
    """A command that prints what the layout after it makes; None where there is none."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def rendered(layout: Path) -> list[dict[str, Any]]:
    """Raises ValueError without kubectl, CalledProcessError for what is no layout."""
    command = renderer()
    if command is None:
        raise ValueError("neither kubectl nor kustomize is on PATH; install one of them")
    done = subprocess.run([*command, str(layout)], check=True, capture_output=True, text=True)
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def jobset(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def jobs_of(jobset: dict[str, Any]) -> list[dict[str, Any]]:
    """Each of a JobSet's job templates as the Job that it makes."""
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{jobset['metadata']['name']}-{own['name']}-0"},
            **own["template"],
        }
        for own in jobset["spec"]["replicatedJobs"]
    ]


def check(tools: Path, jobset_crd: Path | None) -> None:
    """Prints a line for each file. Raises CalledProcessError for one that its schema refuses."""
    resources = {str(path.relative_to(HERE)): rendered(path) for path in LAYOUTS}
    resources |= {path.name: jobs_of(jobset(path)) for path in JOBSETS}
    validate = [str(tools / "kubernetes-validate"), "--strict", "--version", _VERSION, "-"]
    for name, own in resources.items():
        text = yaml.safe_dump_all(own)
        subprocess.run(validate, input=text, check=True, text=True, capture_output=True)
        kinds = ", ".join(resource["kind"] for resource in own)
        print(f"Kubernetes {_VERSION}: {name}: {kinds}")
    if jobset_crd is not None:
        for path in JOBSETS:
            given = json.dumps([_schema(jobset_crd), jobset(path)])
            command = [str(tools / "python"), "-c", _OF_A_CRD]
            subprocess.run(command, input=given, check=True, text=True)
            print(f"JobSet's own schema: {path.name}")


def _schema(crd: Path) -> Any:
    """Of the version that our JobSets are of, fields that it doesn't know refused."""
    versions = yaml.safe_load(crd.read_text())["spec"]["versions"]
    [own] = [v for v in versions if v["name"] == "v1alpha2"]
    return _closed(own["schema"]["openAPIV3Schema"], top=True)


def _closed(schema: Any, *, top: bool = False) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(part) for name, part in schema.items()}
    properties = schema.get("properties")
    # Metadata is Kubernetes' own, and not in it.
    if isinstance(properties, dict) and "type" in schema and properties and not top:
        found.setdefault("additionalProperties", False)
    return found
