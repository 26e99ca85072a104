"""`mar-edge cameras`: the cameras that can be opened."""

from __future__ import annotations

from mar_edge.cli.standard_streams import print_line


def cameras() -> None:
    """List the cameras that can be opened, and why others cannot."""
    from mar_edge.runtime.sources.camera_list import list_cameras

    opens = False
    for camera in list_cameras():
        if camera.trouble is None:
            opens = True
            print_line(
                f"{camera.index}: {camera.width_px}x{camera.height_px} at {camera.fps:g} frames/s    "
                f"mar-edge run --camera {camera.index}",
                stdout=True,
            )
        else:
            print_line(camera.trouble.removesuffix(". Run: mar-edge cameras"))
    if not opens:
        print_line("no camera found. Without a camera, run: mar-edge run --source demo")
