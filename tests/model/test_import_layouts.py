"""The layouts in which people have checkpoints: wrapped, prefixed, in shards, without a head. Each gives the same weights."""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mar_edge.errors import CheckpointError
from mar_edge.model.importing.imported import Heads, Imported
from mar_edge.model.importing.importer import import_checkpoint
from tests.fakes.goldens import State, close, hf_folder, state_of

HEADS = Heads(encoder=3, decoder=3)


@pytest.fixture(scope="module")
def official(golden: Path) -> State:
    """An official VideoMAE classifier's tensors."""
    return state_of(golden, "videomae_finetune_tiny")


@pytest.fixture(scope="module")
def expected(official: State, tmp_path_factory: pytest.TempPathFactory) -> State:
    """What it is as a model of ours, read from the plain file that the goldens are tested with."""
    file = tmp_path_factory.mktemp("plain") / "plain.pth"
    torch.save({"model": official}, file)
    return import_checkpoint(file, heads=HEADS).model.state_dict()


@pytest.fixture(scope="module")
def hf(golden: Path) -> State:
    """A Hugging Face classifier's tensors."""
    return state_of(golden, "hf_videomae_tiny")


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value.clone() for key, value in state.items()}


def inside(mark: str, state: State) -> State:
    """Put a part into every name behind the number of a block, as wrappers around blocks do."""
    return {
        ".".join([*key.split(".")[:2], mark, *key.split(".")[2:]]) if key.startswith("blocks.") else key: value
        for key, value in state.items()
    }


def mmaction2(state: State) -> State:
    """Name tensors as mmaction2 does."""
    named = {}
    for key, value in state.items():
        for theirs, its in (
            ("patch_embed.proj.", "patch_embed.projection."),
            (".mlp.fc1.", ".mlp.layers.0.0."),
            (".mlp.fc2.", ".mlp.layers.1."),
        ):
            key = key.replace(theirs, its)
        named[f"cls_head.fc_cls.{key[5:]}" if key.startswith("head.") else f"backbone.{key}"] = value
    return named


def same(imported: Imported, expected: State) -> bool:
    got = imported.model.state_dict()
    return got.keys() == expected.keys() and all(torch.equal(got[key], expected[key]) for key in got)


WRAPPED: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "ddp": lambda s: {"model": prefixed("module.", s)},
    "compiled": lambda s: {"model": prefixed("_orig_mod.", s)},
    "ddp of compiled": lambda s: {"model": prefixed("module._orig_mod.", s)},
    "compiled ddp": lambda s: {"state_dict": prefixed("_orig_mod.module.", s)},
    "fabric": lambda s: {"model": prefixed("_forward_module.module.", s)},
    "lightning": lambda s: {
        "state_dict": prefixed("model.", s),
        "hyper_parameters": {"since": datetime.date(2026, 1, 1)},
        "callbacks": collections.defaultdict(list, {"best": [1.0]}),
    },
    "lightning compiled": lambda s: {"state_dict": prefixed("model._orig_mod.", s), "pytorch-lightning_version": "2"},
    "named by hand": lambda s: {"weights": prefixed("net.vit.backbone.", s)},
    "backbone": lambda s: {"state_dict": prefixed("backbone.", s)},
    "encoder": lambda s: {"state_dict": prefixed("encoder.", s)},
    "deepspeed": lambda s: {
        "module": s,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
        "epoch": np.int64(3),
        "loss": np.float32(0.5),
        "history": np.arange(3),
        "args": argparse.Namespace(path=pathlib.Path("x"), num_frames=16, num_segments=1, input_size=224),
        "recent": collections.deque([1.0, 2.0], maxlen=5),
    },
    "composer": lambda s: {"state": {"model": prefixed("model.", s), "rank_zero_seed": 1}},
    "two deep": lambda s: {"checkpoint": {"trainer": {"net": {"state_dict": s}}}, "epoch": 3},
    "ordered": lambda s: {"state_dict": collections.OrderedDict(s), "best_acc": torch.tensor(1.0)},
    "blocks compiled": lambda s: {"model": inside("_orig_mod", s)},
    "blocks checkpointed": lambda s: {"model": inside("_checkpoint_wrapped_module", s)},
    "blocks of fsdp": lambda s: {"model": prefixed("_fsdp_wrapped_module.", inside("_fsdp_wrapped_module", s))},
    "ema beside it": lambda s: {"model_ema": {k: v + 1 for k, v in s.items()}, "model": s},
    "ema alone": lambda s: {"model_ema": s, "optimizer": {}},
    "ema in the same dict": lambda s: {"state_dict": prefixed("net.", s) | prefixed("ema_net.", {k: v + 1 for k, v in s.items()})},
    "lightning with a loss": lambda s: {"state_dict": prefixed("model.", s) | {"loss.weight": torch.ones(10)}},
    "parameters": lambda s: {"model": {key: torch.nn.Parameter(value) for key, value in s.items()}},
    "double": lambda s: {"model": {key: value.double() for key, value in s.items()}},
    "mmaction2": lambda s: {"meta": {"epoch": 3}, "state_dict": mmaction2(s)},
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
def test_wrappers_and_prefixes(official: State, expected: State, tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    torch.save(wrap(official), tmp_path / "file.ckpt")
    assert same(import_checkpoint(tmp_path / "file.ckpt", heads=HEADS), expected)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "backbone.", "a.b.encoder."])
