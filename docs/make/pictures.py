"""Makes the drawn pictures: docs/pictures/mask.png, streaming.png and live_view.svg.

python docs/make/pictures.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mar_edge
from mar_edge.cli.views.live_view import LiveView
from mar_edge.console import Console
from mar_edge.evaluation.plot_style import BLUE, GREY, ORANGE, new_figure
from mar_edge.export.mask_picture import save_mask
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask

PICTURES = Path(__file__).parent.parent / "pictures"
MOMENT_S = 6.5

NEWEST, BAND = 15, 8
"""The time step that is shown as it is computed, and how many an answer sees."""

OLDEST = NEWEST - BAND + 1

INK, HIDDEN = "#242b35", 230

SIDE = 112
MIDDLES = [80 + 130 * column for column in range(BAND + 1)]
"""Width and middles of the columns, pixels."""


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


def streaming(path: Path) -> None:
    """Draw what a streaming model keeps of the steps before, and what it computes of the newest one."""
    canvas = Canvas(1200, 570)
    _draw_steps(canvas)
    _draw_state(canvas)
    _draw_network(canvas)
    canvas.write(
        600,
        540,
        "The mask shows half of each step's tubelets and moves on with every step, so all places are seen in turn; "
        "the grey ones are never computed.",
        GREY,
    )
    canvas.save(path)


class Canvas:
    """A figure that is drawn on in pixels, from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self._figure = new_figure(width / 100, height / 100)
        self._figure.set_layout_engine("none")
        self.axes = self._figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")

    def write(self, x: float, y: float, text: str, color: str = INK, *, size: float = 10.5) -> None:
        """Write centred text."""
        self.axes.text(x, y, text, color=color, fontsize=size, ha="center", va="center", linespacing=1.35)

    def title(self, x: float, y: float, text: str, color: str) -> None:
        """Write a centred title."""
        self.axes.text(x, y, text, color=color, fontsize=13, weight="bold", ha="center", va="center")

    def box(self, x: float, y: float, width: float, height: float, *, edge: str, fill: str, line: str = "-") -> None:
        """Draw a box with round corners."""
        from matplotlib.patches import FancyBboxPatch

        style = "round,pad=0,rounding_size=8"
        box = FancyBboxPatch((x, y), width, height, style, edgecolor=edge, facecolor=fill, linestyle=line, linewidth=2)
        self.axes.add_patch(box)

    def arrow(self, *corners: tuple[float, float], color: str) -> None:
        """Draw an arrow through some corners."""
        from matplotlib.patches import FancyArrowPatch

        before, end = corners[-2:]
        self.axes.plot(*zip(*corners[:-1], strict=True), color=color, linewidth=2.4)
        head = FancyArrowPatch(
            before, end, arrowstyle="-|>", mutation_scale=20, shrinkA=0, shrinkB=0, color=color, linewidth=2.4
        )
        self.axes.add_patch(head)

    def save(self, path: Path) -> None:
        """Write a PNG."""
        self._figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": "docs/make/pictures.py"})


def _draw_steps(canvas: Canvas) -> None:
    """Draw the time steps: one that is not seen any more, those that are kept, and the newest."""
    canvas.write(MIDDLES[0], 36, "not seen any more", GREY)
    known = f"the {BAND - 1} steps before: computed once, never again"
    canvas.title((MIDDLES[1] + MIDDLES[-2]) / 2, 36, known, BLUE)
    canvas.title(MIDDLES[-1], 36, "new", ORANGE)
    top, bottom = 60, 60 + SIDE * 0.75
    for step, x, panel in zip(range(OLDEST - 1, NEWEST + 1), MIDDLES, _masked_steps(BAND + 1), strict=True):
        color = GREY if step < OLDEST else BLUE if step < NEWEST else ORANGE
        left, right = x - SIDE / 2, x + SIDE / 2
        extent = (left, right, bottom, top)
        canvas.axes.imshow(panel, extent=extent, aspect="auto", alpha=0.3 if step < OLDEST else 1)
        outline = [left, right, right, left, left], [top, top, bottom, bottom, top]
        canvas.axes.plot(*outline, color=color, linewidth=3.5 if step == NEWEST else 1.5)
        canvas.write(x, 164, f"time step {step}", color)


def _draw_state(canvas: Canvas) -> None:
    """Draw the slots as they are before the newest step is written: over the oldest one."""
    name = "state of the stream: keys and values of these steps, in slots of any order"
    canvas.title((MIDDLES[0] + MIDDLES[BAND - 2]) / 2, 244, name, BLUE)
    for step in range(OLDEST, NEWEST):
        slot = step % (BAND - 1)
        x = MIDDLES[slot]
        edge, line = (ORANGE, "--") if step == OLDEST else (BLUE, "-")
        canvas.box(x - SIDE / 2, 270, SIDE, 84, edge=edge, fill="#e8f0fa", line=line)
        canvas.write(x, 294, f"slot {slot}", GREY, size=9.5)
        canvas.title(x, 324, f"step {step}", BLUE)


def _draw_network(canvas: Canvas) -> None:
    """Draw what runs, what it reads, and where its results go."""
    left, right, top, bottom = MIDDLES[-2] - 40, MIDDLES[-1] + SIDE / 2, 220, 404
    x, overwritten = (left + right) / 2, MIDDLES[OLDEST % (BAND - 1)]
    canvas.box(left, top, right - left, bottom - top, edge=ORANGE, fill="#fdf3e4")
    canvas.title(x, top + 30, "encoder and bridge", ORANGE)
    work = f"run for the visible\ntubelets of step {NEWEST} alone,\nwhich attend to each other\nand to all that is kept"
    canvas.write(x, top + 108, work, size=11)
    canvas.arrow((MIDDLES[-1], 176), (MIDDLES[-1], top - 4), color=ORANGE)
    canvas.arrow((MIDDLES[-3] + SIDE / 2 + 6, 312), (left - 4, 312), color=BLUE)
    canvas.arrow((x, bottom + 4), (x, bottom + 58), color=ORANGE)
    canvas.title(x, bottom + 82, f"answer after step {NEWEST}", INK)
    corners = (left + 40, bottom + 4), (left + 40, 440), (overwritten, 440), (overwritten, 358)
    canvas.arrow(*corners, color=ORANGE)
    written = f"keys and values of step {NEWEST} overwrite the oldest, those of step {OLDEST}"
    canvas.title((overwritten + left) / 2, 462, written, ORANGE)


def _masked_steps(count: int) -> list[NDArray[np.uint8]]:
    """Return a frame of the demo camera for each of the newest time steps, hidden tubelets grey, as RGB."""
    rows, columns, token_px = 6, 8, 20
    seen = (
        cell_running_mask((NEWEST + 1, rows, columns), 0.5)[-count:].repeat(token_px, axis=1).repeat(token_px, axis=2)
    )
    source = mar_edge.DemoSource(
        size_px=(columns * token_px, rows * token_px), fps=5, realtime=False, script=(("pan_right", 4.0, 0.4),)
    )
    with mar_edge.Reading(source) as frames:
        pictures = [frame.picture for frame, _ in zip(frames, range(count), strict=False)]
    return [
        np.where(one[..., None], picture, HIDDEN).astype(np.uint8) for one, picture in zip(seen, pictures, strict=True)
    ]


if __name__ == "__main__":
    geometry = Geometry(frames=8, height_px=192, width_px=256)
    save_mask(PICTURES / "mask.png", geometry, 50, title="What the encoder sees of a clip")
    streaming(PICTURES / "streaming.png")
    live_view(PICTURES / "live_view.svg")
