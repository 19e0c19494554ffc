"""What scanning over the layers spares of tracing and compiling, beside unrolled layers."""

import dataclasses

from benchmarks import compilers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """CPU seconds to trace and compile the gradient of an encoder, half its layers MoE; by depth
    and platform. Prints a table."""

    depths: tuple[int, ...] = (24, 48)
    width: int = 384
    experts: int = 4
    batch: int = 8
    tokens: int = 256
    platforms: tuple[str, ...] = ("cpu", "tpu")
    """"tpu" is TPU v4 ahead of time, where libtpu is installed."""

    def run(self) -> None:
        print(f"width {self.width}, {self.experts} experts, {self.batch} x {self.tokens} tokens")
        print(
            "| platform | layers | unrolled, CPU s: trace | compile | scanned: trace | compile "
            "| trace | compile | both |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for platform in self.platforms:
            if platform == "tpu" and (reason := compilers.why_no_tpu()):
                print(reason)
                continue
            for depth in self.depths:
                u, s = (self._cost(platform, depth, layers) for layers in ("unroll", "scan"))
                ratios = f"{u[0] / s[0]:.1f} | {u[1] / s[1]:.1f} | {sum(u) / sum(s):.1f}"
                print(
                    f"| {platform} | {depth} | {u[0]:.1f} | {u[1]:.1f} | {s[0]:.1f} | {s[1]:.1f} "
                    f"| {ratios} |",
                    flush=True,
                )

    def _cost(self, platform: str, depth: int, layers: str) -> tuple[float, float]:
        config = {
            "width": self.width,
            "mlp": 4 * self.width,
            "num_heads": max(1, self.width // 64),
            "num_dense_layers": depth - depth // 2,
            "num_moe_layers": depth // 2,
            "num_experts": self.experts,
            "layers": layers,
            "dtype": "float32" if platform == "cpu" else "bfloat16",
        }
        trace, compiling, _ = compilers.compile_encoder(platform, config, self.batch, self.tokens)
        return trace, compiling