def test_prefixes_in_safetensors(official: State, expected: State, tmp_path: Path, prefix: str) -> None:
    save_file(prefixed(prefix, official), tmp_path / "file.safetensors")
    assert same(import_checkpoint(tmp_path / "file.safetensors", heads=HEADS), expected)


def test_the_old_format_of_torch_and_safetensors_by_another_name(
    official: State, expected: State, tmp_path: Path
) -> None:
    torch.save({"model": official}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(official, tmp_path / "named.bin")
    for name in ("old.pth", "named.bin"):
        assert same(import_checkpoint(tmp_path / name, heads=HEADS), expected)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "a.module."])
@pytest.mark.parametrize("name", ["mar_official_tiny", "videomae_pretrain_tiny", "hf_videomae_pretrain_tiny"])
def test_every_format_may_have_a_prefix(golden: Path, tmp_path: Path, name: str, prefix: str) -> None:
    heads = Heads(encoder=3, bridge=4, decoder=4) if name.startswith("mar") else HEADS
    if name.startswith("hf"):
        hf_folder(golden, tmp_path, name)
    state = state_of(golden, name)
    for file, tensors in (("plain", state), ("prefixed", prefixed(prefix, state))):
        save_file(tensors, tmp_path / f"{file}.safetensors")
    plain = import_checkpoint(tmp_path / "plain.safetensors", heads=heads)
    other = import_checkpoint(tmp_path / "prefixed.safetensors", heads=heads)
    assert same(other, plain.model.state_dict())
    assert other.config == plain.config


