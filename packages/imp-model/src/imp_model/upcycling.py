"""Sparse upcycling (Komatsuzaki et al. 2022): a dense model to a MoE model of the same function.

Every expert starts as a copy of its layer's feed-forward network. The sum over a token's experts
is then its gates' sum times what the dense layer gave, so the function is the dense one's, for
every input and whatever the new routers say, if every token is taken and its gates sum to 1:

- `tokens_choose`: a token whose expert is full asks the next (`overflow="next"`), so that slots for
  all mean a place for each, and gates are normalised over the experts that took it. It costs
  `top_k` feed-forward networks a token, 2 by default. With one the gate would be 1 for ever,
  and its router learn from the auxiliary losses alone; that is refused.
- `experts_choose`: only experts that take every token leave none out, a capacity factor of
  `num_experts`, and as many networks a token; a softmax over all of them sums to 1 as it is.
  The paper's own recipe, a factor of 2 with normalised gates, drops tokens from the first step on.

Copies take the same gradient through every gate, so a router's is 0 in the first step but for
auxiliary losses, and grows as the experts, which see different tokens, part.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imp_model.bundle import flatten, restore
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.model import Model, Pair


def upcycled_config(
    dense: ModelConfig,
    *,
    num_experts: int,
    num_moe_layers: int | None = None,
    moe_placement: str = "last",
    router: str = "tokens_choose",
    top_k: int = 2,
) -> ModelConfig:
    """`num_moe_layers` is half of the layers by default, as in the paper's sizes.

    Raises ValueError for a model that has experts, and for what can't keep its function.
    """
    if dense.num_moe_layers:
        raise ValueError(
            f"the model has {dense.num_moe_layers} MoE layers of {dense.num_experts} experts; "
            "only a dense one, of num_moe_layers 0, can be upcycled"
        )
    if router == "tokens_choose" and top_k < 2:
        raise ValueError(
            f"top_k {top_k} gives the routers nothing to learn from: a sole expert's gate is 1; "
            f"at least 2, of num_experts {num_experts}"
        )
    layers = dense.num_layers // 2 if num_moe_layers is None else num_moe_layers
    if not 1 <= layers <= dense.num_layers:
        raise ValueError(
            f"num_moe_layers {layers} of a model of {dense.num_layers} layers; "
            f"1 to {dense.num_layers} would do"
        )
    chosen: dict[str, Any] = (
        {"capacity_factor": float(num_experts)}
        if router == "experts_choose"
        else {"top_k": top_k, "overflow": "next", "gates": "normalised", "capacity_factor": 1.0}
    )
    fields: dict[str, Any] = {"moe_placement": moe_placement, "router": router} | chosen
    return dataclasses.replace(
        dense,
        num_dense_layers=dense.num_layers - layers,
        num_moe_layers=layers,
        num_experts=num_experts,
        **fields,
    )


def upcycle(
    model: Model,
    config: ModelConfig,
    *,
    pairs: Sequence[Pair],
    classifiers: Mapping[str, int],
    seed: int = 0,
) -> Model:
    """`model` with the layers that `config`, an `upcycled_config` of its own, makes MoE layers.

    Every parameter is the dense model's, but for the routers', which are drawn from `seed`.
    """
    target = Model.abstract(config, pairs=pairs, classifiers=classifiers)
    dense = {name: np.asarray(value) for name, value in flatten(model.parts).items()}
    tower, total = config.tower, model.config.tower.num_layers
    places = {"dense": range(tower.num_dense_layers), "moe": range(tower.num_dense_layers, total)}
    if tower.moe_placement == "every_second":
        places = {"dense": range(0, total, 2), "moe": range(1, total, 2)}
    arrays = {}
    for name, leaf in flatten(target.parts).items():
        part, stack, rest = _stack_of(name)
        if stack is None:
            arrays[name] = dense[name]
        elif rest == "ffn/router/kernel":
            # As Router draws it.
            init = Init.seeded(seed, f"upcycling/{part}").stack(len(leaf))
            drawn = init.normal(leaf.shape[1:], 0.02, ("embed", None))
            arrays[name] = np.asarray(drawn[...])
        elif stack == "moe" and rest in ("ffn/up", "ffn/down"):
            layers = dense[f"{part}/dense/{rest}/kernel"][list(places[stack])]
            arrays[name] = np.broadcast_to(layers[:, None], leaf.shape)
        else:
            arrays[name] = dense[f"{part}/dense/{rest}"][list(places[stack])]
    return restore(target, arrays, "the upcycled model")


def _stack_of(name: str) -> tuple[str, str | None, str]:
    """(part, stack, path in it) of an encoder's layers; stack None for every other parameter."""
    for stack in ("dense", "moe"):
        part, found, rest = name.partition(f"/{stack}/")
        if found and part.startswith("encoder"):
            return part, stack, rest
    return "", None, ""
