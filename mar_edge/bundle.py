"""Bundles: deployable models, a folder `NAME.mar/` with manifest.json and one ONNX graph per variant."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mar_edge.errors import BundleError
from mar_edge.files.at_rest import read_at_rest
from mar_edge.files.atomic_file import write_whole
from mar_edge.files.atomic_folder import written_whole
from mar_edge.files.checked_file import CheckedFile
from mar_edge.files.graph_files import hash_file, weight_names
from mar_edge.files.graph_operators import check_operators
from mar_edge.files.json_text import parse_json
from mar_edge.files.ownership import FolderKind
from mar_edge.files.regular_file import read_limited, why_special
from mar_edge.manifest import FORMAT, SCHEMA, Manifest, Variant, digest_of, is_whole, parse_manifest
from mar_edge.model_spec import PRECISIONS

MANIFEST = "manifest.json"
SUFFIX = ".mar"
BUILTIN = Path(__file__).parent / "builtin"


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk.

    Attributes:
        path: its folder.
    """

    path: Path
    _checked: dict[str, CheckedFile] = field(default_factory=dict, init=False, repr=False, compare=False)

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
            content = read_limited(file)
        except FileNotFoundError as error:
            raise BundleError(
                f"{self.path} has no {MANIFEST}; a bundle is a folder written by mar-edge export"
            ) from error
        except OSError as error:
            raise BundleError(f"{file} cannot be read: {error.strerror}. Copy the bundle again") from error
        return parse_manifest(content, file)

    def graph_path(self, variant: Variant) -> Path:
        """Return the path of a variant's graph."""
        return self.path / variant.file

    def verify(self) -> None:
        """Check that every graph and its weights exist and are unchanged, and that no graph reads other files.

        Raises:
            BundleError: if not, or if a graph has an operator that could take any memory or time; the message names the file.
        """
        for variant in self.manifest.variants:
            self._check(variant.file, variant.sha256)
            check_operators(self.graph_path(variant))
            listed = {part.file for part in variant.weights}
            for name in weight_names(self.graph_path(variant)):
                if name not in listed:
                    raise BundleError(
                        f"{self.graph_path(variant)} stores weights in '{name}', which {MANIFEST} does not list. "
                        "Export the bundle again"
                    )
            for part in variant.weights:
                self._check(part.file, part.sha256)

    def check_unchanged(self, variant: Variant) -> None:
        """Check that a graph and its weights are still what the manifest states, after they have been loaded.

        Engines read them by their paths, so a file could be exchanged after its hash was checked.

        Raises:
            BundleError: if one was changed or replaced since `verify`, or without that does not have its hash.
        """
        for name, sha256 in (
            (variant.file, variant.sha256),
            *((part.file, part.sha256) for part in variant.weights),
        ):
            checked = self._checked.get(name)
            if checked is None:
                self._check(name, sha256)
                continue
            try:
                unchanged = checked.is_unchanged()
            except OSError:
                unchanged = False
            if not unchanged:
                raise BundleError(f"{self.path / name} was changed while it was loaded. Load the bundle again")

    def unlisted(self) -> list[str]:
        """Return the names in the bundle's folder that its manifest does not list; they are never read."""
        listed = {MANIFEST, *(name for variant in self.manifest.variants for name in variant.files)}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in listed)

    def _check(self, name: str, sha256: str) -> None:
        file = self.path / name
        if not file.is_file():
            raise BundleError(f"{self.path} lacks {name}. Copy or export the bundle again")
        try:
            checked = CheckedFile.read(file)
        except OSError as error:
            raise BundleError(f"{file} cannot be read: {error.strerror}") from error
        if checked.sha256 != sha256:
            raise BundleError(f"{file} is not the file that was exported (its sha256 differs). Copy the bundle again")
        self._checked[name] = checked

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
        variants = [v for v in variants if v.may_run(engine)] or variants
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
        if len(str(path)) < 200 and (why := why_special(path)):
            raise BundleError(f"{path} {why}; a bundle is a folder NAME{SUFFIX}")
        if len(path.parts) > 1 or path.suffix == SUFFIX:
            raise BundleError(
                f"unknown model '{str(name_or_path)[:200]}': there is no such folder. Run: mar-edge models"
            )
        names = builtin_names()
        near = difflib.get_close_matches(str(name_or_path), names, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"built in: {', '.join(names)}"
        raise BundleError(f"unknown model '{str(name_or_path)[:200]}'; {hint} Run: mar-edge models")
    return read_at_rest(path, lambda: _verified(path))


def _verified(path: Path) -> Bundle:
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
    (folder / MANIFEST).write_text(_manifest_text(folder, values), encoding="utf-8")


def replace_manifest(bundle: Bundle, changes: Mapping[str, Any]) -> Bundle:
    """Replace manifest.json of a bundle that is in use: a reader sees the old one or the new one, and the same graphs.

    Args:
        bundle: the bundle.
        changes: new values of some keys of its manifest, as JSON.

    Returns:
        The new bundle, checked.

    Raises:
        BundleError: if the new manifest is invalid, or a graph cannot be read.
        OutputError: if it cannot be written.
    """
    values = {**bundle.manifest.model_dump(mode="json", exclude={"format"}), **changes}
    text = _manifest_text(bundle.path, values).encode()
    parse_manifest(text, bundle.path / MANIFEST)
    write_whole(bundle.path / MANIFEST, text, advice="Make the folder writable, or copy the bundle to one that is")
    return open_bundle(bundle.path)


def _manifest_text(folder: Path, values: Mapping[str, Any]) -> str:
    content = {key: value for key, value in values.items() if key not in ("schema", "sha256")}
    content["variants"] = [_with_weights(folder, variant) for variant in values["variants"]]
    text = json.dumps({"schema": SCHEMA, "format": FORMAT, "sha256": digest_of(content), **content}, indent=2)
    return f"{text}\n"


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


def builtin_names() -> list[str]:
    """Return the names of the bundles that ship in the package."""
    return sorted(path.stem for path in BUILTIN.glob(f"*{SUFFIX}"))


def _contents(folder: Path) -> set[str] | None:
    """Return the files of a bundle, relative to it; None if its manifest is not of mar-edge."""
    try:
        values = parse_json(read_limited(folder / MANIFEST))
        if values.get("schema") != SCHEMA and not is_whole(values):
            return None
        names = {MANIFEST}
        for variant in values["variants"]:
            names |= {variant["file"], *(part["file"] for part in variant.get("weights", ()))}
        return names
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
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
