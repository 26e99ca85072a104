"""Bundles: what a user deploys, a folder `NAME.mar/` with manifest.json and one ONNX graph a variant."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from mar_edge.errors import BundleError, OutputError
from mar_edge.files.atomic_folder import written_whole
from mar_edge.model_spec import PRECISIONS, GraphSpec, ModelSpec, Part

FORMAT = 2
"""2 came with precisions beside fp32; a bundle of format 1 reads as it is."""

MANIFEST = "manifest.json"
SUFFIX = ".mar"
BUILTIN = Path(__file__).parent / "builtin"


class Parity(Part):
    """How far the graph's logits lay from those of FP32, when it was made.

    Attributes:
        max_abs_error: largest difference of a logit.
        bound: largest difference that the export allowed.
        clips: clips compared.
        source: which clips they were.
        reference: what it was compared with, `torch fp32` or `graph fp32`.
        cosine: smallest cosine between the two logit vectors of a clip.
        kl: mean Kullback-Leibler divergence of its probabilities from the reference's, in nats.
        top1_agreement: share of the clips where both name the same class.
        top1: share of the clips where it names the right class; None without labels.
        reference_top1: likewise of the reference.
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


class Variant(GraphSpec):
    """One graph of a bundle.

    Attributes:
        file: its name inside the bundle.
        quantisation: how INT8 was made (method, clips, equalisation); empty for others.
        sha256: of the file.
        size_bytes: of the file.
        parity: measured at export.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx$")]
    quantisation: dict[str, Any] = Field(default_factory=dict)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0)]
    parity: Parity


class Manifest(ModelSpec):
    """What a bundle says about itself: its model, and the graphs there are.

    Attributes:
        format: version of this schema.
        variants: its graphs.
    """

    format: int
    variants: Annotated[list[Variant], Field(min_length=1)]

    @classmethod
    def of(cls, spec: ModelSpec, variants: Sequence[Variant], made: Mapping[str, object] | None = None) -> Manifest:
        """Return the manifest of a model's graphs.

        Args:
            spec: the model.
            variants: its graphs.
            made: how they were made; added to the provenance.
        """
        values = {name: getattr(spec, name) for name in ModelSpec.model_fields}
        values["provenance"] = {**spec.provenance, **(made or {})}
        return cls(format=FORMAT, variants=list(variants), **values)


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk.

    Attributes:
        path: its folder.
    """

    path: Path

    @classmethod
    def of(cls, path: Path, manifest: Manifest) -> Bundle:
        """Return something that looks like a bundle but lies elsewhere, as a checkpoint does, with this manifest."""
        bundle = cls(path)
        vars(bundle)["manifest"] = manifest  # where cached_property keeps it
        return bundle

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, checked against the schema.

        Raises:
            BundleError: if it is missing, damaged or of a newer format.
        """
        file = self.path / MANIFEST
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BundleError(
                f"{self.path} has no {MANIFEST}; a bundle is a folder that mar-edge export wrote"
            ) from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{file} cannot be read: {error}. Copy the bundle again") from error
        version = values.get("format") if isinstance(values, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise BundleError(
                f"{self.path} has format {version}, and this mar-edge reads up to {FORMAT}. "
                "Run: pip install --upgrade mar-edge"
            )
        if version not in range(1, FORMAT + 1):
            raise BundleError(f"{file} has format {version!r}, expected 1 to {FORMAT}. Export the bundle again")
        if values.pop("sha256", None) != _digest({key: value for key, value in values.items() if key != "format"}):
            raise BundleError(f"{file} is not the file that was exported (its sha256 differs). Copy the bundle again")
        try:
            return Manifest.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "manifest"
            raise BundleError(f"{file} is damaged: {where}: {first['msg']}. Copy or export the bundle again") from error

    def graph_path(self, variant: Variant) -> Path:
        """Return the path of a variant's graph."""
        return self.path / variant.file

    def verify(self) -> None:
        """Check that every graph is there and unchanged.

        Raises:
            BundleError: naming the file.
        """
        for variant in self.manifest.variants:
            file = self.graph_path(variant)
            if not file.is_file():
                raise BundleError(f"{self.path} lacks {variant.file}. Copy or export the bundle again")
            if hash_file(file) != variant.sha256:
                raise BundleError(
                    f"{file} is not the file that was exported (its sha256 differs). Copy the bundle again"
                )

    def candidates(
        self, mask: int | Literal["auto"] = "auto", precision: str = "auto", *, engine: str = "onnxruntime"
    ) -> list[Variant]:
        """Return the graphs that fit what is asked: of one mask, those placed for the engine where there are such.

        Args:
            mask: mask ratio in percent; `auto` takes the one it was trained with, or else the nearest there is.
            precision: one of `PRECISIONS`, or `auto` for all.
            engine: name of the engine that is to run it.

        Returns:
            Highest precision first.

        Raises:
            BundleError: if the bundle has no such graph.
        """
        variants = [v for v in self.manifest.variants if precision in ("auto", v.precision)]
        if mask != "auto":
            variants = [v for v in variants if v.mask == mask]
        if not variants:
            have = ", ".join(variant.title for variant in self.manifest.variants)
            raise BundleError(
                f"{self.manifest.name} has no graph with mask {mask} and precision {precision}; it has {have}"
            )
        nearest = min((v.mask for v in variants), key=lambda mask: abs(mask - self.manifest.trained_mask))
        variants = [v for v in variants if v.mask == nearest]
        suited = {(v.mask, v.precision) for v in variants if v.suits(engine)}
        variants = [v for v in variants if v.suits(engine) or (v.mask, v.precision) not in suited]
        return sorted(variants, key=lambda v: PRECISIONS.index(v.precision))

    def variant(
        self, mask: int | Literal["auto"] = "auto", precision: str = "auto", *, engine: str = "onnxruntime"
    ) -> Variant:
        """Choose a graph without measurements: the first of `candidates`.

        Raises:
            BundleError: if the bundle has no such graph.
        """
        return self.candidates(mask, precision, engine=engine)[0]


