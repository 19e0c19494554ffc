"""ServerConfig: how to serve, checked before anything is loaded."""

import dataclasses
import os
import pathlib

from imp_eval.decoding import DecodeLimits
from imp_eval.engine import RequestLimits
from imp_eval.inference import TEXT_LENGTHS
from imp_eval.preprocess import SERVICE_LIMITS
from imp_eval.tls import ServerTls


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How to serve. `data` None keeps collections in memory; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 50051
    port_file: pathlib.Path | None = None
    data: pathlib.Path | str | None = None
    batch_size: int = 32
    text_lengths: tuple[int, ...] = TEXT_LENGTHS
    max_delay_ms: float = 2.0
    max_pending: int = 1024
    max_wait_ms: float | None = None
    max_calls: int = 1024
    decoders: int = os.cpu_count() or 1
    decode_limits: DecodeLimits = dataclasses.field(
        default_factory=lambda: DecodeLimits(media=SERVICE_LIMITS)
    )
    compilation_cache: pathlib.Path | None = None
    drain_seconds: float = 10.0
    watch_seconds: float = 0.0
    tls: ServerTls | None = None
    tokens: pathlib.Path | None = None
    metrics_port: int | None = None
    otlp_endpoint: str | None = None
    gzip: bool = False
    log_calls: bool = False
    gallery_port: int | None = None
    gallery_host: str = "127.0.0.1"
    gallery_files: pathlib.Path | None = None
    limits: RequestLimits = dataclasses.field(default_factory=RequestLimits)

    def __post_init__(self) -> None:
        ports = {
            "port": self.port,
            "metrics port": self.metrics_port,
            "gallery port": self.gallery_port,
        }
        for name, port in ports.items():
            if port is not None and not 0 <= port < 1 << 16:
                raise ValueError(f"{name} {port} must lie within 0-65535; 0 takes a free one")
        if self.gallery_port is None and self.gallery_files is not None:
            raise ValueError("gallery files are for a gallery; give a gallery port too")
        if self.gallery_files is not None and not self.gallery_files.is_dir():
            raise ValueError(f"gallery files: {self.gallery_files} is no folder")
        for name in ("max_pending", "max_calls", "decoders"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name.replace('_', ' ')} {getattr(self, name)} must be at least 1"
                )
        if self.max_wait_ms is not None and self.max_wait_ms <= 0:
            raise ValueError(f"max wait {self.max_wait_ms} ms must be above 0")
        for name in ("drain_seconds", "watch_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name.replace('_', ' ')} {getattr(self, name)} must be 0 or more"
                )
