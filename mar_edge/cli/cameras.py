"""`mar-edge cameras`: what can be opened."""

from __future__ import annotations

import typer


def cameras() -> None:
    """List the cameras that open."""
    from mar_edge.runtime.sources.camera import list_cameras

    found = list_cameras()
    for index, width, height, fps in found:
        typer.echo(f"{index}: {width}x{height} at {fps:g} frames/s    mar-edge run --camera {index}")
    if not found:
        typer.echo("no camera found. Without one, run: mar-edge run --source demo", err=True)
