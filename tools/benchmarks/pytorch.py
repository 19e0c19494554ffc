"""The dense encoder beside the same one in plain PyTorch, on CPU: forward and backward."""

import dataclasses
import importlib
import warnings
from typing import Any

import jax
import numpy as np

from benchmarks import arms, programs
from imp_model.config import size
from imp_model.encoder import Encoder
from imp_model.init import Init


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyTorch:
    """Tokens a CPU second of our dense encoder and of PyTorch's, in turns; prints a table."""

    model: str = "imp-s"
    """Its width, heads and feed-forward network."""
    layers: int = 4
    batch: int = 8
    tokens: int = 256
    rounds: int = 7
    compiled: bool = True
    """Also `torch.compile`'s program, which needs a C++ compiler."""

    def run(self) -> None:
        encoder, x = self._ours()

        def encode(encoder: Encoder, x: jax.Array) -> jax.Array:
            return encoder(x, None)[0]

        own = {"ours": programs.compiled(programs.value_and_gradient(encode), encoder, x)}
        try:
            torch = importlib.import_module("torch")
        except ModuleNotFoundError as error:
            print(
                f"without PyTorch, for {error}; to compare: "
                "pip install torch --index-url https://download.pytorch.org/whl/cpu"
            )
        else:
            own |= self._theirs(torch, encoder, x)
        costs = programs.in_turns(own, rounds=self.rounds)
        print(
            f"width {encoder.config.width}, {self.layers} layers, {self.batch} x {self.tokens} "
            f"tokens, float32, medians of {self.rounds} rounds"
        )
        print("| | tokens a CPU second | a second | CPU s | ours to it, by CPU s | by time |")
        print("|---|---|---|---|---|---|")
        number = self.batch * self.tokens
        for name, cost in costs.items():
            print(
                f"| {name} | {number / arms.median_cpu(cost):,.0f} "
                f"| {number / arms.median_wall(cost):,.0f} | {arms.median_cpu(cost):.3f} "
                f"| {arms.ratio(cost, costs['ours']):.2f} "
                f"| {arms.wall_ratio(cost, costs['ours']):.2f} |"
            )

    def _ours(self) -> tuple[Encoder, np.ndarray]:
        config = dataclasses.replace(
            size(self.model),
            num_dense_layers=self.layers,
            num_moe_layers=0,
            num_experts=1,
            dtype="float32",
        )
        shape = (self.batch, self.tokens, config.width)
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        return Encoder(config, Init.seeded(0, "encoder")), x

    def _theirs(self, torch: Any, encoder: Encoder, x: np.ndarray) -> dict[str, programs.Program]:
        network = torch_encoder(torch, encoder)
        expected = np.asarray(jax.jit(lambda encoder, x: encoder(x, None)[0])(encoder, x))
        found = network(torch.from_numpy(x)).detach().numpy()
        # Else the two would not be doing the same work.
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)

        def program(network: Any) -> programs.Program:
            tokens = torch.from_numpy(x).requires_grad_()

            def run() -> None:
                network.zero_grad(set_to_none=True)
                tokens.grad = None
                network(tokens).square().sum().backward()

            return run

        found = {"PyTorch, eager": program(network)}
        if self.compiled:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found["PyTorch, compiled"] = program(torch.compile(network))
                found["PyTorch, compiled"]()
        return found


def torch_encoder(torch: Any, encoder: Encoder) -> Any:
    """A `torch.nn.Module` of plain Linear, LayerNorm and scaled_dot_product_attention, with the
    parameters of `encoder`."""
    nn, functional = torch.nn, torch.nn.functional

    def linear(kernel: jax.Array) -> Any:
        layer = nn.Linear(*kernel.shape, bias=False)
        layer.weight.data = torch.from_numpy(np.array(kernel).T.copy())
        return layer

    def norm(scale: jax.Array) -> Any:
        layer = nn.LayerNorm(len(scale), eps=1e-6, bias=False)
        layer.weight.data = torch.from_numpy(np.array(scale))
        return layer

    # PyTorch is loaded by name, for it may not be there: its classes have no type here.
    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, block: Any) -> None:
            super().__init__()
            attention = block.attention
            self.heads = attention.num_heads
            self.attention_norm = norm(block.attention_norm.scale[...])
            self.ffn_norm = norm(block.ffn_norm.scale[...])
            self.q_norm = norm(attention.q_norm.scale[...])
            self.k_norm = norm(attention.k_norm.scale[...])
            self.qkv = linear(attention.qkv.kernel[...])
            self.out = linear(attention.out.kernel[...])
            self.up = linear(block.ffn.up.kernel[...])
            self.down = linear(block.ffn.down.kernel[...])

        def forward(self, x: Any, mask: Any = None) -> Any:
            """`mask` is what `scaled_dot_product_attention` takes."""
            b, n, d = x.shape
            qkv = self.qkv(self.attention_norm(x)).view(b, n, 3, self.heads, d // self.heads)
            q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
            y = functional.scaled_dot_product_attention(
                self.q_norm(q), self.k_norm(k), v, attn_mask=mask
            )
            x = x + self.out(y.transpose(1, 2).reshape(b, n, d))
            hidden = functional.gelu(self.up(self.ffn_norm(x)), approximate="tanh")
            return x + self.down(hidden)

    blocks = [
        Block(jax.tree.map(lambda leaf, i=i: leaf[i], encoder.dense))
        for i in range(encoder.config.num_dense_layers)
    ]
    return nn.Sequential(*blocks, norm(encoder.norm.scale[...]))
