"""Sources by what a person types."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.source import Source

MAX_CAMERAS = 1000


def open_source(spec: str | int | Path | Source) -> Source:
    """Return the source that a person named.

    Args:
        spec: a camera index (`0` or `"0"`), `"demo"` (with options, see `DemoSource.parse`), a file's path, or
            an object that is a source already.

    Raises:
        SourceError: if it names nothing that can be opened.
    """
    if isinstance(spec, int) or (isinstance(spec, str) and spec.isascii() and spec.isdigit()):
        if not 0 <= int(spec) < MAX_CAMERAS:
            raise SourceError(f"no camera {spec}; cameras are counted from 0. Run: mar-edge cameras")
        return CameraSource(int(spec))
    if isinstance(spec, str):
        if spec == "demo" or spec.startswith("demo:"):
            return DemoSource.parse(spec)
        if spec.startswith("file://"):
            return FileSource(Path(url2pathname(urlparse(spec).path)))
        if "://" in spec:
            raise SourceError(f"{spec}: network streams are not supported yet; give a camera index, a file or 'demo'")
        return FileSource(Path(spec))
    if isinstance(spec, Path):
        return FileSource(spec)
    if not all(hasattr(spec, name) for name in ("name", "warnings", "__enter__", "__iter__")):
        raise SourceError(f"{type(spec).__name__} is no source; give a camera index, a path, 'demo' or a source object")
    return spec
