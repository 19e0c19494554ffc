"""Metrics: what the service tells Prometheus, each server in a registry of its own."""

from collections.abc import Callable, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Thread-safe. Every name begins with `imp_`; durations are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "imp_stage_seconds",
            "Time of one item in a stage: decode_queue, decode, tokenize, batch_queue, encode",
            ["stage", "modality"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._calls = Histogram(
            "imp_call_seconds",
            "Time of one call, by method and gRPC status",
            ["method", "code"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._running = Gauge("imp_running_calls", "Calls in progress", registry=self.registry)
        self._batches = Counter(
            "imp_batches", "Runs of the encoder, by bucket", ["bucket"], registry=self.registry
        )
        self._rows = Counter(
            "imp_batch_rows",
            "Rows of those runs that held an item, the others being padding",
            ["bucket"],
            registry=self.registry,
        )
        self._fill = Histogram(
            "imp_batch_fill",
            "Share of a batch that held items",
            ["bucket"],
            buckets=(0.125, 0.25, 0.5, 0.75, 0.9, 1.0),
            registry=self.registry,
        )
        self._items = Counter(
            "imp_items",
            "Items answered, by outcome",
            ["modality", "outcome"],
            registry=self.registry,
        )
        self._lost = Counter(
            "imp_decoders_replaced", "Decoding processes lost", ["reason"], registry=self.registry
        )
        self._reloads = Counter(
            "imp_reloads", "Bundles looked at anew", ["outcome"], registry=self.registry
        )

    def stage(self, name: str, modality: str, seconds: float) -> None:
        self._stages.labels(name, modality).observe(seconds)

    def call(self, method: str, code: str, seconds: float) -> None:
        self._calls.labels(method, code).observe(seconds)

    def running(self, change: int) -> None:
        self._running.inc(change)

    def batch(self, bucket: str, rows: int, size: int) -> None:
        self._batches.labels(bucket).inc()
        self._rows.labels(bucket).inc(rows)
        self._fill.labels(bucket).observe(rows / size)

    def item(self, modality: str, outcome: str) -> None:
        self._items.labels(modality, outcome).inc()

    def decoder_lost(self, reason: str) -> None:
        self._lost.labels(reason).inc()

    def reload(self, outcome: str) -> None:
        self._reloads.labels(outcome).inc()

    def watch(self, name: str, help: str, labels: list[str], read: "Reader") -> None:
        """A gauge that is read when Prometheus asks."""
        self.registry.register(_Read(name, help, labels, read))

    def text(self) -> bytes:
        """What `/metrics` answers."""
        return prometheus_client.generate_latest(self.registry)


# Label values -> value.
Reader = Callable[[], Mapping[tuple[str, ...], float]]


class _Read(prometheus_client.registry.Collector):
    def __init__(self, name: str, help: str, labels: list[str], read: Reader) -> None:
        self._name, self._help, self._labels, self._read = name, help, labels, read

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for values, value in self._read().items():
            family.add_metric(values, value)
        return [family]