def test_what_is_left_out_is_named(official: State, tmp_path: Path) -> None:
    torch.save(
        {"model_ema": official, "model": prefixed("a.", official) | {"loss.w": torch.ones(1)}}, tmp_path / "a.pth"
    )
    assert import_checkpoint(tmp_path / "a.pth", heads=HEADS).unused == {
        "model_ema.*": "another copy of the weights; those of 'model' were imported",
        "loss*": "outside of the model, which is under 'a.'",
    }
    torch.save(official | {"aux_head.weight": torch.ones(1), "aux_head.bias": torch.ones(1)}, tmp_path / "b.pth")
    assert import_checkpoint(tmp_path / "b.pth", heads=HEADS).unused == {
        "aux_head.*": "not part of what the model computes"
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {"a": s, "b": s}, "contains 2 models, under 'a', 'b'"),
        (lambda s: {"m": prefixed("student.", s) | prefixed("other.", s)}, "contains 2 models, under 'student.', 'other.'"),
        (lambda s: s | {"module.head.bias": s["head.bias"]}, "has head.bias twice, once as module.head.bias"),
        (lambda s: s | {"blocks.0.attn.q.lora_A.weight": torch.ones(1)}, "LoRA adapters; merge them first"),
        (lambda s: {"_flat_param": torch.ones(9)} | s, "flattened by FSDP; save a full state dict"),
        (lambda s: s | {"blocks.0.mlp.fc1.qweight": torch.ones(1)}, "quantised; import the weights from before"),
        (lambda s: s | {"blocks.0.attn.qkv.weight": s["blocks.0.attn.qkv.weight"].char()}, "is int8, expected floating"),
        (lambda s: s | {"blocks.0.mlp.fc1.weight": s["blocks.0.mlp.fc1.weight"].to(torch.float8_e4m3fn)}, "is float8_e4m3fn"),
        (lambda s: s | {"blocks.1.mlp.fc1.bias": s["blocks.1.mlp.fc1.bias"] * torch.nan}, "fc1.bias has a value that is NaN"),
        (lambda s: s | {"blocks.0.parametrizations.weight.original0": torch.ones(1)}, "remove_parametrizations"),
        (lambda s: s | {"cls_token": torch.ones(1, 1, 48)}, "it has cls_token, which this model does not have"),
        (lambda s: s | {"blocks.0.attn.q_norm.weight": torch.ones(16)}, "it has blocks.0.attn.q_norm.weight"),
        (lambda s: s | {"norm_pre.weight": torch.ones(48)}, "it has norm_pre.weight"),
        (lambda s: s | {"temporal_embed": torch.ones(8, 48)}, "it has temporal_embed"),
        (lambda s: s | {"pos_embed": torch.ones(1, 784, 48)}, "made for 784 tokens, and this clip has 1568"),
        (lambda s: s | {"patch_embed.proj.weight": torch.ones(48, 1, 2, 16, 16)}, r"expected \(D, 3, frames, patch, patch\)"),
        (lambda s: {"model": s, "args": argparse.Namespace(num_frames=32)}, "--frames is 16, but its 'args' states 32"),
    ],
)  # fmt: skip
def test_what_would_compute_something_else_is_refused(official: State, tmp_path: Path, change: Any, says: str) -> None:
    torch.save(change({key: value.clone() for key, value in official.items()}), tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=says) as error:
        import_checkpoint(tmp_path / "file.pth", heads=HEADS, frames=16)
    assert "\n" not in str(error.value)


def test_clip_and_heads_that_stand_beside_the_weights(official: State, tmp_path: Path) -> None:
    torch.save({"model": official, "args": argparse.Namespace(num_frames=8, input_size=192)}, tmp_path / "args.pth")
    imported = import_checkpoint(tmp_path / "args.pth", heads=HEADS)
    assert imported.config.geometry.clip_shape == (8, 192, 192, 3)
    (tmp_path / "v2").mkdir()
    save_file(prefixed("model.", official), tmp_path / "v2" / "model.safetensors")
    described = {"all_frames": 8, "img_size": 192, "num_heads": 6, "layer_norm_eps": 1e-5, "cos_attn": False}
    (tmp_path / "v2" / "config.json").write_text(json.dumps({"model_config": described}))
    config = import_checkpoint(tmp_path / "v2").config
    assert (config.geometry.clip_shape, config.heads, config.norm_eps) == ((8, 192, 192, 3), 6, 1e-5)
    (tmp_path / "v2" / "config.json").write_text(json.dumps({"model_config": described | {"cos_attn": True}}))
    with pytest.raises(CheckpointError, match="config.json has cos_attn True; mar-edge supports only False"):
        import_checkpoint(tmp_path / "v2")


