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

INK, PAPER, HIDDEN = "#242b35", "#ffffff", 230


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
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

    figure = new_figure(12, 5.7)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1200), ylim=(570, 0))
    axes.axis("off")
    shape = {"boxstyle": "round,pad=0,rounding_size=8", "linewidth": 2}

    def write(x: float, y: float, text: str, color: str = INK, size: float = 10.5, weight: str = "normal") -> None:
        axes.text(x, y, text, color=color, fontsize=size, weight=weight, ha="center", va="center", linespacing=1.35)

    def box(x: float, y: float, width: float, height: float, edge: str, fill: str, line: str = "-") -> None:
        axes.add_patch(FancyBboxPatch((x, y), width, height, edgecolor=edge, facecolor=fill, linestyle=line, **shape))

    def arrow(start: tuple[float, float], end: tuple[float, float], color: str, bend: float = 0.0) -> None:
        style = {"arrowstyle": "-|>", "mutation_scale": 20, "linewidth": 2.4, "shrinkA": 0, "shrinkB": 0}
        axes.add_patch(FancyArrowPatch(start, end, color=color, connectionstyle=f"arc3,rad={bend}", **style))

    oldest = NEWEST - BAND + 1
    left, pitch, side = 24, 130, 112
    middle = [left + pitch * index + side / 2 for index in range(BAND + 1)]
    write(middle[0], 36, "not seen any more", GREY)
    write(
        (middle[1] + middle[-2]) / 2, 36, f"the {BAND - 1} steps before: computed once, never again", BLUE, 13, "bold"
    )
    write(middle[-1], 36, "new", ORANGE, 13, "bold")
    for index, (x, panel) in enumerate(zip(middle, _masked_steps(BAND + 1), strict=True)):
        step = oldest - 1 + index
        color = GREY if not index else ORANGE if step == NEWEST else BLUE
        extent = (x - side / 2, x + side / 2, 60 + side * 0.75, 60)
        axes.imshow(panel, extent=extent, aspect="auto", alpha=1 if index else 0.3)
        axes.add_patch(
            Rectangle(
                (extent[0], 60), side, side * 0.75, fill=False, edgecolor=color, linewidth=1.5 + (step == NEWEST) * 2
            )
        )
        write(x, 164, f"time step {step}", color)

    top, height = 270, 84
    write(
        (middle[0] + middle[6]) / 2,
        244,
        "state of the stream: keys and values of these steps, in slots of any order",
        BLUE,
        13,
        "bold",
    )
    for slot in range(BAND - 1):
        step = next(one for one in range(oldest, NEWEST) if one % (BAND - 1) == slot)
        box(
            middle[slot] - side / 2,
            top,
            side,
            height,
            ORANGE if step == oldest else BLUE,
            "#e8f0fa",
            "--" if step == oldest else "-",
        )
        write(middle[slot], top + 24, f"slot {slot}", GREY, 9.5)
        write(middle[slot], top + 54, f"step {step}", BLUE, 13, "bold")

    network = (middle[7] - 40, top - 50, middle[8] + side / 2, top + height + 50)
    box(network[0], network[1], network[2] - network[0], network[3] - network[1], ORANGE, "#fdf3e4")
    x = (network[0] + network[2]) / 2
    write(x, network[1] + 30, "encoder and bridge", ORANGE, 13, "bold")
    write(
        x,
        network[1] + 108,
        f"run for the visible\ntubelets of step {NEWEST} alone,\nwhich attend to each other\nand to all that is kept",
        INK,
        11,
    )
    arrow((middle[8], 176), (middle[8], network[1] - 4), ORANGE)
    arrow((middle[6] + side / 2 + 6, top + height / 2), (network[0] - 4, top + height / 2), BLUE)
    arrow((x, network[3] + 4), (x, network[3] + 58), ORANGE)
    write(x, network[3] + 82, f"answer after step {NEWEST}", INK, 13, "bold")
    target = middle[oldest % (BAND - 1)]
    axes.plot([network[0] + 40, network[0] + 40, target], [network[3] + 4, 440, 440], color=ORANGE, linewidth=2.4)
    arrow((target, 441), (target, top + height + 4), ORANGE)
    write(
        (target + network[0]) / 2,
        462,
        f"keys and values of step {NEWEST} overwrite the oldest, those of step {oldest}",
        ORANGE,
        13,
        "bold",
    )
    write(
        (left + 1180) / 2,
        540,
        "The mask shows half of each step's tubelets and moves on with every step, so all places are seen in turn; the grey ones are never computed.",
        GREY,
    )
    figure.savefig(path, dpi=110, facecolor=PAPER, metadata={"Software": "mar-edge docs/make/pictures.py"})


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
