"""The command line: imp-model list | describe NAME."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from imp_model.bundle import flatten
from imp_model.config import SIZES, ModelConfig, size
from imp_model.model import Model, num_parameters

# The paper's inputs; audio is the released code's 8.192 s.
INPUTS: dict[str, tuple[int, ...]] = {
    "image": (256, 256, 3),
    "video": (16, 256, 256, 3),
    "audio": (128, 128),
    "text": (16,),
}


def describe(name: str) -> dict[str, Any]:
    """Counts of a size: `parameters` by part, `parameters_per_token`, `inputs` by modality.

    Forward FLOPs are the encoder's by formula. A token's parameters are those that its products
    use: of the experts, as many as take it on average. Raises ValueError for an unknown size.
    """
    config = size(name)
    parts = Model.abstract(config, pairs=[]).parts
    sums = {part: num_parameters(parts[part]) for part in parts}
    encoder = flatten({"encoder": parts["encoder"]})
    experts = sum(
        encoder[f"encoder/moe/ffn/{kernel}"].size
        for kernel in ("up", "down")
        if config.num_moe_layers
    )
    idle = experts * (1 - min(1.0, config.capacity_factor / config.num_experts))
    return {
        "name": name,
        "config": dataclasses.asdict(config),
        "parameters": {
            "encoder": sums["encoder"],
            "of which experts": experts,
            "embedders": sum(n for part, n in sums.items() if part.startswith("embedder/")),
            "projections": sum(n for part, n in sums.items() if part.startswith("projection/")),
            "total": sum(sums.values()),
        },
        "parameters_per_token": {
            "encoder": round(sums["encoder"] - idle),
            "total": round(sum(sums.values()) - idle),
        },
        "inputs": {m: _cost(config, m, shape) for m, shape in INPUTS.items()},
    }


def _cost(config: ModelConfig, modality: str, shape: tuple[int, ...]) -> dict[str, Any]:
    tokens = config.num_tokens(modality, shape)
    flops = tokens * config.flops_per_token(tokens)
    return {"shape": list(shape), "tokens": tokens, "forward_gflops": round(flops / 1e9, 3)}


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
    """Print a size's parameters and FLOPs; nothing is allocated."""

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
        print(f"  ({per_token['encoder'] / 1e6:.2f} M of the encoder)")
        print("forward, one example through the encoder")
        for modality, cost in found["inputs"].items():
            shape = "x".join(map(str, cost["shape"]))
            print(
                f"  {modality:6} {shape:14} {cost['tokens']:5} tokens "
                f"{cost['forward_gflops']:10.2f} GFLOPs"
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