def test_heads_that_nothing_tells_are_named(official: State, tmp_path: Path) -> None:
    torch.save(official, tmp_path / "file.pth")
    (note,) = import_checkpoint(tmp_path / "file.pth").notes
    assert note.startswith("assumed 1 attention head for 48 channels, which no published model has")
    assert note.endswith("Set it with --heads")
    assert import_checkpoint(tmp_path / "file.pth", heads=HEADS).notes == []
    # ViT-H's heads are 80 channels wide
    wide = {"patch_embed.proj.weight": torch.zeros(1280, 3, 2, 16, 16), "patch_embed.proj.bias": torch.zeros(1280)}
    torch.save(wide, tmp_path / "huge.pth")
    imported = import_checkpoint(tmp_path / "huge.pth")
    assert (imported.config.heads, imported.notes) == (16, [])


def test_a_table_of_positions_in_the_file_is_taken(official: State, expected: State, tmp_path: Path) -> None:
    learned = torch.randn(1, 1568, 48)
    torch.save(official | {"pos_embed": learned}, tmp_path / "learned.pth")
    assert torch.equal(import_checkpoint(tmp_path / "learned.pth", heads=HEADS).model.encoder.positions, learned[0])
    torch.save(official | {"pos_embed": expected["encoder.positions"][None]}, tmp_path / "formula.pth")
    assert same(import_checkpoint(tmp_path / "formula.pth", heads=HEADS), expected)


def test_attention_biases_in_one_tensor_or_none(official: State, expected: State, tmp_path: Path) -> None:
    whole, none = dict(official), dict(official)
    for index in range(4):
        query, value = (whole.pop(f"blocks.{index}.attn.{name}") for name in ("q_bias", "v_bias"))
        whole[f"blocks.{index}.attn.qkv.bias"] = torch.cat([query, torch.full_like(query, 3.0), value])
        del none[f"blocks.{index}.attn.q_bias"], none[f"blocks.{index}.attn.v_bias"]
    torch.save(whole, tmp_path / "whole.pth")
    torch.save(none, tmp_path / "none.pth")
    assert same(import_checkpoint(tmp_path / "whole.pth", heads=HEADS), expected)
    without = import_checkpoint(tmp_path / "none.pth", heads=HEADS).model.state_dict()
    assert not without["encoder.blocks.2.attn.q_bias"].any()
    assert torch.equal(without["encoder.blocks.2.attn.qkv.weight"], expected["encoder.blocks.2.attn.qkv.weight"])
    del whole["blocks.1.attn.qkv.bias"]
    torch.save(whole, tmp_path / "lacking.pth")
    with pytest.raises(CheckpointError, match=r"lacks blocks\.1\.attn\.qkv\.bias"):
        import_checkpoint(tmp_path / "lacking.pth", heads=HEADS)


@pytest.mark.parametrize("name", ["videomae_finetune_tiny", "videomae_finetune_nopool_tiny", "hf_videomae_tiny", "hf_videomae_nopool_tiny"])  # fmt: skip
@pytest.mark.parametrize("norm_goes_too", [False, True])
def test_a_model_without_its_head_is_an_encoder(golden: Path, tmp_path: Path, name: str, norm_goes_too: bool) -> None:
    state = state_of(golden, name)
    pooled = "nopool" not in name
    gone = ("head.", "classifier.", *(("fc_norm.",) if norm_goes_too else ()))
    if name.startswith("hf"):
        hf_folder(golden, tmp_path, name)
    save_file(state, tmp_path / "whole.safetensors")
    save_file(
        {key: value for key, value in state.items() if not key.startswith(gone)}, tmp_path / "encoder.safetensors"
    )
    whole = import_checkpoint(tmp_path / "whole.safetensors", heads=HEADS).model
    imported = import_checkpoint(tmp_path / "encoder.safetensors", heads=HEADS)
    assert (imported.config.classifier, imported.config.classes, imported.config.decoder_depth) == ("none", 0, 0)
    assert imported.config.final_norm is not pooled
    assert "encoder without a classifier" in imported.format
    assert (imported.unused != {}) == (pooled and not norm_goes_too)
    tubelets, visible = torch.rand(1, 1568, 1536) * 255, torch.arange(0, 1568, 2)
    with torch.no_grad():
        close(imported.model.encoder(tubelets, visible), whole.encoder(tubelets, visible), 0)


