"""What each rematerialisation policy spares of memory, and what it costs of time."""

import dataclasses
from typing import Any

import jax
import numpy as np

from benchmarks import arms, compilers, programs
from imp_model.config import ModelConfig, size
from imp_model.encoder import Encoder
from imp_model.init import Init
from imp_model.remat import SAVED

POLICIES: tuple[Any, ...] = ("none", *reversed(SAVED))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remat:
    """Bytes of temporaries as TPU v4's compiler plans them (where libtpu is installed) and as the
    CPU's does, and the time of a step here, policy by policy; prints a table of each."""

    model: str = "imp-moe-b"
    """Compiled for TPU v4, as it is."""
    batch: int = 8
    """Of it: examples a chip."""
    tokens: int = 256
    width: int = 192
    """Of the model that is timed: 4 dense and 4 MoE layers of 4 experts."""
    timed_batch: int = 8
    rounds: int = 5

    def run(self) -> None:
        if reason := compilers.why_no_tpu():
            print(reason)
        else:
            print(f"{self.model}, {self.batch} x {self.tokens} tokens a chip, TPU v4")
            self._planned("tpu", dataclasses.asdict(size(self.model)), self.batch)
        timed = ModelConfig(
            width=self.width,
            mlp=4 * self.width,
            num_heads=max(1, self.width // 64),
            num_dense_layers=4,
            num_moe_layers=4,
            num_experts=4,
            dtype="float32",
        )
        device = jax.devices()[0]
        print(
            f"\nwidth {self.width}, 4 dense and 4 MoE layers, {self.timed_batch} x {self.tokens} "
            f"tokens, {device.device_kind}, medians of {self.rounds} rounds"
        )
        self._planned(device.platform, dataclasses.asdict(timed), self.timed_batch)
        self._timed(timed)

    def _planned(self, platform: str, config: dict[str, Any], batch: int) -> None:
        print("| remat | temporaries, MiB | less than none |\n|---|---|---|")
        whole = None
        for policy in POLICIES:
            *_, size_in_bytes = compilers.compile_encoder(
                platform, config | {"remat": policy}, batch, self.tokens
            )
            whole = size_in_bytes if whole is None else whole
            less = 1 - size_in_bytes / max(1, whole)
            print(f"| {policy} | {size_in_bytes / 2**20:,.0f} | {less:.0%} |", flush=True)

    def _timed(self, config: ModelConfig) -> None:
        shape = (self.timed_batch, self.tokens, config.width)
        x = np.random.default_rng(0).standard_normal(shape, np.float32)

        def encode(encoder: Encoder, x: jax.Array) -> jax.Array:
            return encoder(x, None)[0]

        costs = programs.in_turns(
            {
                policy: programs.compiled(
                    programs.value_and_gradient(encode),
                    Encoder(dataclasses.replace(config, remat=policy), Init.seeded(0, "encoder")),
                    x,
                )
                for policy in POLICIES
            },
            rounds=self.rounds,
        )
        print("| remat | CPU s a step | to none, by CPU s | by time |\n|---|---|---|---|")
        for policy, cost in costs.items():
            print(
                f"| {policy} | {arms.median_cpu(cost):.3f} "
                f"| {arms.ratio(cost, costs['none']):.2f} "
                f"| {arms.wall_ratio(cost, costs['none']):.2f} |"
            )
