"""TLS through the wire: who is let in, and certificates that are replaced while the server runs."""

import datetime
import ipaddress
import pathlib

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imp_eval.client import Client, ClientTls, Options, text
from imp_eval.conftest import running
from imp_eval.server_config import ServerConfig
from imp_eval.tls import ServerTls


class Authority:
    """A certificate authority and what it signs, as PEM files in a folder."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(name, self._key.public_key(), ca=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str) -> dict[str, pathlib.Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = serialization.Encoding.PEM
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        paths = {kind: self._folder / f"{name}-{kind}.pem" for kind in ("cert", "key")}
        paths["key"].write_bytes(key.private_bytes(pem, *form))
        paths["cert"].write_bytes(self._sign(name, key.public_key(), ca=False).public_bytes(pem))
        return paths

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        def called(value: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])

        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(self._name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path, "ours")


def works(address: str, tls: ClientTls | None) -> bool:
    try:
        with Client(address, connect_timeout=1.0, options=Options(tls=tls)) as client:
            return len(client.embed([text("a")], "image")) == 1
    except ConnectionError:
        return False


def test_tls_and_mtls(bundle_path, cache, authority, tmp_path) -> None:
    server, caller = authority.pair("server"), authority.pair("caller")
    stranger = Authority(tmp_path, "theirs")
    config = ServerConfig(
        port=0, batch_size=8, compilation_cache=cache, decoders=1, tls=ServerTls(**server)
    )
    with running(bundle_path, config) as address:
        assert works(address, ClientTls(ca=authority.ca))
        assert not works(address, ClientTls(ca=stranger.ca))
        assert not works(address, None)
        # A new certificate, of another authority: the next handshake is with it.
        stranger.pair("server")
        assert works(address, ClientTls(ca=stranger.ca))
        # One that is half written is passed over.
        server["cert"].write_text("-----BEGIN")
        assert works(address, ClientTls(ca=stranger.ca))
    server = authority.pair("server")
    mutual = ServerTls(**server, client_ca=authority.ca)
    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, decoders=1, tls=mutual)
    with running(bundle_path, config) as address:
        assert works(address, ClientTls(ca=authority.ca, **caller))
        assert not works(address, ClientTls(ca=authority.ca))
        assert not works(address, ClientTls(ca=authority.ca, **stranger.pair("stranger")))


def test_files_that_are_no_certificates_are_told(authority, tmp_path) -> None:
    one, other = authority.pair("one"), authority.pair("other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with pytest.raises(ValueError, match="are no certificate and its key in PEM"):
        ServerTls(cert=one["cert"], key=other["key"]).credentials()
    with pytest.raises(ValueError, match="are no certificate and its key in PEM"):
        ServerTls(cert=junk, key=one["key"]).credentials()
    with pytest.raises(ValueError, match=r"junk\.pem holds no certificates"):
        ServerTls(**one, client_ca=junk).credentials()
    with pytest.raises(FileNotFoundError, match="no file gone"):
        ServerTls(cert=pathlib.Path("gone"), key=one["key"]).credentials()
    with pytest.raises(ValueError, match="go together; give both"):
        ClientTls(cert=one["cert"]).credentials()
    with pytest.raises(FileNotFoundError, match="no file gone"):
        ClientTls(ca=pathlib.Path("gone")).credentials()
    assert isinstance(ClientTls().credentials(), grpc.ChannelCredentials)
