"""`./imp benchmark NAME`: times this machine; run it where nothing else runs."""

import sys
from typing import Annotated

import tyro

from benchmarks.build import Build
from benchmarks.loader import LoaderBenchmark
from benchmarks.near_duplicates import NearDuplicates

Command = (
    Annotated[Build, tyro.conf.subcommand("data-build")]
    | Annotated[LoaderBenchmark, tyro.conf.subcommand("data-loader")]
    | Annotated[NearDuplicates, tyro.conf.subcommand("near-duplicates")]
)


def main() -> int:
    command = tyro.cli(Command, prog="imp benchmark")  # type: ignore[arg-type]
    try:
        command.run()
    except (ValueError, OSError) as error:
        print(f"imp benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