def open_bundle(name_or_path: str | Path) -> Bundle:
    """Open a bundle by built-in name or by path, and check it whole.

    Raises:
        BundleError: if there is none (with the nearest built-in name), or it is damaged.
    """
    path = Path(name_or_path)
    builtin = BUILTIN / f"{name_or_path}{SUFFIX}"
    if len(path.parts) == 1 and _is_dir(builtin):
        path = builtin
    if not _is_dir(path):
        if len(str(path)) < 200 and path.is_file():
            raise BundleError(
                f"{path} is a file; a bundle is a folder NAME{SUFFIX}. For a checkpoint run: mar-edge export {path}"
            )
        names = builtin_names()
        near = difflib.get_close_matches(str(name_or_path), names, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"built in: {', '.join(names)}"
        raise BundleError(f"no model '{str(name_or_path)[:200]}'; {hint} Run: mar-edge models")
    bundle = Bundle(path)
    bundle.verify()
    return bundle


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for the file system
        return False


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Write manifest.json with the hash of its own content."""
    text = json.dumps({"format": FORMAT, "sha256": _digest(values), **values}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def builtin_names() -> list[str]:
    """Return the names of the bundles that ship in the package."""
    return sorted(path.stem for path in BUILTIN.glob(f"*{SUFFIX}"))


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a folder to fill; it becomes the bundle when the block ends well, and vanishes when it does not.

    A bundle that is there already is replaced whole, or kept.

    Raises:
        OutputError: if the place cannot be written, or holds something that is no bundle.
    """
    if path.exists() and not (path / MANIFEST).is_file():
        raise OutputError(f"{path} is there and is no bundle; choose another name or remove it")
    with written_whole(path) as folder:
        yield folder


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal.

    Raises:
        BundleError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
