"""The dense model with image, text and contrastive loss in plain PyTorch, our parameters in it."""

from typing import Any

import numpy as np

from accelerator_suite.suite import PAIR
from benchmarks.pytorch import torch_encoder
from imp_model.heads import ContrastiveHead
from imp_model.model import Model, head_part, temperature_part
from imp_model.patches import LEVEL_GAIN
from imp_model.towers import ENCODER


def network(torch: Any, model: Model, device: str) -> Any:
    """A module (uint8 images [b, h, w, 3], int64 texts [b, n]) -> loss, all else as ours.

    Autocast to bfloat16 where ours computes in it: parameters, norms and loss stay in float32.
    """
    nn, functional = torch.nn, torch.nn.functional
    parts, config = model.parts, model.config
    bfloat16 = config.dtype == "bfloat16"

    def own(value: Any) -> Any:
        return nn.Parameter(torch.from_numpy(np.array(value, np.float32)))

    def norm(x: Any, scale: Any) -> Any:
        return functional.layer_norm(x, scale.shape, scale, None, 1e-6)

    # PyTorch is loaded by name, for it may not be there: its classes have no type here.
    class Head(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, head: ContrastiveHead) -> None:
            super().__init__()
            self.up, self.down = own(head.up.kernel[...]), own(head.down.kernel[...])
            self.scale = own(head.norm.scale[...])

        def forward(self, x: Any) -> Any:
            x = functional.gelu(x @ self.up, approximate="tanh") @ self.down
            return functional.normalize(norm(x, self.scale), dim=-1)

    class Network(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            vision, text = parts["embedder/vision"], parts["embedder/text"]
            self.kernel, self.level = own(vision.patch.kernel[...]), own(vision.patch.level[...])
            self.tables = nn.ParameterList([own(t[...]) for t in vision.positions.tables])
            self.position_scale = own(vision.positions.norm.scale[...])
            self.vision_project = own(vision.project.kernel[...])
            self.words, self.places = own(text.table[...]), own(text.positions.table[...])
            self.place_scale = own(text.positions.norm.scale[...])
            self.text_project = own(text.project.kernel[...])
            self.encoder = torch_encoder(torch, parts[ENCODER])
            self.vision_pool = own(parts["projection/vision"].kernel[...])
            self.text_pool = own(parts["projection/text"].kernel[...])
            self.image_head = Head(parts[head_part(*PAIR)])
            self.text_head = Head(parts[head_part(*PAIR[::-1])])
            self.log_scale = own(parts[temperature_part(PAIR)].log_scale[...])

        def images(self, pixels: Any) -> Any:
            b, height, width, _ = pixels.shape
            _, ph, pw = config.patch
            h, w = height // ph, width // pw
            x = pixels.view(b, h, ph, w, pw, 3).permute(0, 1, 3, 2, 4, 5).reshape(b, h * w, -1)
            x = x.float() / 127.5 - 1.0
            mean = x.mean(-1, keepdim=True)
            x = x - mean
            deviation = torch.sqrt(x.square().mean(-1, keepdim=True) + 0.1)
            level = LEVEL_GAIN * torch.cat([mean, deviation], -1)
            kernel = self.kernel.view(config.patch[0], -1, self.kernel.shape[-1]).sum(0)
            tokens = (x / deviation) @ kernel + level @ self.level
            total = torch.zeros(1, tokens.shape[-1], device=tokens.device)
            for table, size, buckets in zip(
                self.tables, (1, h, w), config.vision_positions, strict=True
            ):
                index = torch.arange(size, device=tokens.device) * buckets // size
                total = (total[:, None] + table[index][None]).reshape(-1, total.shape[-1])
            return (tokens + norm(total, self.position_scale)) @ self.vision_project

        def texts(self, ids: Any) -> Any:
            places = norm(self.places, self.place_scale)[: ids.shape[1]]
            return (functional.embedding(ids, self.words) + places) @ self.text_project

        def encode(self, x: Any, mask: Any) -> Any:
            *blocks, last = self.encoder
            for block in blocks:
                x = block(x, None if mask is None else mask[:, None, None, :])
            x = last(x).float()
            if mask is None:
                return x.mean(1)
            weight = mask.float()[..., None]
            return (x * weight).sum(1) / weight.sum(1).clamp(min=1.0)

        def forward(self, pixels: Any, ids: Any) -> Any:
            mask = ids != 0
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                seen = self.encode(self.images(pixels), None)
                read = self.encode(self.texts(ids), mask)
            with torch.autocast(device, enabled=False):
                a = self.image_head(seen @ self.vision_pool)
                b = self.text_head(read @ self.text_pool)
                logits = self.log_scale.clamp(max=float(np.log(100.0))).exp() * (a @ b.T)
                target = torch.arange(len(logits), device=logits.device)
                forth = functional.cross_entropy(logits, target)
                return (forth + functional.cross_entropy(logits.T, target)) / 2

    return Network()
