"""The description of a bundle, `manifest.json`: its schema, and how it is read and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from mar_edge.errors import BundleError
from mar_edge.files.graph_files import PLAIN_NAME, hash_all
from mar_edge.files.json_text import parse_json
from mar_edge.model_spec import GraphSpec, ModelSpec, Part

FORMAT = 5
"""2 added precisions other than fp32, 3 a schema id and weights beside a graph, 4 int8-bf16 and streaming models, 5 `events`
and `clip_answer`; older bundles can be read unchanged."""

MAX_VARIANTS = 256
"""Most graphs of a bundle; four masks in five precisions for three placements are 60."""

SCHEMA = "mar-edge/bundle"
"""Marks a manifest of mar-edge; those of format 1 and 2 are recognised only by the hash of their content."""


class Parity(Part):
    """How far the graph's logits differed from those of FP32 when it was created.

    Attributes:
        max_abs_error: largest difference of a logit.
        bound: largest difference that the export allowed.
        clips: clips compared; answers of a streaming model, one after every time step.
        source: which clips they were.
        reference: the reference of the comparison, `torch fp32` or `graph fp32`.
        cosine: smallest cosine between the two logit vectors of a clip.
        kl: mean Kullback-Leibler divergence of its probabilities from the reference's, in nats.
        top1_agreement: share of the clips for which both predict the same class.
        top1: share of the clips for which it predicts the right class; None without labels.
        reference_top1: the same for the reference.
    """

    max_abs_error: Annotated[float, Field(ge=0)]
    bound: Annotated[float, Field(gt=0)]
    clips: Annotated[int, Field(gt=0)]
    source: str
    reference: str = "torch fp32"
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    kl: Annotated[float, Field(ge=0)] | None = None
    top1_agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    top1: Annotated[float, Field(ge=0, le=1)] | None = None
    reference_top1: Annotated[float, Field(ge=0, le=1)] | None = None


class WeightFile(Part):
    """A file beside a graph that contains its weights.

    Attributes:
        file: its name inside the bundle, as referenced by the graph.
        sha256: of the file.
        size_bytes: of the file.
    """

    file: Annotated[str, Field(pattern=PLAIN_NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0)]


class Variant(GraphSpec):
    """One graph of a bundle.

    Attributes:
        file: its name inside the bundle.
        quantisation: how INT8 was created (method, clips, equalisation); empty for others.
        sha256: of the file.
        size_bytes: of the file.
        weights: files beside it that contain its weights; none unless it exceeds the size limit of one file.
        parity: measured at export.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx$")]
    quantisation: dict[str, Any] = Field(default_factory=dict)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0)]
    weights: tuple[WeightFile, ...] = ()
    parity: Parity

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all its files."""
        return (self.file, *(part.file for part in self.weights))

    @property
    def total_bytes(self) -> int:
        """Size of all its files."""
        return self.size_bytes + sum(part.size_bytes for part in self.weights)

    @property
    def digest(self) -> str:
        """Identifies the graph and its weights; the file's sha256 if it contains them itself."""
        return hash_all(self.sha256, {part.file: part.sha256 for part in self.weights})


class Manifest(ModelSpec):
    """The description of a bundle: its model, and its graphs.

    Attributes:
        format: version of this schema.
        variants: its graphs.
    """

    format: int
    variants: Annotated[list[Variant], Field(min_length=1, max_length=MAX_VARIANTS)]

    @model_validator(mode="after")
    def _distinct(self) -> Manifest:
        files = [name.casefold() for variant in self.variants for name in variant.files]
        kinds = [variant.title for variant in self.variants]
        for what, names in (("the file", files), ("the graph", kinds)):
            twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
            if twice is not None:
                raise ValueError(f"{what} {twice} is listed twice")
        return self

    @classmethod
    def of(cls, spec: ModelSpec, variants: Sequence[Variant], made: Mapping[str, object] | None = None) -> Manifest:
        """Return the manifest of a model's graphs.

        Args:
            spec: the model.
            variants: its graphs.
            made: how they were created; added to the provenance.
        """
        values = {name: getattr(spec, name) for name in ModelSpec.model_fields}
        values["provenance"] = {**spec.provenance, **(made or {})}
        return cls(format=FORMAT, variants=list(variants), **values)


def parse_manifest(content: bytes, file: Path) -> Manifest:
    """Return a manifest, checked against its hash and the schema.

    Args:
        content: of the file.
        file: its path, for messages.

    Raises:
        BundleError: if it is damaged or of a newer format.
    """
    try:
        values = parse_json(content)
    except ValueError as error:
        raise BundleError(f"{file} cannot be read: {error}. Copy the bundle again") from error
    version = values.get("format") if isinstance(values, dict) else None
    if type(version) is int and version > FORMAT:
        raise BundleError(
            f"{file.parent} has format {version}, and this mar-edge reads up to {FORMAT}. "
            "Run: pip install --upgrade mar-edge"
        )
    if type(version) is not int or version < 1:
        raise BundleError(f"{file} has format {ascii(version)[:60]}, expected 1 to {FORMAT}. Export the bundle again")
    if not is_whole(values):
        raise BundleError(f"{file} is not the file that was exported (its sha256 differs). Copy the bundle again")
    try:
        return Manifest.model_validate({key: values[key] for key in values if key not in ("schema", "sha256")})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "manifest"
        raise BundleError(f"{file} is damaged: {where}: {first['msg']}. Copy or export the bundle again") from error


def is_whole(values: Mapping[str, Any]) -> bool:
    """Return whether a manifest is unchanged, by the hash of its content."""
    return values.get("sha256") == digest_of(values)


def digest_of(values: Mapping[str, Any]) -> str:
    """Return the hash of a manifest's content."""
    content = {key: value for key, value in values.items() if key not in ("schema", "format", "sha256")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
