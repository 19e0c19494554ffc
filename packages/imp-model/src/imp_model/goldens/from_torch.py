"""Makes from_torch.npz: attention, LayerNorm and GELU as PyTorch computes them.

    pip install torch && python from_torch.py

PyTorch is needed here alone; the tests read the file.
"""

from pathlib import Path

import numpy as np
import torch  # pants: no-infer-dep
from torch.nn import functional  # pants: no-infer-dep


def main() -> None:
    torch.manual_seed(0)
    batch, tokens, width, heads = 2, 6, 16, 2
    head_dim = width // heads
    x = torch.randn(batch, tokens, width)
    mask = torch.tensor([[True] * 6, [True, True, False, True, False, False]])
    qkv, out = torch.randn(width, 3 * width) / width**0.5, torch.randn(width, width) / width**0.5
    q_scale, k_scale, scale = 1 + torch.randn(3, width) / 2

    def split(y: torch.Tensor) -> torch.Tensor:
        return y.reshape(batch, tokens, heads, head_dim).transpose(1, 2)

    q, k, v = map(split, (x @ qkv).chunk(3, dim=-1))
    q = functional.layer_norm(q, (head_dim,), q_scale[:head_dim], eps=1e-6)
    k = functional.layer_norm(k, (head_dim,), k_scale[:head_dim], eps=1e-6)
    y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
    arrays = {
        "x": x,
        "mask": mask,
        "qkv": qkv,
        "q_scale": q_scale[:head_dim],
        "k_scale": k_scale[:head_dim],
        "out": out,
        "attention": y.transpose(1, 2).reshape(batch, tokens, width) @ out,
        "scale": scale,
        "layer_norm": functional.layer_norm(x, (width,), scale, eps=1e-6),
        "gelu": functional.gelu(x, approximate="tanh"),
    }
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"), **{name: a.numpy() for name, a in arrays.items()}
    )


if __name__ == "__main__":
    main()
