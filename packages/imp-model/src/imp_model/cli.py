"""The command line: imp-model list | describe NAME | upcycle BUNDLE | warm-start CHECKPOINT."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from imp_model import bundle
from imp_model.config import SIZES, size
from imp_model.costs import describe
from imp_model.upcycling import upcycle, upcycled_config
from imp_model.warm_start import read, warm_started


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upcycle:
    """Make a MoE bundle of a dense one, its experts copies of the feed-forward networks: it
    embeds as the dense one does, until it is trained."""

    dense: Annotated[Path, tyro.conf.Positional]
    """Folder of the dense bundle."""
    out: Path
    """Folder of the new bundle; one that is there is replaced."""
    experts: int
    """Experts of each MoE layer."""
    moe_layers: int | None = None
    """How many layers get experts; half of them without."""
    placement: Literal["last", "every_second"] = "last"
    """Which layers get experts."""
    router: Literal["tokens_choose", "experts_choose"] = "tokens_choose"
    """With experts_choose every expert takes every token, at the cost of so many networks."""
    top_k: int = 2
    """Experts that a token passes with tokens_choose."""
    seed: int = 0
    """Of the new routers."""

    def run(self) -> None:
        dense = bundle.load(self.dense)
        config = upcycled_config(
            dense.config,
            num_experts=self.experts,
            num_moe_layers=self.moe_layers,
            moe_placement=self.placement,
            router=self.router,
            top_k=self.top_k,
        )
        classes = {name: len(labels) for name, labels in dense.classifiers.items()}
        model = upcycle(dense.model, config, pairs=dense.pairs, classifiers=classes, seed=self.seed)
        tokenizer = dense.tokenizer_path
        bundle.save(
            self.out,
            model,
            pairs=dense.pairs,
            classifiers=dense.classifiers,
            views=dense.views,
            tokenizer=tokenizer.read_bytes() if tokenizer else None,
            metadata=dense.metadata | {"upcycled_from": dense.digest},
        )
        print(
            f"{self.out}: {config.num_dense_layers} dense + {config.num_moe_layers} MoE layers of "
            f"{config.num_experts} experts, {config.router}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Make a bundle to train from of a public ViT's safetensors (timm's or big_vision's names), and
    print what was used of it and what was not."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The safetensors file."""
    size: str
    """A dense one of `imp-model list`, of the checkpoint's own width, layers and heads."""
    out: Path
    """Folder of the new bundle; one that is there is replaced."""
    seed: int = 0
    """Of what the checkpoint has no counterpart for."""

    def run(self) -> None:
        config = size(self.size)
        model, report = warm_started(config, read(self.checkpoint), seed=self.seed)
        bundle.save(
            self.out,
            model,
            pairs=(),
            classifiers={},
            views={},
            tokenizer=None,
            metadata={"warm_start": self.checkpoint.name, "seed": self.seed},
        )
        print(report)
        print(self.out)


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Describe, tyro.conf.subcommand("describe")]
    | Annotated[Upcycle, tyro.conf.subcommand("upcycle")]
    | Annotated[WarmStart, tyro.conf.subcommand("warm-start")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2, and one line on stderr, for what the caller can put right."""
    command = tyro.cli(Command, prog="imp-model", args=argv)  # type: ignore[arg-type]
    try:
        command.run()
    except (ValueError, OSError) as error:
        print(f"imp-model: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
