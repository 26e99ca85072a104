"""Bundles: deployable models, a folder `NAME.mar/` with manifest.json and one ONNX graph per variant."""

from __future__ import annotations

import difflib
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from mar_edge.errors import BundleError
from mar_edge.files.atomic_folder import written_whole
from mar_edge.files.graph_files import PLAIN_NAME, hash_all, weight_names
from mar_edge.files.graph_files import hash_file as hash_file
from mar_edge.files.ownership import FolderKind
from mar_edge.files.regular_file import read_text
from mar_edge.model_spec import PRECISIONS, GraphSpec, ModelSpec, Part

FORMAT = 3
"""2 added precisions other than fp32, 3 a schema id and weights beside a graph; older bundles can be read unchanged."""

SCHEMA = "mar-edge/bundle"
"""Marks a manifest of mar-edge; those of format 1 and 2 are recognised only by the hash of their content."""

MANIFEST = "manifest.json"
SUFFIX = ".mar"
BUILTIN = Path(__file__).parent / "builtin"


class Parity(Part):
    """How far the graph's logits differed from those of FP32 when it was created.

    Attributes:
        max_abs_error: largest difference of a logit.
        bound: largest difference that the export allowed.
        clips: clips compared.
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
    variants: Annotated[list[Variant], Field(min_length=1)]

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


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk.

    Attributes:
        path: its folder.
    """

    path: Path

    @classmethod
    def of(cls, path: Path, manifest: Manifest) -> Bundle:
        """Return a bundle with this manifest for a model stored elsewhere, such as a checkpoint."""
        bundle = cls(path)
        vars(bundle)["manifest"] = manifest  # where cached_property stores it
        return bundle

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, checked against the schema.

        Raises:
            BundleError: if it is missing, damaged or of a newer format.
        """
        file = self.path / MANIFEST
        try:
            values = json.loads(read_text(file))
        except FileNotFoundError as error:
            raise BundleError(
                f"{self.path} has no {MANIFEST}; a bundle is a folder written by mar-edge export"
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
        if not _is_whole(values):
            raise BundleError(f"{file} is not the file that was exported (its sha256 differs). Copy the bundle again")
        try:
            return Manifest.model_validate({key: values[key] for key in values if key not in ("schema", "sha256")})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "manifest"
            raise BundleError(f"{file} is damaged: {where}: {first['msg']}. Copy or export the bundle again") from error

    def graph_path(self, variant: Variant) -> Path:
        """Return the path of a variant's graph."""
        return self.path / variant.file

    def verify(self) -> None:
        """Check that every graph and its weights exist and are unchanged, and that no graph reads other files.

        Raises:
            BundleError: if not; the message names the file.
        """
        for variant in self.manifest.variants:
            self._check(variant.file, variant.sha256)
            listed = {part.file for part in variant.weights}
            for name in weight_names(self.graph_path(variant)):
                if name not in listed:
                    raise BundleError(
                        f"{self.graph_path(variant)} stores weights in '{name}', which {MANIFEST} does not list. "
                        "Export the bundle again"
                    )
            for part in variant.weights:
                self._check(part.file, part.sha256)

    def _check(self, name: str, sha256: str) -> None:
        file = self.path / name
        if not file.is_file():
            raise BundleError(f"{self.path} lacks {name}. Copy or export the bundle again")
        if hash_file(file) != sha256:
            raise BundleError(f"{file} is not the file that was exported (its sha256 differs). Copy the bundle again")

    def candidates(
        self, mask: int | Literal["auto"] = "auto", precision: str = "auto", *, engine: str = "onnxruntime"
    ) -> list[Variant]:
        """Return the graphs that match the request: of one mask, those placed for the engine if there are any.

        Args:
            mask: mask ratio in percent; `auto` uses the one it was trained with, otherwise the nearest available.
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
    """Open a bundle by built-in name or by path, and check all of it.

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
                f"{path} is a file; a bundle is a folder NAME{SUFFIX}. "
                f"For a checkpoint run: mar-edge export {shlex.quote(str(path))} -o NAME{SUFFIX}"
            )
        names = builtin_names()
        near = difflib.get_close_matches(str(name_or_path), names, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"built in: {', '.join(names)}"
        raise BundleError(f"unknown model '{str(name_or_path)[:200]}';  {hint} Run: mar-edge models")
    bundle = Bundle(path)
    bundle.verify()
    return bundle


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for the file system
        return False


def write_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Write manifest.json with its schema and the hash of its own content.

    Weights beside the graphs are looked up here, so that none is ever left out.

    Raises:
        BundleError: if a graph cannot be read.
    """
    content = {key: value for key, value in values.items() if key not in ("schema", "sha256")}
    content["variants"] = [_with_weights(folder, variant) for variant in values["variants"]]
    text = json.dumps({"schema": SCHEMA, "format": FORMAT, "sha256": _digest(content), **content}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _with_weights(folder: Path, variant: Mapping[str, Any]) -> dict[str, Any]:
    """Return a graph's manifest entry, with the weights that are beside it."""
    graph = folder / variant["file"]
    rest = {key: value for key, value in variant.items() if key != "weights"}
    names = weight_names(graph) if graph.is_file() and graph.parent == folder else []
    # a link or a file elsewhere is not listed, and is therefore rejected when the bundle is opened
    files = [folder / name for name in names if Path(name).name == name and not (folder / name).is_symlink()]
    weights = [
        {"file": file.name, "sha256": hash_file(file), "size_bytes": file.stat().st_size}
        for file in files
        if file.is_file()
    ]
    return {**rest, "size_bytes": graph.stat().st_size, "weights": weights} if weights else rest


def _is_whole(values: Mapping[str, Any]) -> bool:
    """Return whether a manifest is unchanged, by the hash of its content."""
    return values.get("sha256") == _digest(values)


def _digest(values: Mapping[str, Any]) -> str:
    content = {key: value for key, value in values.items() if key not in ("schema", "format", "sha256")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def builtin_names() -> list[str]:
    """Return the names of the bundles that ship in the package."""
    return sorted(path.stem for path in BUILTIN.glob(f"*{SUFFIX}"))


def _contents(folder: Path) -> set[str] | None:
    """Return the files of a bundle, relative to it; None if its manifest is not of mar-edge."""
    try:
        values = json.loads(read_text(folder / MANIFEST))
        if values.get("schema") != SCHEMA and not _is_whole(values):
            return None
        names = {MANIFEST}
        for variant in values["variants"]:
            names |= {variant["file"], *(part["file"] for part in variant.get("weights", ()))}
        return names
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


BUNDLE = FolderKind("bundle", MANIFEST, _contents)


@contextmanager
def writing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a folder to fill; it becomes the bundle when the block succeeds, and is removed otherwise.

    An existing bundle is replaced completely, or kept.

    Args:
        path: path of the bundle.
        force: replace other content as well, see `files.ownership`.

    Raises:
        OutputError: if the path cannot be written, or contains something that is not a bundle.
    """
    with written_whole(path, BUNDLE, force=force) as folder:
        yield folder
