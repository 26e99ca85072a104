"""Our model against the reference implementations, number by number.

The bound of 1e-5 is the goldens' own: the references in float64 differ from their float32 by up to 1.6e-6.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mar_edge import masking
from mar_edge.errors import CheckpointError
from mar_edge.model.config import build, preset
from mar_edge.model.importing.imported import Heads, Imported
from mar_edge.model.importing.importer import import_checkpoint
from mar_edge.model.mar import patchify
from mar_edge.training.objective import Batch, Objective, ObjectivePart
from mar_edge.training.optimiser import OptimiserPart, lr_share, make_optimisers
from tests.fakes.goldens import close, write_foreign

GRADIENT_BOUND = 1e-4


@dataclass
class Golden:
    """A model set: the imported model, its inputs and outputs, and the batch of two clips."""

    imported: Imported
    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    frames: Tensor  # uint8 (2, T, H, W, 3)


HEADS = {"mar_official_tiny": Heads(encoder=3, bridge=4, decoder=4)}


@pytest.fixture
def load(golden: Path, tmp_path: Path) -> Any:
    """Return a function that loads a model set by name."""

    def by_name(name: str) -> Golden:
        heads = HEADS.get(name, Heads(encoder=3, decoder=3))
        imported = import_checkpoint(write_foreign(golden, name, tmp_path), heads=heads)
        tensors = load_file(golden / f"{name}.safetensors")
        video = load_file(golden / "video.safetensors")["in.video_uint8"]
        batch = torch.cat([video, torch.flip(video, (2, 4))])
        notes = json.loads((golden / f"{name}.json").read_text())
        return Golden(imported, tensors, notes, batch.permute(0, 2, 3, 4, 1).contiguous())

    return by_name


def indices(mask: Tensor) -> Tensor:
    """Token indices (B, N) of True places in a mask (B, t, h, w)."""
    return torch.stack([torch.from_numpy(np.flatnonzero(row.numpy())) for row in mask])


def projected(pixels: Tensor, golden: Golden) -> Tensor:
    return pixels.double() @ golden.tensors["in.pixel_projection"].double()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_masks(golden: Path, ratio: float) -> None:
    masks = load_file(golden / "masks.safetensors")
    key = f"out.running.r{round(100 * ratio)}"
    assert np.array_equal(masking.cell_running_mask((8, 14, 14), ratio), masks[f"{key}.test_visible"].numpy())
    for phase in range(4):
        expected = masks[f"{key}.train_phase_visible"][phase].numpy()
        assert np.array_equal(masking.cell_running_mask((8, 14, 14), ratio, phase), expected)


def test_shuffled_and_independent_masks(golden: Path) -> None:
    masks = {key: value.numpy() for key, value in load_file(golden / "masks.safetensors").items()}
    for index, expected in enumerate(masks["out.shuffled.r50.visible"]):
        mask = masking.cell_running_mask((8, 14, 14), 0.5, int(masks["out.shuffled.r50.phase_index"][index]))
        assert np.array_equal(mask[masks["out.shuffled.r50.time_order"][index]], expected)
    for phase, expected in zip(
        masks["out.independent.r75.phase_index"], masks["out.independent.r75.visible"], strict=True
    ):
        assert np.array_equal(masking.cell_running_mask((8, 14, 14), 0.75, phase), expected)


def test_mar_logits_and_tokens(load: Any) -> None:
    golden = load("mar_official_tiny")
    model, out = golden.imported.model, golden.tensors
    assert golden.imported.config.bridge_depth == 2
    with torch.no_grad():
        for ratio, key in ((0, "_r0"), (0.25, "_r25"), (0.5, ""), (0.75, "_r75")):
            mask = masking.cell_running_mask((8, 14, 14), ratio)
            visible = torch.from_numpy(masking.visible_indices(mask))
            close(model(golden.frames, visible), out[f"out.eval_logits{key}"])
        visible = torch.from_numpy(masking.visible_indices(masking.cell_running_mask((8, 14, 14), 0.5)))
        tubelets = patchify(golden.frames, model.encoder.geometry)
        close(model.encoder(tubelets, visible), out["out.eval_encoder_tokens"])
    close(model.encoder.positions[None], out["out.encoder_pos_embed"])
    assert golden.imported.unused.keys() == {"cls_head.mask_token", "mean", "std"}


def test_mar_training_step(load: Any) -> None:
    golden = load("mar_official_tiny")
    model, out = golden.imported.model, golden.tensors
    mask = out["in.mask_visible_train"]
    output = model.joint(golden.frames, indices(mask), indices(~mask))
    close(output.logits, out["out.train_logits"])
    rows = out["in.pixel_row_index"]
    close(output.pixels[:, rows], out["out.train_preds_pixel_rows"])
    close(projected(output.pixels, golden), out["out.train_preds_pixel_proj"])
    close(output.target[:, rows], out["out.train_labels_pixel_rows"])
    close(projected(output.target, golden), out["out.train_labels_pixel_proj"])
    objective = Objective(model, ObjectivePart(reconstruction_weight=0.1))
    losses = objective(a_batch(golden.frames, mask, out["in.soft_target"]))
    close(losses.parts["classification"], out["out.train_loss_cls"])
    close(losses.parts["reconstruction"], out["out.train_loss_mae"])
    close(losses.total, out["out.train_loss_total"])
    losses.total.backward()
    check_gradients(model, golden.notes["grads"], mar_name)


@pytest.mark.parametrize(
    "name", ["videomae_finetune_tiny", "videomae_finetune_nopool_tiny", "videomae_finetune_gamma_tiny"]
)
def test_videomae_classifier(load: Any, name: str) -> None:
    golden = load(name)
    with torch.no_grad():
        close(golden.imported.model(golden.frames, torch.arange(1568)), golden.tensors["out.logits"])
    assert not golden.imported.unused


@pytest.mark.parametrize("name", ["hf_videomae_tiny", "hf_videomae_nopool_tiny"])
def test_hugging_face_classifier(load: Any, name: str) -> None:
    golden = load(name)
    with torch.no_grad():
        close(golden.imported.model(golden.frames, torch.arange(1568)), golden.tensors["out.logits"])
    assert golden.imported.labels == [f"LABEL_{index}" for index in range(10)]
    assert not golden.imported.unused


@pytest.mark.parametrize("name", ["videomae_pretrain_tiny", "hf_videomae_pretrain_tiny"])
def test_videomae_pretraining(load: Any, name: str) -> None:
    golden = load(name)
    model, out = golden.imported.model, golden.tensors
    masked = out["in.mask_masked"]
    output = model.joint(golden.frames, indices(~masked), indices(masked))
    assert output.logits is None
    close(output.tokens, out["out.encoder_tokens"])
    close(output.pixels[:, out["in.pixel_row_index"]], out["out.recon_rows"])
    close(projected(output.pixels, golden), out["out.recon_proj"])
    objective = Objective(model, ObjectivePart(reconstruction_weight=1.0))
    losses = objective(a_batch(golden.frames, ~masked, torch.zeros(2, 0)))
    close(losses.total, out["out.loss"])
    if "out.target_rows" in out:
        close(output.target[:, out["in.pixel_row_index"]], out["out.target_rows"])
        close(projected(output.target, golden), out["out.target_proj"])
        losses.total.backward()
        check_gradients(model, golden.notes["grads"], pretraining_gradient_name)


def a_batch(frames: Tensor, visible: Tensor, targets: Tensor) -> Batch:
    return Batch(
        clips=frames,
        targets=targets,
        flows=torch.zeros(2, 0, 2),
        visible=indices(visible),
        masked=indices(~visible),
        files=("a", "b"),
    )


def check_gradients(model: torch.nn.Module, expected: dict[str, Any], rename: Any) -> None:
    """Compare the norm of every gradient, both ways: none may be missing on either side."""
    got: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        got.setdefault(rename(name), []).append(parameter.grad.flatten())
    wanted = {name: grad["l2"] for name, grad in expected.items() if grad is not None}
    assert got.keys() == wanted.keys()
    for name, parts in got.items():
        assert float(torch.cat(parts).norm()) == pytest.approx(wanted[name], rel=GRADIENT_BOUND), name


def mar_name(name: str) -> str:
    for ours, theirs in (
        ("encoder.blocks", "backbone.blocks"),
        ("encoder.embed", "backbone.patch_embed.proj"),
        ("encoder.norm", "backbone.norm"),
        ("classifier.reduce", "encoder_to_cls_decoder"),
        ("classifier.", "cls_head."),
    ):
        if name.startswith(ours):
            name = name.replace(ours, theirs, 1)
    if name.startswith("cls_head.blocks"):
        for ours, theirs in (
            # the reference has one bias for query, key and value; the key's part gets no gradient
            ("attn.q_bias", "attn.to_qkv.bias"),
            ("attn.v_bias", "attn.to_qkv.bias"),
            ("attn.qkv", "attn.to_qkv"),
            ("norm1", "norm"),
            ("norm2", "norm_ffn"),
            ("fc1", "ffn.net.0"),
            ("fc2", "ffn.net.3"),
        ):
            name = name.replace(ours, theirs)
        return name
    return decoder_gradient_name(name).replace(".fc", ".mlp.fc")


def pretraining_gradient_name(name: str) -> str:
    return decoder_gradient_name(name.replace("encoder.embed", "encoder.patch_embed.proj")).replace(".fc", ".mlp.fc")


def decoder_gradient_name(name: str) -> str:
    return {"decoder.reduce.weight": "encoder_to_decoder.weight", "decoder.mask_token": "mask_token"}.get(name, name)


def test_optimiser_groups(golden: Path) -> None:
    groups = json.loads((golden / "optimizer_groups.json").read_text())
    expected, meta = groups["params"], groups["meta"]
    with torch.device("meta"):
        model = build(preset("base", classes=174))
    settings = OptimiserPart(
        lr=meta["base_lr"], weight_decay=meta["default_weight_decay"], layer_decay=meta["layer_decay"]
    )
    (adamw,) = make_optimisers(model, settings, depth=meta["num_layers"])
    assert adamw.defaults["betas"] == tuple(meta["betas"])
    assert adamw.defaults["eps"] == meta["eps"]
    names = {id(parameter): mar_name(name) for name, parameter in model.named_parameters()}
    got = {
        names[id(parameter)]: (group["peak_lr"] / meta["base_lr"], group["weight_decay"])
        for group in adamw.param_groups
        for parameter in group["params"]
    }
    wanted = {
        name: (pytest.approx(values["lr_scale"]), values["weight_decay"])
        for name, values in expected.items()
        if values["requires_grad"] and name != "cls_head.mask_token"  # which MAR never uses
    }
    assert got == wanted


def test_learning_rate_over_time(golden: Path) -> None:
    policy = json.loads((golden / "lr_schedule.json").read_text())
    config = policy["config"]
    settings = OptimiserPart(
        lr=config["BASE_LR"],
        min_lr=config["MIN_LR"],
        warmup_lr=config["WARMUP_START_LR"],
        warmup_epochs=config["WARMUP_EPOCHS"],
    )
    for epoch, expected in policy["lr"]:
        share = lr_share(settings, round(1000 * epoch), steps=40_000, steps_per_epoch=1000)
        assert share * settings.lr == pytest.approx(expected, rel=1e-9)


def test_norm_epsilons(load: Any) -> None:
    # too small a difference for outputs to show, so the attributes are checked
    epsilons = {m.eps for m in load("mar_official_tiny").imported.model.modules() if isinstance(m, torch.nn.LayerNorm)}
    assert epsilons == {1e-6}
    model = load("hf_videomae_tiny").imported.model
    assert {m.eps for m in model.encoder.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-12}
    assert model.classifier.norm.eps == 1e-5


def test_import_says_what_is_missing(golden: Path, tmp_path: Path) -> None:
    file = write_foreign(golden, "videomae_finetune_tiny", tmp_path)
    state = torch.load(file, weights_only=True)["model"]
    del state["blocks.2.mlp.fc1.bias"]
    torch.save(state, file)
    with pytest.raises(CheckpointError, match=r"lacks blocks\.2\.mlp\.fc1\.bias"):
        import_checkpoint(file, heads=Heads(encoder=3))


def test_import_says_which_shape_does_not_fit(golden: Path, tmp_path: Path) -> None:
    file = write_foreign(golden, "videomae_finetune_tiny", tmp_path)
    state = torch.load(file, weights_only=True)["model"]
    state["blocks.2.mlp.fc1.bias"] = torch.zeros(7)
    torch.save(state, file)
    with pytest.raises(CheckpointError, match=r"fc1\.bias has shape \(7,\), expected \(192,\)"):
        import_checkpoint(file, heads=Heads(encoder=3))
