"""`mar-edge inspect`: a bundle as a card, its mask as a picture, a graph block by block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mar_edge.cli.options import ForceOption, MaskOption, PrecisionOption, mask_percent

if TYPE_CHECKING:
    from mar_edge.bundle import Bundle
    from mar_edge.console import Console
    from mar_edge.manifest import Variant

PlacementChoice = Literal["cpu", "tensorrt"]
ENGINE_OF = {"cpu": "onnxruntime", "tensorrt": "tensorrt"}
"""An engine that the graphs of a placement are for."""


def inspect(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A built-in model or a bundle's folder.")],
    layers: Annotated[
        bool, typer.Option("--layers", help="Show one graph block by block: operators, precision, work, fusion.")
    ] = False,
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    placement: Annotated[
        PlacementChoice,
        typer.Option(
            "--placement",
            help="Which int8 graph, if there is one for CPUs and one for TensorRT; cpu runs without a GPU.",
        ),
    ] = "cpu",
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write the mask as a picture.")] = None,
    force: ForceOption = False,
) -> None:
    """Show a bundle: labels, geometry, variants with their work and parity, provenance, and its mask.

    --mask, --precision and --placement choose the graph of --layers and of the drawn mask.
    """
    from mar_edge.bundle import open_bundle
    from mar_edge.cli.views.bundle_card import print_card, print_mask, print_unlisted, print_variants
    from mar_edge.console import Console

    if layers:
        from mar_edge.extras import require

        require("onnx", "export")
    if png is not None:
        from mar_edge.export.mask_picture import check_picture_path, save_mask

        check_picture_path(png, force=force)
    opened = open_bundle(bundle)
    variant = opened.variant(mask_percent(mask), precision, engine=ENGINE_OF[placement])
    console = Console(stderr=False)
    if layers:
        _layers(opened, variant, console)
    else:
        print_card(opened.manifest, console)
        print_variants(opened.manifest, console)
        print_mask(opened.manifest, variant.mask, console)
        print_unlisted(opened.unlisted(), console)
    if png is not None:
        save_mask(png, opened.manifest.geometry, variant.mask, title=opened.manifest.name, force=force)
        Console().say(f"{png}: mask {variant.mask} %")


def _layers(bundle: Bundle, variant: Variant, console: Console) -> None:
    from mar_edge.cli.views.layer_table import print_layers
    from mar_edge.export.layer_report import report

    others = [
        other.placement
        for other in bundle.manifest.variants
        if (other.mask, other.precision) == (variant.mask, variant.precision) and other.placement != variant.placement
    ]
    hint = f"; --placement {others[0]} shows the one for {others[0]}" if others else ""
    console.say(f"{bundle.manifest.name}, {variant.title}: {variant.file}{hint}")
    print_layers(report(bundle.graph_path(variant)), console)
