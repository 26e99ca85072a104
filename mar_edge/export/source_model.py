"""Opens the model to export: of a checkpoint, or of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mar_edge import bundle as bundles
from mar_edge.bundle import open_bundle
from mar_edge.files.graph_files import hash_file
from mar_edge.manifest import Manifest, Variant
from mar_edge.model import checkpoint
from mar_edge.model.bundle_weights import read_bundle
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig
from mar_edge.model.deployed import check_classifier, describe
from mar_edge.model.mar import MAR
from mar_edge.model_spec import ModelSpec


@dataclass(frozen=True)
class Origin:
    """A model in torch, and its metadata.

    Attributes:
        path: of the checkpoint or bundle.
        model: with classifier, in evaluation mode.
        config: its architecture.
        info: its other metadata.
        sha256: of the checkpoint, or of the bundle's manifest.
    """

    path: Path
    model: MAR
    config: ModelConfig
    info: CheckpointInfo
    sha256: str

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's specification.

        Raises:
            CheckpointError: if the checkpoint's metadata is invalid.
        """
        return describe(self.path, self.config, self.info)

    def manifest(self, variants: list[Variant], made: dict[str, object]) -> Manifest:
        """Return the manifest of a bundle of this model.

        Args:
            variants: its graphs.
            made: how they were created; written to the provenance.
        """
        return Manifest.of(self.spec, variants, made)


def open_origin(source: str | Path) -> Origin:
    """Open a checkpoint (`.safetensors`), or a bundle by built-in name or path.

    Raises:
        CheckpointError: if the checkpoint cannot be read or has no classifier, or the bundle no fp32 graph.
        BundleError: if there is no such bundle, or it is damaged.
    """
    path = Path(source)
    if path.suffix == bundles.SUFFIX or not path.suffix:
        bundle = open_bundle(source)
        model, config, info = read_bundle(bundle)
        return Origin(bundle.path, model.eval(), config, info, hash_file(bundle.path / bundles.MANIFEST))
    model, config, info = checkpoint.load(path)
    check_classifier(path, config)
    return Origin(path, model.eval(), config, info, hash_file(path))
