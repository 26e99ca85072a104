"""Imports a checkpoint: reads it, detects its format, and loads it into a mar-edge model."""

from __future__ import annotations

from pathlib import Path

from mar_edge.errors import CheckpointError, GeometryError
from mar_edge.model.config import ModelConfig, build, shapes
from mar_edge.model.importing import weight_files
from mar_edge.model.importing.clip_size import told
from mar_edge.model.importing.foreign import Foreign
from mar_edge.model.importing.hugging_face import take_hugging_face
from mar_edge.model.importing.hugging_face_config import FILE, VideoMaeConfig, labels_of, read_config
from mar_edge.model.importing.imported import Asked, Heads, Imported
from mar_edge.model.importing.layout import Layout, State, find_layout
from mar_edge.model.importing.official_mar import take_mar
from mar_edge.model.importing.official_videomae import take_classifier, take_pretraining
from mar_edge.model.importing.preprocessor_config import check_preprocessing
from mar_edge.model.mar import MAR
from mar_edge.model.stored_shapes import check_shapes

_OFFICIAL = {"mar": take_mar, "videomae": take_classifier, "videomae_pretraining": take_pretraining}


def import_checkpoint(
    path: Path, *, frames: int | None = None, size_px: int | None = None, heads: Heads | None = None
) -> Imported:
    """Import a foreign checkpoint; its format is detected from its tensors.

    Args:
        path: a file (`.safetensors`, `.pth`, `.bin`, `.ckpt` ...), a shard or index of shards, or a folder of Hugging Face.
        frames: frames in a clip, if the file does not state them; default 16.
        size_px: side of a clip, if the file does not state it; default 224.
        heads: numbers of attention heads, if the file does not state them and they differ from published models.

    Raises:
        CheckpointError: if the file cannot be read, has an unknown format, lacks a tensor, would compute something else
            in our model, or differs from the arguments.
    """
    asked = Asked(frames=frames, size_px=size_px, heads=heads or Heads())
    files = weight_files.locate(path)
    file = files[0] if len(files) == 1 else path
    folder = files[0].parent
    layout = find_layout(weight_files.read(files), file)
    foreign = Foreign(layout.state)
    hf = read_config(folder / FILE) if layout.format == "hugging_face" else None
    try:
        form, config = _take(foreign, layout, hf, asked, folder)
    except GeometryError as error:
        raise CheckpointError(f"{file}: {error}. Give the clip's size with --frames and --size") from error
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except (IndexError, RuntimeError, ValueError, TypeError) as error:  # tensors of unexpected shapes
        raise CheckpointError(f"{file} has tensors of the wrong shape: {str(error).splitlines()[0]}") from error
    if foreign.missing:
        more = len(foreign.missing) - 5
        listed = ", ".join(foreign.missing[:5]) + (f" and {more} more" if more > 0 else "")
        raise CheckpointError(f"{file} looks like {form}, but lacks {listed}; the file is incomplete")
    model = _fill(config, foreign.out, file)
    imported = Imported(model, config, form, unused=foreign.unused | layout.outside, notes=foreign.notes)
    if hf is not None:
        imported.labels, note = labels_of(hf, config.classes)
        imported.notes += [note] if note else []
        check_preprocessing(folder, imported)
    return imported


def _take(
    foreign: Foreign, layout: Layout, hf: VideoMaeConfig | None, asked: Asked, folder: Path
) -> tuple[str, ModelConfig]:
    if hf is not None:
        return take_hugging_face(foreign, hf, asked)
    return _OFFICIAL[layout.format](foreign, asked, told(layout.settings, folder))


def _fill(config: ModelConfig, state: State, file: Path) -> MAR:
    wanted = shapes(ModelConfig.from_dict(config.to_dict()))
    for key, tensor in state.items():
        if key.endswith(".positions") and tensor.dim() and tuple(tensor.shape) != wanted.get(key):
            raise CheckpointError(
                f"{file} was made for {tensor.shape[0]} tokens, and this clip has {config.geometry.tokens}; "
                "give its size with --frames and --size"
            )
    positions = {key: shape for key, shape in wanted.items() if key.endswith("positions")}
    check_shapes(config, positions | {key: tuple(tensor.shape) for key, tensor in state.items()}, file)
    model = build(config)
    for key, tensor in model.state_dict().items():
        if key.endswith("positions"):
            state.setdefault(key, tensor)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{file} does not fit the model: {str(error).splitlines()[-1].strip()}") from error
    return model.eval()
