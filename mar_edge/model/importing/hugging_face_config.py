"""config.json of Hugging Face VideoMAE: every value that changes what the model computes is checked or rejected by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from mar_edge.counting import counted, form
from mar_edge.errors import CheckpointError
from mar_edge.files.json_text import parse_json
from mar_edge.files.regular_file import read_limited

FILE = "config.json"

_LIKE_OURS: dict[str, tuple[object, ...]] = {
    "model_type": ("videomae", None),
    "num_channels": (3,),
    "hidden_act": ("gelu", "gelu_python"),  # the exact one; gelu_new, gelu_fast, quick_gelu and others are different
    "problem_type": ("single_label_classification", None),  # the runtime uses softmax
    "attn_implementation": ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", None),
    "pruned_heads": ({}, [], None),
    "quantization_config": (None,),
    "auto_map": (None,),
}
"""Values with which the result equals that of our model."""

_WITHOUT_EFFECT = {
    # of training, or about the file itself
    "architectures", "attention_probs_dropout_prob", "hidden_dropout_prob", "initializer_range", "id2label", "label2id",
    "transformers_version", "torch_dtype", "dtype", "_name_or_path", "name_or_path", "num_labels", "finetuning_task",
    "_commit_hash", "_output_attentions", "_experts_implementation", "_experts_implementation_internal", "experts_implementation",
    "_attn_implementation_autoset", "_attn_implementation_internal", "license", "chunk_size_feed_forward",
    # of every Hugging Face model, for text and for the returned values
    "return_dict", "output_hidden_states", "output_attentions", "torchscript", "use_bfloat16", "tf_legacy_loss",
    "tie_word_embeddings", "is_encoder_decoder", "is_decoder", "cross_attention_hidden_size", "add_cross_attention",
    "tie_encoder_decoder", "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
    "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
    "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "tokenizer_class", "prefix",
    "bos_token_id", "pad_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "task_specific_params",
    "use_cache",
}  # fmt: skip


_OFF: tuple[object, ...] = (None, False, "", [], {})


class VideoMaeConfig(BaseModel):
    """The values in config.json; missing ones have the defaults of `transformers`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", protected_namespaces=())

    model_type: str | None = None
    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    num_channels: int = 3
    num_frames: int = Field(16, gt=0)
    tubelet_size: int = Field(2, gt=0)
    hidden_size: int = Field(768, gt=0)
    num_hidden_layers: int = Field(12, gt=0)
    num_attention_heads: int = Field(12, gt=0)
    intermediate_size: int = Field(3072, gt=0)
    hidden_act: str = "gelu"
    layer_norm_eps: float = Field(1e-12, gt=0, lt=1)
    qkv_bias: bool = Field(True, validation_alias=AliasChoices("qkv_bias", "qv_bias"))
    use_mean_pooling: bool = True
    decoder_num_attention_heads: int = Field(6, gt=0)
    decoder_hidden_size: int = Field(384, gt=0)
    decoder_num_hidden_layers: int = Field(4, gt=0)
    decoder_intermediate_size: int = Field(1536, gt=0)
    norm_pix_loss: bool = True
    problem_type: str | None = None
    attn_implementation: str | None = Field(
        None, validation_alias=AliasChoices("_attn_implementation", "attn_implementation")
    )
    pruned_heads: Any = None
    quantization_config: Any = None
    auto_map: Any = None
    id2label: Any = None

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of a picture."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def patch_px(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return (self.patch_size, self.patch_size) if isinstance(self.patch_size, int) else self.patch_size

    @property
    def unknown(self) -> dict[str, object]:
        """Values of keys that no version of `transformers` up to 5 has for this model, unless they switch something off."""
        extra = sorted((self.model_extra or {}).items())
        return {key: value for key, value in extra if key not in _WITHOUT_EFFECT and value not in _OFF}


def read_config(file: Path) -> VideoMaeConfig:
    """Read a Hugging Face config.json.

    Raises:
        CheckpointError: if it is missing or damaged, or has a value that our model computes differently.
    """
    try:
        values = parse_json(read_limited(file))
    except FileNotFoundError as error:
        raise CheckpointError(
            "a Hugging Face checkpoint needs the config.json that came with it in the same folder"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} does not belong to a VideoMAE model")
    try:
        config = VideoMaeConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise CheckpointError(f"{file} has {key} {values.get(key)!r}, which is invalid: {first['msg']}") from error
    for key, values_like_ours in _LIKE_OURS.items():
        value = getattr(config, key)
        if value not in values_like_ours:
            raise CheckpointError(_refusal(file, key, value, values_like_ours))
    if config.unknown:
        one = form(len(config.unknown), "it", "them")
        raise CheckpointError(
            f"{file} has {', '.join(f'{key} {value!r}' for key, value in config.unknown.items())}, which VideoMAE does not have, so "
            f"the results might differ. If the model was trained without {one}, remove {one} from {file.name}"
        )
    return config


def _refusal(file: Path, key: str, value: object, like_ours: tuple[object, ...]) -> str:
    if key == "model_type":
        return f"{file} does not belong to a VideoMAE model, but to '{value}'"
    if like_ours == (None,) or key == "pruned_heads":
        return f"{file} has {key}, which mar-edge does not support, so the results would differ"
    known = " or ".join(repr(one) for one in like_ours if one is not None)
    return f"{file} has {key} {value!r}; mar-edge supports only {known}, so the results would differ"


def labels_of(config: VideoMaeConfig, classes: int) -> tuple[list[str] | None, str | None]:
    """Return the class names in order, and a note on problems with them."""
    names = config.id2label
    if not classes or not names:
        return None, None
    if not isinstance(names, dict) or set(names) != {str(index) for index in range(classes)}:
        have = counted(len(names), "name") if isinstance(names, dict) else "no names"
        return None, f"id2label of config.json has {have} for {counted(classes, 'class')}, so they are not used"
    return [str(names[str(index)]) for index in range(classes)], None
