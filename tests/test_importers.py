"""Foreign checkpoints that cannot be used. Those that can are tested against the goldens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mar_edge.errors import CheckpointError
from mar_edge.model.importing.imported import Heads
from mar_edge.model.importing.importer import import_checkpoint


class Evil:
    """Runs code when it is unpickled by a reader that lets it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/mar_edge_was_here",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(1)}, "hook": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="pickle that would run code"):
        import_checkpoint(tmp_path / "evil.pth")
    assert not Path("/tmp/mar_edge_was_here").exists()


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("hello hello")
    torch.save({"model": {f"blocks.{i}.weight": torch.zeros(100) for i in range(50)}}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for name, says in {
        "missing.pth": "no such checkpoint",
        "text.pth": "damaged|cannot be read",
        "empty.pth": "cannot be read",
        "text.safetensors": "cannot be read",
        "cut.pth": "damaged|cannot be read",
        "list.pth": "holds no tensors",
        "none.pth": "holds no tensors",
        "whole.pth": "is no checkpoint of MAR, VideoMAE or Hugging Face VideoMAE",
    }.items():
        with pytest.raises(CheckpointError, match=says) as error:
            import_checkpoint(tmp_path / name)
        assert "\n" not in str(error.value), name


def test_a_folder_needs_weights_and_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        import_checkpoint(tmp_path)
    weights = {"videomae.embeddings.patch_embeddings.projection.weight": torch.zeros(8, 3, 2, 16, 16)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"needs the config\.json"):
        import_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match=r"config\.json is not that of a VideoMAE model"):
        import_checkpoint(tmp_path)


def test_heads_that_do_not_divide_name_the_option(golden: Path, tmp_path: Path) -> None:
    from tests.test_goldens import write_foreign

    file = write_foreign(golden, "mar_official_tiny", tmp_path)
    with pytest.raises(CheckpointError, match="48 channels do not divide into 7 heads.*--heads"):
        import_checkpoint(file, heads=Heads(encoder=7))
