"""The bundle that an export replaces, if it is the export's own source: no graph of it may be lost without a word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mar_edge.bundle import BUNDLE, Bundle
from mar_edge.errors import OutputError
from mar_edge.files.ownership import check_not_input
from mar_edge.manifest import Variant

Key = tuple[int, str, str]
"""Mask, precision and placement of a graph."""


@dataclass(frozen=True)
class Replaced:
    """The graphs of an export's source that its output replaces.

    Attributes:
        out: path of the output.
        graphs: those that must not be lost; none if the output is not the source.
    """

    out: Path
    graphs: tuple[Variant, ...]

    @classmethod
    def of(cls, source: Path, out: Path, *, force: bool) -> Replaced:
        """Compare source and output, through links, too.

        Args:
            source: a bundle or a checkpoint.
            out: path of the output.
            force: allow graphs to be lost.

        Raises:
            OutputError: if the output would replace a checkpoint, or a folder that contains the source.
        """
        if not (source / BUNDLE.sign).is_file() or not out.exists() or not out.samefile(source):
            check_not_input(out, [source])
            return cls(out, ())
        return cls(out, () if force else tuple(Bundle(source).manifest.variants))

    def check(self, kept: Iterable[Key], failures: Sequence[str] = ()) -> None:
        """Check that every graph is written again.

        Args:
            kept: the graphs that are written.
            failures: why others were not.

        Raises:
            OutputError: naming those that would be lost.
        """
        again = set(kept)
        lost = [graph.title for graph in self.graphs if (graph.mask, graph.precision, graph.placement) not in again]
        if lost:
            why = f" ({'; '.join(failures)})" if failures else ""
            raise OutputError(
                f"{self.out} is the source itself, and would lose {', '.join(lost)}{why}. Choose another folder with -o, "
                "export these as well with --mask and --precision, or give them up with --force"
            )
