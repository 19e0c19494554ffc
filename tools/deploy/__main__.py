"""`./imp check-deploy`: the images' install steps, the Dockerfiles and the manifests."""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import tyro

from deploy import installs, manifests
from deploy.environment import ROOT, made_with

_LOCK = ROOT / "3rdparty/python/deploy.lock.txt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """Installs each package alone in a fresh environment, as its image does, and runs it; lints the
    Dockerfiles; renders the kustomize layouts and validates what comes out. Needs a network."""

    only: tuple[Literal["installs", "images", "manifests"], ...] = (
        "manifests",
        "images",
        "installs",
    )
    jobset_crd: Path | None = None
    """JobSet's CustomResourceDefinition: validates the JobSets as such, not their pods alone."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="imp-deploy-") as name:
            scratch = Path(name)
            if {"images", "manifests"} & set(self.only):
                tools = made_with(scratch / "tools", "-r", str(_LOCK))
            for part in self.only:
                match part:
                    case "images":
                        _lint(tools)
                    case "manifests":
                        manifests.check(tools, self.jobset_crd)
                    case "installs":
                        installs.check(scratch)


def _lint(tools: Path) -> None:
    files = sorted(installs.IMAGES.glob("*.Dockerfile"))
    subprocess.run([tools / "hadolint", *files], check=True)
    print(f"hadolint: nothing to say of {', '.join(file.name for file in files)}")


def main() -> int:
    check = tyro.cli(Check, prog="imp check-deploy")
    try:
        check.run()
    except subprocess.CalledProcessError as error:
        print(f"imp check-deploy: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"imp check-deploy: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
