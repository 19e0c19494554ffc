"""Where a server listens, and what is said where it can't."""

import socket

import grpc

from imp_eval.server_config import ServerConfig


def bind(server: grpc.aio.Server, config: ServerConfig) -> int:
    """The port. Raises ValueError, one line, for one that is taken or a host that isn't ours."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{config.port}"
    credentials = None if config.tls is None else config.tls.credentials()
    try:
        # gRPC would log a line of its own beside ours.
        _check_free(config.host, config.port)
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{config.host}:{config.port} can't be bound: another server is there (give another "
            "--port, or 0 for a free one), or the --host is not this machine's"
        ) from error


def _check_free(host: str, port: int) -> None:
    """Raises OSError where nothing can listen."""
    for family, kind, protocol, _, where in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            # Connections of a server that has just ended are no hindrance, to gRPC neither.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
