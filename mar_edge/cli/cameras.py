"""`mar-edge cameras`: the cameras that can be opened."""

from __future__ import annotations

import typer


def cameras() -> None:
    """List the cameras that can be opened, and why others cannot."""
    from mar_edge.runtime.sources.camera_list import list_cameras

    opens = False
    for camera in list_cameras():
        if camera.trouble is None:
            opens = True
            typer.echo(
                f"{camera.index}: {camera.width_px}x{camera.height_px} at {camera.fps:g} frames/s    "
                f"mar-edge run --camera {camera.index}"
            )
        else:
            typer.echo(camera.trouble.removesuffix(". Run: mar-edge cameras"), err=True)
    if not opens:
        typer.echo("no camera found. Without a camera, run: mar-edge run --source demo", err=True)
