"""Makes the pictures of the README: docs/mask.png and docs/live_view.svg.

python docs/make_pictures.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib
import numpy as np
from rich.console import Console

import mar_edge
from mar_edge.cli.live_view import LiveView
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask
from mar_edge.runtime.demo import DemoSource

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
MOMENT_S = 6.5


def mask_picture(path: Path) -> None:
    """Draw what the encoder sees of four time steps of a clip, and what it never looks at."""
    geometry = Geometry(frames=8, height_px=192, width_px=256)
    demo = DemoSource(size_px=(256, 192), fps=10, realtime=False, script=(("zoom_in", 4.0, 0.3),))
    frames = [frame.picture for frame, _ in zip(demo, range(8), strict=False)]
    mask = cell_running_mask(geometry.grid, 0.5)
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.65), layout="constrained")
    for step, axis in enumerate(axes):
        seen = mask[step].repeat(16, axis=0).repeat(16, axis=1)[..., None]
        axis.imshow(np.where(seen, frames[2 * step], np.uint8(236)))
        axis.set_title(f"time step {step + 1}", fontsize=11)
        axis.set_xticks(np.arange(-0.5, 256, 32), [])
        axis.set_yticks(np.arange(-0.5, 192, 32), [])
        axis.grid(color="white", linewidth=1)
        axis.tick_params(length=0)
    figure.savefig(path, dpi=100)


def live_view(path: Path) -> None:
    """Draw the live view as it stands while the demo pans to the right."""
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    model = mar_edge.load("egomotion")
    view = LiveView(model, "demo", console)
    demo = DemoSource(fps=30, realtime=True, loops=1)
    session = model.session(stream="demo")
    for frame in demo:
        result = session.push(frame.picture, frame.time_s, color=frame.color, arrived_s=frame.arrived_s)
        for event in result.events if result else ():
            view.add_event(event)
        view.note(result)
        if frame.time_s >= MOMENT_S:
            console.print(view.draw(frame, dropped=demo.dropped))
            break
    drawn = console.export_svg(title="mar-edge run --source demo")
    # without the fonts that rich would load from elsewhere
    path.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    mask_picture(HERE / "mask.png")
    live_view(HERE / "live_view.svg")
