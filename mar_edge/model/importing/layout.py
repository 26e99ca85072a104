"""Finds the model within a file: the key and the prefix of its tensors, and its format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from mar_edge.counting import counted
from mar_edge.errors import CheckpointError

State = dict[str, Tensor]
Format = Literal["mar", "videomae", "videomae_pretraining", "hugging_face"]

_HF_ANCHOR = "embeddings.patch_embeddings.projection.weight"
_ANCHOR = re.compile(rf"^(?P<prefix>(?:.*\.)?)(?P<anchor>patch_embed\.proj\.weight|{re.escape(_HF_ANCHOR)})$")
"""The patch embedding: each model has one, and the text before it is a prefix."""

MAX_DICTS = 10_000
"""Most dicts in dicts of a file; training scripts store a few hundred."""

_SHELLS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
"""Wrappers of data parallelism, compilation and checkpointing, anywhere in a name."""

_OTHER_NAMES = (
    # mmaction2's words for the same parts
    (re.compile(r"(^|\.)patch_embed\.projection\."), r"\1patch_embed.proj."),
    (re.compile(r"\.mlp\.layers\.0\.0\."), ".mlp.fc1."),
    (re.compile(r"\.mlp\.layers\.1\."), ".mlp.fc2."),
)

_AVERAGES = re.compile(r"ema|average|swa|teacher|momentum|target|shadow", re.IGNORECASE)
"""Names of additional copies of a model that training keeps."""

_REMEDIES = (
    (
        re.compile(r"\.lora_[AB]|\.lora_(down|up)\."),
        "it contains LoRA adapters; merge them first (PEFT: merge_and_unload())",
    ),
    (re.compile(r"(^|\.)_?flat_param"), "its weights are flattened by FSDP; save a full state dict"),
    (
        re.compile(r"\.(qweight|qzeros|SCB|absmax|weight_scale|weight_scale_inv|quant_state\..*|_packed_params.*)$"),
        "its weights are quantised; import the weights from before quantisation",
    ),
    (
        re.compile(r"\.parametrizations\.|\.weight_[gv]$"),
        "its weights are parametrised; run torch.nn.utils.parametrize.remove_parametrizations and save it again",
    ),
)


@dataclass
class Layout:
    """A model found in a file.

    Attributes:
        format: its format.
        state: its tensors by the names that the format's published checkpoints use.
        outside: other tensors of the file, as `prefix*` with the reason why they are not imported.
        settings: what the training script stored with the weights, by the names of its command line.
    """

    format: Format
    state: State
    outside: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def find_layout(values: Any, file: object) -> Layout:
    """Find the model.

    Args:
        values: the content of the file.
        file: its name, for messages.

    Raises:
        CheckpointError: if there is none, or more than one.
    """
    states = [(path, tensors) for path, tensors in _states(values, (), file, []) if tensors]
    if not states:
        raise CheckpointError(f"{file} contains no tensors")
    for _, tensors in states:
        for key in tensors:
            for pattern, remedy in _REMEDIES:
                if pattern.search(key):
                    raise CheckpointError(f"{file} has {key}: {remedy}")
    found = [
        (path, _clean(tensors, file)) for path, tensors in states if any(_ANCHOR.match(_name(key)) for key in tensors)
    ]
    if not found:
        largest = max((tensors for _, tensors in states), key=len)
        raise CheckpointError(
            f"{file} is not a checkpoint of MAR, VideoMAE or Hugging Face VideoMAE; "
            f"its tensors start with {', '.join(sorted(largest)[:3])}"
        )
    names = [".".join(path) for path, _ in found]
    taken = _one_of(names, file)
    outside = {
        f"{name}.*": f"another copy of the weights; those of '{names[taken]}' were imported"
        for index, name in enumerate(names)
        if index != taken
    }
    layout = _within(found[taken][1], file)
    layout.outside |= outside
    layout.settings = _settings(values)
    return layout


def _states(
    values: Any, path: tuple[str, ...], file: object, seen: list[int]
) -> Iterator[tuple[tuple[str, ...], State]]:
    """Walk through nested dicts; each may contain tensors. One that several contain is visited for each of them."""
    if not isinstance(values, Mapping) or len(path) > 6:
        return
    seen.append(id(values))
    if len(seen) > MAX_DICTS:
        raise CheckpointError(f"{file} contains more than {MAX_DICTS} dicts in dicts; save only the weights")
    yield path, {str(key): value for key, value in values.items() if isinstance(value, Tensor)}
    for key, value in values.items():
        yield from _states(value, (*path, str(key)), file, seen)


def _name(key: str) -> str:
    key = ".".join(part for part in key.split(".") if part not in _SHELLS)
    for pattern, ours in _OTHER_NAMES:
        key = pattern.sub(ours, key)
    return key


def _clean(tensors: State, file: object) -> State:
    """Remove wrappers from all names."""
    clean: State = {}
    for key, tensor in tensors.items():
        name = _name(key)
        if name in clean:
            raise CheckpointError(f"{file} has {name} twice, once as {key}; keep one of the two models in it")
        clean[name] = tensor
    return clean


def _one_of(names: list[str], file: object) -> int:
    """Choose one of several models by their names: the one that is not an average of another."""
    if len(names) == 1:
        return 0
    plain = [index for index, name in enumerate(names) if not _AVERAGES.search(name)]
    if len(plain) != 1:
        listed = ", ".join(f"'{name}'" for name in names[:4])
        raise CheckpointError(
            f"{file} contains {counted(len(names), 'model')}, under {listed}. Save only the one to import"
        )
    return plain[0]


def _within(state: State, file: object) -> Layout:
    """Find format and prefix of a model among its tensors, and remove the prefix."""
    anchors = [match for key in state if (match := _ANCHOR.match(key))]
    anchor = anchors[_one_of([match["prefix"] for match in anchors], file)]
    place, form = anchor["prefix"], _format(state, anchor["prefix"], anchor["anchor"])
    inner = {"mar": "backbone.", "videomae_pretraining": "encoder.", "hugging_face": "videomae.", "videomae": ""}[form]
    root = place.removesuffix(inner) if inner else place
    own = {key.removeprefix(root): tensor for key, tensor in state.items() if key.startswith(root)}
    outside = {key for key in state if not key.startswith(root)}
    if form == "hugging_face" and root == place:  # only the base model
        parts = ("embeddings.", "encoder.", "layernorm.")
        own = {f"videomae.{key}" if key.startswith(parts) else key: tensor for key, tensor in own.items()}
    if form == "videomae" and root.endswith("backbone."):
        own |= _head_of_mmaction(state, root.removesuffix("backbone."), outside)
    reason = f"outside of the model, which is under '{root}'"
    return Layout(form, own, {f"{key.partition('.')[0]}*": reason for key in sorted(outside)})


def _format(state: State, place: str, anchor: str) -> Format:
    if anchor == _HF_ANCHOR:
        return "hugging_face"
    if place.endswith("backbone.") and f"{place.removesuffix('backbone.')}cls_head.head.weight" in state:
        return "mar"
    if place.endswith("encoder.") and f"{place.removesuffix('encoder.')}encoder_to_decoder.weight" in state:
        return "videomae_pretraining"
    return "videomae"


def _head_of_mmaction(state: State, root: str, outside: set[str]) -> State:
    """Return mmaction2's head, which is stored beside its backbone, by VideoMAE's name."""
    head = {}
    for name in ("weight", "bias"):
        key = f"{root}cls_head.fc_cls.{name}"
        if key in state:
            head[f"head.{name}"] = state[key]
            outside.discard(key)
    return head


def _settings(values: Any) -> dict[str, Any]:
    """Return the command line that VideoMAE's scripts store with the weights."""
    arguments = values.get("args") if isinstance(values, Mapping) else None
    if isinstance(arguments, Mapping):
        return dict(arguments)
    return dict(vars(arguments)) if type(arguments).__name__ == "Namespace" else {}
