"""Foreign checkpoints that cannot be used. Those that can are tested against the goldens."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from mar_edge.cli.main import app
from mar_edge.errors import CheckpointError
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.model.importing.imported import Heads
from mar_edge.model.importing.importer import import_checkpoint
from mar_edge.training.start import StartPart, take_weights


class Evil:
    """Runs code when it is unpickled by a reader that lets it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/mar_edge_was_here",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(1)}, "hook": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="pickle that would run code"):
        import_checkpoint(tmp_path / "evil.pth")
    assert not Path("/tmp/mar_edge_was_here").exists()


class Config:
    """An object of a script's own class."""


def test_other_objects_are_named_or_harmless(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    torch.save(module, tmp_path / "whole.pth")
    torch.save({"model": module, "epoch": 3}, tmp_path / "inside.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against TorchScript
        torch.jit.save(torch.jit.script(module), tmp_path / "jit.pt")
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(1)}, "config": Config()}, tmp_path / "own.pth")
    torch.save(
        {"model": {"a": torch.zeros(1)}, "hook": Evil()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False
    )
    (tmp_path / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "lfs.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    for name, says in {
        "whole.pth": r"is a pickled model \(torch.nn.modules.linear.Linear\).*torch.save\(model.state_dict\(\)",
        "inside.pth": "is a pickled model",
        "jit.pt": "is a TorchScript program, not a checkpoint. Save only its weights",
        "own.pth": r"would run code \(tests.model.test_importers.Config\)",
        "old.pth": r"would run code \(posix.system\)",
        "lfs.safetensors": "Git LFS pointer, not the weights themselves. Run: git lfs pull",
        "lfs.bin": "Git LFS pointer",
    }.items():
        with pytest.raises(CheckpointError, match=says) as error:
            import_checkpoint(tmp_path / name)
        assert "\n" not in str(error.value), name
    assert not Path("/tmp/mar_edge_was_here").exists()


def test_our_own_checkpoint_needs_no_import(tmp_path: Path) -> None:
    from tests.fakes.family import INFO, TINY

    checkpoint.save(tmp_path / "ours.safetensors", build(TINY), TINY, INFO)
    with pytest.raises(CheckpointError, match="is already a checkpoint of mar-edge; use it without import"):
        import_checkpoint(tmp_path / "ours.safetensors")


def test_training_starts_from_an_imported_encoder(golden: Path, tmp_path: Path) -> None:
    from tests.fakes.goldens import hf_folder, state_of

    hf_folder(golden, tmp_path)
    state = {k: v for k, v in state_of(golden, "hf_videomae_tiny").items() if k.startswith("videomae.")}
    save_file(state, tmp_path / "model.safetensors")
    out = tmp_path / "encoder.safetensors"
    done = CliRunner().invoke(app, ["import", str(tmp_path), "-o", str(out)])
    assert done.exit_code == 0, done.stderr
    assert "it has no classifier: set it as start.weights of a recipe" in done.stderr
    theirs, config, _ = checkpoint.load(out)
    recipe = replace(config, classifier="bridge", classes=4, final_norm=True, bridge_width=32, bridge_heads=2)
    model = build(recipe)
    notes = take_weights(model, StartPart(weights=str(out), parts="encoder"))
    assert notes == [
        f"{out}: 2 tensors of the encoder's last norm do not fit and start from random values, for instance encoder.norm.bias"
    ]
    for name, tensor in theirs.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor), name
    with pytest.raises(CheckpointError, match="3 attention heads instead of 6"):
        take_weights(build(replace(recipe, heads=6)), StartPart(weights=str(out)))


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
        "list.pth": "contains no tensors",
        "none.pth": "contains no tensors",
        "whole.pth": "is not a checkpoint of MAR, VideoMAE or Hugging Face VideoMAE",
    }.items():
        with pytest.raises(CheckpointError, match=says) as error:
            import_checkpoint(tmp_path / name)
        assert "\n" not in str(error.value), name


def test_a_folder_needs_weights_and_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"contains neither model\.safetensors nor pytorch_model\.bin"):
        import_checkpoint(tmp_path)
    weights = {"videomae.embeddings.patch_embeddings.projection.weight": torch.zeros(8, 3, 2, 16, 16)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"needs the config\.json"):
        import_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match=r"config\.json does not belong to a VideoMAE model"):
        import_checkpoint(tmp_path)


def test_heads_that_do_not_divide_name_the_option(golden: Path, tmp_path: Path) -> None:
    from tests.fakes.goldens import write_foreign

    file = write_foreign(golden, "mar_official_tiny", tmp_path)
    with pytest.raises(CheckpointError, match="48 channels are not divisible by 7 heads.*--heads"):
        import_checkpoint(file, heads=Heads(encoder=7))
