"""What each rematerialisation policy spares of memory, and what it costs of time."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
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
            self._planned(dataclasses.asdict(size(self.model)))
        timed = ModelConfig(
            width=self.width,
            mlp=4 * self.width,
            num_heads=max(1, self.width // 64),
            num_dense_layers=4,
            num_moe_layers=4,
            num_experts=4,
            dtype="float32",
        )
        print(
            f"\nwidth {self.width}, 4 dense and 4 MoE layers, {self.timed_batch} x {self.tokens} "
            f"tokens, {jax.devices()[0].device_kind}, medians of {self.rounds} rounds"
        )
        self._timed(timed)

    def _planned(self, config: dict[str, Any]) -> None:
        print("| remat | temporaries, MiB | less than none |\n|---|---|---|")
        sizes: list[float] = []
        for policy in POLICIES:
            planned = config | {"remat": policy}
            sizes.append(compilers.compile_encoder("tpu", planned, self.batch, self.tokens)[2])
            print(f"| {policy} | {_less(sizes)} |", flush=True)

    def _timed(self, config: ModelConfig) -> None:
        shape = (self.timed_batch, self.tokens, config.width)
        x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))

        def encode(encoder: Encoder, x: jax.Array) -> jax.Array:
            return encoder(x, None)[0]

        steps: dict[str, programs.Program] = {}
        less: dict[str, str] = {}
        sizes: list[float] = []
        for policy in POLICIES:
            own = dataclasses.replace(config, remat=policy)
            encoder = Encoder(own, Init.seeded(0, "encoder"))
            step = jax.jit(programs.value_and_gradient(encode)).lower(encoder, x).compile()
            memory = step.memory_analysis()
            assert memory is not None
            sizes.append(memory.temp_size_in_bytes)
            less[policy] = _less(sizes)
            steps[policy] = functools.partial(step, encoder, x)
        costs = programs.in_turns(steps, rounds=self.rounds)
        print(
            "| remat | temporaries, MiB | less than none | CPU s a step | to none, by CPU s "
            "| by time |\n|---|---|---|---|---|---|"
        )
        for policy, cost in costs.items():
            print(
                f"| {policy} | {less[policy]} | {arms.median_cpu(cost):.3f} "
                f"| {arms.ratio(cost, costs['none']):.2f} "
                f"| {arms.wall_ratio(cost, costs['none']):.2f} |"
            )


def _less(sizes: Sequence[float]) -> str:
    """The last of them in MiB, and how much less it is than the first."""
    return f"{sizes[-1] / 2**20:,.0f} | {1 - sizes[-1] / max(1, sizes[0]):.0%}"
