"""A fleet for 10,000 embeddings a second, and an index of a billion vectors."""

from benchmarks import scale_measured as measured
from benchmarks.scale_rows import Section, figures, number, size, span
from imp_model.config import size as model_size
from imp_model.costs import forward_flops
from imp_train.chips import CHIPS

_RATE = 10_000
_LOAD = 0.7
_PEAK_SHARE = 0.3
_VECTORS = 1e9
_MEASURED_VECTORS = 1e6
_DIM = 512
_SHARD = 10e6
_QUERIES = 100


def sections() -> list[Section]:
    return [_fleet(), _index()]


def _fleet() -> Section:
    machines = _RATE / measured.IMAGES_S.value / _LOAD
    small = forward_flops(model_size("imp-s"), "image", (128, 128, 3))
    large = forward_flops(model_size("imp-moe-l"), "image", (256, 256, 3))
    chip = CHIPS["v5e"]
    chips = _RATE * large / (_PEAK_SHARE * chip.peak_flops) / _LOAD
    around = _RATE * measured.CALL_MS.value / 1e3 / _LOAD
    lines = figures(
        [
            (
                "IMP-S, pictures of 128, on CPUs",
                f"{machines:.0f} machines of two cores",
                f"10,000 / {measured.IMAGES_S.value:g} a second ({measured.IMAGES_S.link}) / *0.7*",
            ),
            (
                "IMP-S, texts, on CPUs",
                f"{_RATE / measured.TEXTS_S.value / _LOAD:.0f} machines of two cores",
                f"10,000 / {measured.TEXTS_S.value:g} a second / *0.7*",
            ),
            (
                "IMP-MoE-L, pictures of 256, on the same",
                f"{machines * large / small:,.0f} machines: no",
                f"x {large / small:.1f}, its FLOPs to those of IMP-S: {number(large / 1e9)} to "
                f"{number(small / 1e9)} G (`imp_model/costs.py`)",
            ),
            (
                "IMP-MoE-L on TPU v5e",
                f"{chips:.0f} chips",
                f"10,000 x {number(large / 1e9)} GFLOPs / (*{_PEAK_SHARE:.0%}* of "
                f"{chip.peak_flops / 1e12:.0f} T/s) / *0.7*",
            ),
            (
                "cores beside them, to decode and answer",
                f"{around:.0f}",
                f"10,000 x {measured.CALL_MS.value:.2f} ms ({measured.CALL_MS.link}, where the "
                "model "
                "costs nothing) / *0.7*",
            ),
            ("into the fleet", size(_RATE * 150e3, "B/s"), "10,000 x 150 kB, the benchmark's JPEG"),
            ("out of it", size(_RATE * 4 * 1024, "B/s"), "10,000 x 1,024 x 4 B"),
        ]
    )
    after = (
        "*0.7* is the load to run at, so that a wait for a batch stays short; the "
        "HorizontalPodAutoscaler "
        "of [DEPLOY.md](DEPLOY.md) holds it by the queue. The share of a v5e's peak is a guess: no "
        "accelerator has served yet."
    )
    return ("10,000 embeddings a second", "The fleet:", lines, after)


def _index() -> Section:
    shards = _VECTORS / _SHARD
    grows = _SHARD / _MEASURED_VECTORS
    one_build = measured.INDEX_CPU_S.value * grows**1.5
    share = measured.QUERY_MS.value / measured.SMALL_QUERY_MS.value
    query_ms = measured.QUERY_MS.value * share
    memory = measured.INDEX_MIB.value * 2**20 * grows
    lines = figures(
        [
            ("vectors on disk", size(_VECTORS * _DIM * 4), f"1 G x {_DIM} x 4 B"),
            ("their RaBitQ codes", size(_VECTORS * _DIM / 8), f"1 G x {_DIM} / 8 B"),
            (
                "as one table: CPU to build",
                span(measured.INDEX_CPU_S.value * 1000**1.5),
                f"{measured.INDEX_CPU_S.value:g} CPU s for 1 M ({measured.INDEX_CPU_S.link}) x "
                "1,000 "
                "to the power of 1.5: partitions grow with the root of the vectors",
            ),
            ("tables of 10 M", f"{shards:.0f}", "1 G / 10 M"),
            (
                "CPU to build all",
                span(shards * one_build),
                f"{shards:.0f} x {measured.INDEX_CPU_S.value:g} s x 10 to the power of 1.5",
            ),
            (
                "memory of one, of all",
                f"{size(memory)}, {size(shards * memory)}",
                f"{measured.INDEX_MIB.value:g} MiB ({measured.INDEX_MIB.link}) x 10, x "
                f"{shards:.0f}",
            ),
            (
                "CPU of a query in one table",
                f"{query_ms:.0f} ms",
                f"{measured.QUERY_MS.value:g} ms x {share:.2f}, which ten times as many cost from "
                f"100,000 to 1 M ({measured.SMALL_QUERY_MS.value:g} to "
                f"{measured.QUERY_MS.value:g})",
            ),
            ("of a query in all", span(shards * query_ms / 1e3), f"x {shards:.0f}: it asks each"),
            (
                f"cores for {_QUERIES} queries a second",
                f"{_QUERIES * shards * query_ms / 1e3 / _LOAD:,.0f}",
                f"{_QUERIES} x that / *0.7*",
            ),
        ]
    )
    after = (
        "A service of ours searches one collection as one table; a query over a hundred needs an "
        "engine "
        "that spreads them. `--data qdrant+http://…` is that interface (docs/RETRIEVAL.md), not "
        "measured "
        "against a cluster. faiss's codes in memory answer a query of a million in a thirteenth of "
        "the "
        "time ([Search](BENCHMARKS.md#search)): at this size that is what decides."
    )
    return (
        "A billion vectors",
        f"Of {_DIM} numbers each, as LanceDB indexes them here:",
        lines,
        after,
    )
