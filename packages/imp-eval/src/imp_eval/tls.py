"""TLS: certificates from PEM files, for both ends; the server reads them anew when they change."""

import dataclasses
import pathlib
import ssl

import grpc


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerTls:
    """`client_ca` makes callers show a certificate that it signed (mTLS)."""

    cert: pathlib.Path
    key: pathlib.Path
    client_ca: pathlib.Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Raises FileNotFoundError, and ValueError for files that are no matching pair."""
        first = self._configuration()
        newest = self._state()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal newest
            try:
                state = self._state()
                if state == newest:
                    return None  # what is there is current
                found = self._configuration()
            except (OSError, ValueError):
                return None  # half replaced; the next handshake looks again
            newest = state
            return found

        return grpc.dynamic_ssl_server_credentials(
            first, fetch, require_client_authentication=self.client_ca is not None
        )

    def _files(self) -> list[pathlib.Path]:
        return [path for path in (self.cert, self.key, self.client_ca) if path is not None]

    def _state(self) -> list[tuple[int, int]]:
        return [(path.stat().st_mtime_ns, path.stat().st_ino) for path in self._files()]

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        check_pair(self.cert, self.key)
        if self.client_ca is not None:
            check_roots(self.client_ca)
        return grpc.ssl_server_certificate_configuration(
            [(self.key.read_bytes(), self.cert.read_bytes())],
            root_certificates=None if self.client_ca is None else self.client_ca.read_bytes(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientTls:
    """`ca` signed the server's certificate, else the system's authorities; `cert` and `key` are for
    servers that ask for them."""

    ca: pathlib.Path | None = None
    cert: pathlib.Path | None = None
    key: pathlib.Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises FileNotFoundError, and ValueError for files that are no matching pair."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together; give both")
        if self.ca is not None:
            check_roots(self.ca)
        if self.cert is not None and self.key is not None:
            check_pair(self.cert, self.key)
        files = (self.ca, self.key, self.cert)
        return grpc.ssl_channel_credentials(
            *(None if path is None else path.read_bytes() for path in files)
        )


def check_pair(cert: pathlib.Path, key: pathlib.Path) -> None:
    for path in (cert, key):
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        reason = error.reason or "unreadable"
        raise ValueError(
            f"{cert} and {key} are no certificate and its key in PEM ({reason})"
        ) from error


def check_roots(path: pathlib.Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} holds no certificates in PEM ({error.reason})") from error