@pytest.mark.parametrize("prefix", ["", "model.", "backbone.", "videomae.", "net.videomae."])
def test_a_base_model_of_hugging_face(golden: Path, hf: State, tmp_path: Path, prefix: str) -> None:
    hf_folder(golden, tmp_path)
    base = {key.removeprefix("videomae."): value for key, value in hf.items() if key.startswith("videomae.")}
    save_file(prefixed(prefix, base), tmp_path / "model.safetensors")
    imported = import_checkpoint(tmp_path)
    assert imported.format == "a Hugging Face VideoMAE encoder without a classifier"
    save_file(hf, tmp_path / "model.safetensors")
    whole = import_checkpoint(tmp_path).model.encoder.state_dict()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in imported.model.encoder.state_dict().items())


def sharded(folder: Path, state: State, count: int = 3, kind: str = "safetensors", index: bool = True) -> list[Path]:
    """Write a model in shards; return their paths."""
    stem = "model" if kind == "safetensors" else "pytorch_model"
    places = {key: f"{stem}-{1 + number % count:05d}-of-{count:05d}.{kind}" for number, key in enumerate(sorted(state))}
    for place in set(places.values()):
        part = {key: state[key] for key in state if places[key] == place}
        save_file(part, folder / place) if kind == "safetensors" else torch.save(part, folder / place)
    if index:
        content = {"metadata": {"total_size": 1}, "weight_map": places}
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps(content))
    return [folder / place for place in sorted(set(places.values()))]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(golden: Path, hf: State, tmp_path: Path, kind: str, index: bool) -> None:
    plain = hf_folder(golden, tmp_path / "plain")
    save_file(hf, plain / "model.safetensors")
    expected = import_checkpoint(plain).model.state_dict()
    folder = hf_folder(golden, tmp_path / "shards")
    shards = sharded(folder, hf, kind=kind, index=index)
    for given in (folder, *shards, *folder.glob("*.index.json")):
        assert same(import_checkpoint(given), expected), given
    shards[1].unlink()
    for given in (folder, shards[0], *folder.glob("*.index.json")):
        with pytest.raises(CheckpointError, match=rf"in 3 parts, of which {shards[1].name} is missing. Put all parts"):
            import_checkpoint(given)


def test_shards_of_an_official_model(official: State, expected: State, tmp_path: Path) -> None:
    shards = sharded(tmp_path, prefixed("module.", official), index=False)
    assert same(import_checkpoint(shards[2], heads=HEADS), expected)


def test_damaged_indices_and_shards(golden: Path, hf: State, tmp_path: Path) -> None:
    folder = hf_folder(golden, tmp_path)
    shards = sharded(folder, hf)
    index = folder / "model.safetensors.index.json"
    for text, says in (
        ("{", "is not an index of shards, or is damaged"),
        ("[]", "is not an index of shards, or is damaged"),
        ('{"weight_map": {}}', "names no files in its folder"),
        ('{"weight_map": {"a": "../../etc/passwd"}}', "names no files in its folder"),
    ):
        index.write_text(text)
        with pytest.raises(CheckpointError, match=says):
            import_checkpoint(folder)
    index.unlink()
    save_file(load_file(shards[0]) | load_file(shards[1]), shards[1])
    with pytest.raises(CheckpointError, match="which is also in another part"):
        import_checkpoint(folder)


def test_folders_of_others_say_how_to_join_them(official: State, tmp_path: Path) -> None:
    for name, file, says in (
        ("zero", "zero_to_fp32.py", "python zero_to_fp32.py .*zero weights"),
        ("ranks", "mp_rank_00_model_states.pt", "checkpoint of DeepSpeed, in parts"),
        ("dcp", "__0_0.distcp", "dcp_to_torch .*dcp weights.pth"),
        ("run", "checkpoint-best.pth", "it contains checkpoint-best.pth: give one of these"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(b"")
        with pytest.raises(CheckpointError, match=says):
            import_checkpoint(tmp_path / name)
