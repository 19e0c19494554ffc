"""`./imp benchmark NAME`: times this machine; run it where nothing else runs."""

import sys
from collections.abc import Callable
from typing import Any

import tyro

from benchmarks.agd import AGD
from benchmarks.build import Build
from benchmarks.distributed_build import DistributedBuild
from benchmarks.experts import Experts
from benchmarks.index import Index
from benchmarks.kills import Kills
from benchmarks.loader import LoaderBenchmark
from benchmarks.moe_layer import MoELayer
from benchmarks.near_duplicates import NearDuplicates
from benchmarks.pytorch import PyTorch
from benchmarks.remat import Remat
from benchmarks.requests import HostileRequests
from benchmarks.scale import Scale
from benchmarks.scale_constants import ScaleConstants
from benchmarks.scan import Scan
from benchmarks.serving import Serving
from benchmarks.store_kills import StoreKills

_BENCHMARKS: dict[str, Callable[..., Any]] = {
    "data-build": Build,
    "data-loader": LoaderBenchmark,
    "distributed-build": DistributedBuild,
    "near-duplicates": NearDuplicates,
    "moe-layer": MoELayer,
    "experts": Experts,
    "scan": Scan,
    "remat": Remat,
    "pytorch": PyTorch,
    "agd": AGD,
    "kills": Kills,
    "index": Index,
    "store-kills": StoreKills,
    "requests": HostileRequests,
    "serving": Serving,
    "scale": Scale,
    "scale-constants": ScaleConstants,
}


def main() -> int:
    command = tyro.extras.subcommand_cli_from_dict(_BENCHMARKS, prog="imp benchmark")
    try:
        command.run()
    except (ValueError, OSError) as error:
        print(f"imp benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
