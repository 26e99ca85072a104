"""A certificate authority of the test's own, and certificates that it signs, by the openssl program."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.mosquitto import program


def _openssl(*arguments: object) -> None:
    subprocess.run([program("openssl"), *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """An authority; its certificate is `file`.

    Args:
        folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        elliptic = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._new = ("req", *elliptic)
        extension = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl(*self._new, "-x509", "-keyout", self._key, "-out", self.file, "-subj", "/CN=Test CA", *extension)

    def sign(self, name: str, host: str) -> tuple[Path, Path]:
        """Return the files of a new certificate and its key.

        Args:
            name: of the files.
            host: for which it is, as `DNS:localhost` or `IP:127.0.0.1`.
        """
        folder = self.file.parent
        key, request, certificate = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        _openssl(*self._new, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        (folder / "names").write_text(f"subjectAltName={host}\nauthorityKeyIdentifier=keyid\n")
        signer = ("-CA", self.file, "-CAkey", self._key, "-CAcreateserial", "-extfile", folder / "names")
        _openssl("x509", "-req", "-in", request, "-out", certificate, *signer)
        return certificate, key


def self_signed(folder: Path) -> Path:
    """Return a PEM file with a new key and a certificate for 127.0.0.1 that nobody has signed, as cameras have."""
    key, signed, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", signed),
    )
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both
