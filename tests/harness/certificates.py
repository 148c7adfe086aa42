"""Certificates of a test: a CA of its own, and one certificate for servers on the loopback address."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Certificates:
    """Files in PEM format. Nothing on this machine trusts the CA."""

    ca_file: Path
    certificate_file: Path
    key_file: Path
    both_file: Path
    """Key (PKCS #8) and certificate chain together, as Kafka's PEM store wants them."""

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the CA, and no other."""
        return ssl.create_default_context(cafile=self.ca_file)


def make_certificates(folder: Path) -> Certificates:
    """Make a CA and a certificate for NAMES in the folder, which is made too."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert(*NAMES)
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key", folder / "server.both.pem")
    authority.cert_pem.write_to_path(str(files.ca_file))
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    files.key_file.write_bytes(key_pem)
    files.certificate_file.write_bytes(chain)
    files.both_file.write_bytes(key_pem + chain)
    for secret in (files.key_file, files.both_file):
        secret.chmod(0o600)
    return files
