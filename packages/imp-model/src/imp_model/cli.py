"""The command line: imp-model list | describe NAME."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from imp_model.config import SIZES
from imp_model.costs import describe


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Print the named sizes."""

    def run(self) -> None:
        for name, c in SIZES.items():
            layers = f"{c.num_dense_layers} dense"
            if c.num_moe_layers:
                layers += f" + {c.num_moe_layers} MoE layers of {c.num_experts} experts"
            print(f"{name:14} width {c.width:5}  mlp {c.mlp:5}  heads {c.num_heads:3}  {layers}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Describe:
    """Print a size's parameters, FLOPs and memory; nothing is allocated."""

    name: Annotated[str, tyro.conf.Positional]
    """One of `imp-model list`."""
    json: bool = False
    """One JSON object in place of the table."""

    def run(self) -> None:
        found = describe(self.name)
        if self.json:
            print(json.dumps(found, indent=1))
            return
        print(f"{self.name}: parameters")
        for part, count in found["parameters"].items():
            print(f"  {part:18} {count / 1e6:10.2f} M")
        per_token = found["parameters_per_token"]
        print(f"  {'per token':18} {per_token['total'] / 1e6:10.2f} M", end="")
        print(f"  ({per_token['backbone'] / 1e6:.2f} M of the backbone)")
        fixed = found["memory"]
        print(f"memory: parameters {fixed['parameters'] / 2**30:.2f} GiB, Adam's moments ", end="")
        print(f"{fixed['moments'] / 2**30:.2f} GiB")
        print("one example forward, and what is kept of it for backward, by `remat`")
        for modality, cost in found["inputs"].items():
            shape = "x".join(map(str, cost["shape"]))
            kept = cost["activation_bytes"].items()
            print(
                f"  {modality:6} {shape:12} {cost['tokens']:5} tokens "
                f"{cost['forward_gflops']:9.2f} GFLOPs  MiB: "
                + ", ".join(f"{remat} {n / 2**20:.1f}" for remat, n in kept)
            )


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Describe, tyro.conf.subcommand("describe")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2, and one line on stderr, for an unknown size."""
    command = tyro.cli(Command, prog="imp-model", args=argv)  # type: ignore[arg-type]
    try:
        command.run()
    except ValueError as error:
        print(f"imp-model: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
