"""The commands with which the page on security signs a bundle: they accept it, and no other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mar_edge.bundle import BUILTIN, Bundle, write_manifest
from mar_edge.errors import BundleError
from mar_edge.files.graph_files import hash_file
from tests.conftest import ROOT, need

PAGE = ROOT / "docs" / "explanation" / "security.md"


def commands(tool: str) -> tuple[str, str]:
    """Return the commands of the page that sign and that check."""
    sign, check = re.findall(rf"^{tool} -.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return sign, check


def make_keys(tool: str, folder: Path) -> None:
    if tool == "minisign":
        subprocess.run(["minisign", "-G", "-W", "-p", "maker.pub", "-s", "maker.key"], cwd=folder, check=True)
        return
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "maker_key"], cwd=folder, check=True)
    (folder / "allowed_signers").write_text("maker@example.org " + (folder / "maker_key.pub").read_text())


@pytest.mark.parametrize("tool", ["ssh-keygen", "minisign"])
def test_a_signature_of_the_manifest_covers_the_bundle(tmp_path: Path, tool: str) -> None:
    need(shutil.which(tool) is not None, f"{tool} is not installed")

    def run(command: str) -> int:
        return subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True).returncode

    folder = Path(shutil.copytree(BUILTIN / "egomotion.mar", tmp_path / "model.mar"))
    make_keys(tool, tmp_path)
    sign, check = commands(tool)
    assert run(sign) == 0
    assert run(check) == 0
    Bundle(folder).verify()
    # another graph: hashes find it, unless the manifest is written again, and then the signature does
    variant = Bundle(folder).manifest.variants[0]
    (folder / variant.file).write_bytes((folder / variant.file).read_bytes() + b"x")
    assert run(check) == 0
    with pytest.raises(BundleError, match="is not the file that was exported"):
        Bundle(folder).verify()
    values = Bundle(folder).manifest.model_dump(mode="json", exclude={"format"})
    for entry in values["variants"]:
        entry["sha256"] = hash_file(folder / entry["file"])
    write_manifest(folder, values)
    assert Bundle(folder).manifest.variants[0].sha256 != variant.sha256
    assert run(check) != 0
