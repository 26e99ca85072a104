"""What stands beside Hugging Face's weights: every value that changes the result is computed or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mar_edge.errors import CheckpointError
from mar_edge.model.importing.imported import Heads
from mar_edge.model.importing.importer import import_checkpoint
from tests.fakes.goldens import hf_folder, state_of


def folder(golden: Path, place: Path, name: str = "hf_videomae_tiny", **changes: Any) -> Path:
    hf_folder(golden, place, name, **changes)
    save_file(state_of(golden, name), place / "model.safetensors")
    return place


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_act": "gelu_new"}, "has hidden_act 'gelu_new'; mar-edge supports only 'gelu' or 'gelu_python'"),
        ({"hidden_act": "gelu_pytorch_tanh"}, "has hidden_act 'gelu_pytorch_tanh'"),
        ({"hidden_act": "quick_gelu"}, "has hidden_act"),
        ({"hidden_act": "relu"}, "has hidden_act"),
        ({"hidden_act": None}, "has hidden_act None, which is invalid"),
        ({"model_type": "vivit"}, "does not belong to a VideoMAE model, but to 'vivit'"),
        ({"layer_norm_eps": 0}, "has layer_norm_eps 0, which is invalid"),
        ({"layer_norm_eps": "1e-12"}, "has layer_norm_eps '1e-12', which is invalid"),
        ({"layer_norm_eps": 2}, "has layer_norm_eps 2, which is invalid"),
        ({"num_attention_heads": 5}, "48 channels are not divisible by 5 heads"),
        ({"num_attention_heads": True}, "has num_attention_heads True, which is invalid"),
        ({"use_mean_pooling": "true"}, "has use_mean_pooling 'true', which is invalid"),
        ({"use_mean_pooling": False}, "lacks videomae.layernorm.weight"),
        ({"qkv_bias": False, "qv_bias": False}, "has qkv_bias false, but the weights have such biases"),
        ({"num_hidden_layers": 3}, "has num_hidden_layers 3, but the weights have 4"),
        ({"num_hidden_layers": 5}, "has num_hidden_layers 5, but the weights have 4"),
        ({"hidden_size": 96}, "has hidden_size 96, but the weights have 48"),
        ({"intermediate_size": 96}, "has intermediate_size 96, but the weights have 192"),
        ({"tubelet_size": 4}, "has tubelet_size 4, but the weights have 2"),
        ({"patch_size": 8}, r"has patch_size \[8, 8\], but the weights have \[16, 16\]"),
        ({"num_channels": 1}, "has num_channels 1; mar-edge supports only 3"),
        ({"image_size": 225}, "225, which is not divisible into patches of 16 px"),
        ({"image_size": [224]}, "has image_size"),
        ({"num_frames": 15}, "15 frames are not divisible into tubelets"),
        ({"problem_type": "multi_label_classification"}, "has problem_type 'multi_label_classification'"),
        ({"_attn_implementation": "sparse"}, "has attn_implementation 'sparse'"),
        ({"pruned_heads": {"0": [1]}}, "has pruned_heads, which mar-edge does not support"),
        ({"quantization_config": {"bits": 4}}, "has quantization_config, which mar-edge does not support"),
        ({"auto_map": {"AutoModel": "own.Model"}}, "has auto_map, which mar-edge does not support"),
    ],
)  # fmt: skip
def test_values_that_compute_something_else_are_refused(
    golden: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says) as error:
        import_checkpoint(folder(golden, tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decoder_hidden_size": 96}, "has decoder_hidden_size 96, but the weights have 48"),
        ({"decoder_num_hidden_layers": 1}, "has decoder_num_hidden_layers 1, but the weights have 2"),
        ({"decoder_intermediate_size": 96}, "has decoder_intermediate_size 96, but the weights have 192"),
        ({"decoder_num_attention_heads": 5}, "are not divisible by 5 heads; set the number with --decoder-heads"),
    ],
)
def test_values_of_the_decoder(golden: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        import_checkpoint(folder(golden, tmp_path, "hf_videomae_pretrain_tiny", **changes))


def test_a_wider_mlp_is_refused_by_name(golden: Path, tmp_path: Path) -> None:
    state = state_of(golden, "hf_videomae_tiny")
    for key, value in state.items():
        if ".intermediate.dense." in key:
            state[key] = value[:96].clone()
        elif ".output.dense.weight" in key and "attention" not in key:
            state[key] = value[:, :96].clone()
    hf_folder(golden, tmp_path, intermediate_size=96)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"intermediate_size 96; mar-edge supports only 4 x 48 = 192"):
        import_checkpoint(tmp_path)


def test_values_that_are_computed(golden: Path, tmp_path: Path) -> None:
    config = import_checkpoint(folder(golden, tmp_path, layer_norm_eps=1e-5, num_attention_heads=6)).config
    assert (config.norm_eps, config.outer_norm_eps, config.heads) == (1e-5, 1e-5, 6)
    config = import_checkpoint(folder(golden, tmp_path, image_size=[192, 256], num_frames=8)).config
    assert config.geometry.clip_shape == (8, 192, 256, 3)
    hf_folder(golden, tmp_path, qkv_bias=False)
    state = {k: v for k, v in state_of(golden, "hf_videomae_tiny").items() if not k.endswith(("q_bias", "v_bias"))}
    save_file(state, tmp_path / "model.safetensors")
    del (values := json.loads((tmp_path / "config.json").read_text()))["qv_bias"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert not import_checkpoint(tmp_path).model.get_parameter("encoder.blocks.1.attn.v_bias").any()


def test_what_is_not_said_is_what_transformers_takes(golden: Path, tmp_path: Path) -> None:
    place = folder(golden, tmp_path)
    expected = import_checkpoint(place).config
    values = json.loads((place / "config.json").read_text())
    for key in (
        "hidden_act",
        "use_mean_pooling",
        "layer_norm_eps",
        "num_frames",
        "image_size",
        "qv_bias",
        "model_type",
    ):
        del values[key]
    (place / "config.json").write_text(json.dumps(values))
    assert import_checkpoint(place).config == expected


def test_what_is_asked_may_not_differ(golden: Path, tmp_path: Path) -> None:
    place = folder(golden, tmp_path)
    assert import_checkpoint(place, frames=16, size_px=224, heads=Heads(encoder=3)).config.heads == 3
    for asked, says in (
        ({"frames": 8}, "--frames is 8, but config.json states 16. Leave --frames out"),
        ({"size_px": 256}, "--size is 256, but config.json states 224"),
        ({"heads": Heads(encoder=4)}, "--heads is 4, but config.json states 3"),
    ):
        with pytest.raises(CheckpointError, match=says):
            import_checkpoint(place, **asked)


def test_pre_training_without_a_last_norm_and_with_raw_pixels(golden: Path, tmp_path: Path) -> None:
    place = folder(golden, tmp_path, "hf_videomae_pretrain_tiny", use_mean_pooling=True)
    imported = import_checkpoint(place)
    assert not imported.config.final_norm
    assert imported.unused == {"videomae.layernorm.*": "not used by transformers either, as use_mean_pooling is true"}
    imported = import_checkpoint(folder(golden, tmp_path, "hf_videomae_pretrain_tiny", norm_pix_loss=False))
    assert imported.config.decoder_depth == 0
    assert imported.format == "a Hugging Face VideoMAE encoder without a classifier"
    assert imported.unused["decoder.*"].startswith("norm_pix_loss is false")


def test_keys_that_nobody_knows_are_refused_and_labels_that_do_not_fit_are_named(golden: Path, tmp_path: Path) -> None:
    imported = import_checkpoint(folder(golden, tmp_path, rope_scaling=None, use_rope=False, id2label={"0": "a"}))
    assert imported.labels is None
    assert imported.notes == ["id2label of config.json has 1 name for 10 classes, so they are not used"]
    unknown: dict[str, Any] = {f"key_{index}": index for index in range(1, 8)} | {"logit_scale": 2.0, "rope_theta": 1e4}
    with pytest.raises(CheckpointError) as refused:
        import_checkpoint(folder(golden, tmp_path, **unknown))
    told = str(refused.value)
    assert all(f"{key} {value!r}" in told for key, value in unknown.items())
    assert told.endswith("If the model was trained without them, remove them from config.json")


OURS = {
    "do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "do_normalize": True, "do_rescale": True,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 0.00392156862745098,
    "resample": 2, "size": {"shortest_edge": 224},
}  # fmt: skip


def test_the_preprocessing_of_published_models_is_ours(golden: Path, tmp_path: Path) -> None:
    place = folder(golden, tmp_path)
    (place / "preprocessor_config.json").write_text(json.dumps(OURS))
    imported = import_checkpoint(place)
    assert (imported.resize, imported.notes) == ("center_crop", [])
    whole = OURS | {"do_center_crop": False, "size": {"height": 224, "width": 224}}
    (place / "preprocessor_config.json").write_text(json.dumps(whole))
    assert import_checkpoint(place).resize == "stretch"
    (place / "preprocessor_config.json").write_text(json.dumps(OURS | {"size": {"shortest_edge": 256}}))
    (note,) = import_checkpoint(place).notes
    assert note.startswith("preprocessor_config.json scales the shorter side to 256 px before it crops")


@pytest.mark.parametrize("file", ["preprocessor_config.json", "video_preprocessor_config.json"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"image_mean": [0.5, 0.5, 0.5]},
            r"has image_mean \[0.5, 0.5, 0.5\]; mar-edge normalises as with image_mean \[0.485",
        ),
        ({"image_std": [0.5, 0.5, 0.5]}, "has image_std"),
        ({"do_normalize": False}, "has do_normalize False"),
        (
            {"do_rescale": False},
            "has do_rescale False; mar-edge normalises as with do_rescale True, so the results would differ",
        ),
        ({"rescale_factor": 0.00784}, "has rescale_factor 0.00784"),
        ({"do_flip_channel_order": True}, "has do_flip_channel_order True"),
    ],
)
def test_pictures_normalised_in_another_way_are_refused(
    golden: Path, tmp_path: Path, file: str, changes: dict[str, Any], says: str
) -> None:
    place = folder(golden, tmp_path)
    (place / file).write_text(json.dumps(OURS | changes))
    with pytest.raises(CheckpointError, match=says):
        import_checkpoint(place)


def test_a_tensor_without_a_place_is_refused(golden: Path, tmp_path: Path) -> None:
    place = hf_folder(golden, tmp_path)
    for name in ("videomae.encoder.layer.0.layer_scale", "videomae.embeddings.cls_token", "classifier.extra.weight"):
        save_file(state_of(golden, "hf_videomae_tiny") | {name: torch.ones(48)}, place / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"it has {name}, which this model does not have"):
            import_checkpoint(place)
    extra = {"videomae.encoder.layer.0.attention.attention.key.bias": torch.ones(48), "loss.weight": torch.ones(10)}
    save_file(state_of(golden, "hf_videomae_tiny") | extra, place / "model.safetensors")
    assert import_checkpoint(place).unused == {
        "videomae.encoder.layer.0.attention.attention.key.bias": "a key bias cancels in the softmax",
        "loss.*": "not part of what the model computes",
    }
