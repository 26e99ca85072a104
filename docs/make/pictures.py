"""Makes the pictures of the README: docs/pictures/mask.png and docs/pictures/live_view.svg.

python docs/make/pictures.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import mar_edge
from mar_edge.cli.views.live_view import LiveView
from mar_edge.console import Console
from mar_edge.export.mask_picture import save_mask
from mar_edge.geometry import Geometry

PICTURES = Path(__file__).parent.parent / "pictures"
MOMENT_S = 6.5


def live_view(path: Path) -> None:
    """Draw the live view as it stands while the demo pans to the right."""
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    model = mar_edge.load("egomotion")
    variant = model.variant
    foot = f"{model.engine.name}  mask {variant.mask} %  {variant.precision}  {variant.gmacs:.2f} GMACs"
    view = LiveView(f"mar-edge  {model.spec.name}  demo", foot, console)
    with mar_edge.Runner() as runner:
        runner.add("demo", model, max_s=MOMENT_S)
        for record in runner:
            if isinstance(record, (mar_edge.Prediction, mar_edge.EventStarted, mar_edge.EventEnded)):
                view.note(record)
                shown = view.picture(runner.status())
    console.print(shown)
    drawn = console.export_svg(title="mar-edge run --source demo")
    # without the fonts that rich would load from elsewhere
    path.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    geometry = Geometry(frames=8, height_px=192, width_px=256)
    save_mask(PICTURES / "mask.png", geometry, 50, title="What the encoder sees of a clip")
    live_view(PICTURES / "live_view.svg")
