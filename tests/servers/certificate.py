"""A certificate that nobody has signed, as cameras have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import need


def certificate(folder: Path) -> Path:
    """Return a PEM file with a new key and its certificate, for 127.0.0.1."""
    need(shutil.which("openssl") is not None, "the openssl program")
    key, signed, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    line = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [*line, "-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", signed],
        check=True,
        capture_output=True,
    )
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both
