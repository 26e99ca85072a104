"""`mar-edge inspect`: the card of a bundle, its mask, and its graphs block by block."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

from mar_edge.bundle import Bundle, write_manifest
from mar_edge.calibration.placement import sites
from mar_edge.calibration.quantise import quantise
from mar_edge.cli.views.bundle_card import shorten
from mar_edge.errors import OutputError
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.export.half.graph import to_half
from mar_edge.export.layer_report import Step, report, why_not_fused
from mar_edge.export.mask_picture import draw_mask, save_mask
from mar_edge.files.graph_files import hash_file
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask
from mar_edge.model.config import build
from mar_edge.model.graph_view import GraphView
from tests.fakes.bundle import manifest, write_bundle
from tests.fakes.command_line import mar_edge
from tests.fakes.tiny_model import TINY


def inspect(*arguments: object, width: int = 100) -> str:
    """Return what the command prints."""
    done = mar_edge("inspect", *map(str, arguments), columns=width)
    assert done.returncode == 0, done.stderr
    return done.stdout


def variant(**changes: Any) -> dict[str, Any]:
    """Return a variant of a manifest."""
    (one,) = manifest()["variants"]
    parity = {
        **one["parity"],
        "cosine": 0.99987,
        "kl": 1.2e-4,
        "top1_agreement": 0.984,
        "clips": 64,
        "source": "my clips",
    }
    return {**one, "parity": parity, **changes}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny graph at mask 50: 64 visible tokens, encoder heads 16 wide, classifier heads 12 wide."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graph") / "fp32.onnx"
    write_graph(build(TINY).eval(), 0.5, path)
    return path


def steps_of(path: Path) -> dict[str, Step]:
    """Return the steps of a graph by name; of blocks that are the same, the first stands for all."""
    return {f"{blocks.name}/{step.name}".rstrip("/"): step for blocks in report(path) for step in blocks.steps}


def test_the_card_shows_all_of_parity_in_100_columns(tmp_path: Path) -> None:
    kept = [*(f"encoder.blocks.{index}.norm1" for index in range(12)), "classifier.head"]
    quantisation = {
        "method": "percentile", "clips": 93, "source": "31 videos of clips", "equalisation": 0.5, "residuals": False,
        "int8_share": 0.9865,
    }  # fmt: skip
    for_tensorrt = {
        **quantisation,
        "equalisation": None,
        "residuals": True,
        "rest": "fp16",
        "in_fp32": ["classifier.pool"],
    }
    variants = [
        variant(),
        variant(file="a.onnx", mask=75, precision="int8", placement="cpu", kept=kept, quantisation=quantisation),
        variant(file="b.onnx", mask=50, precision="int8", placement="tensorrt", kept=kept, quantisation=for_tensorrt),
    ]
    variants[1]["parity"] |= {"top1": 0.95, "reference_top1": 0.96}
    provenance = {"command": "mar-edge train a.yaml", "data": ["my videos"], "export": {"versions": {"torch": "2.13"}}}
    events = {"onset": 0.5, "offset": 0.25, "cooldown_s": 1, "smoothing_s": 0, "classes": {"bright": {"onset": 0.8}}}
    of_clips = {"events": events, "clip_answer": "peak"}
    folder = write_bundle(tmp_path / "a.mar", variants=variants, provenance=provenance, **of_clips)
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(folder / "mask50-fp32.onnx", folder / name)
    card = inspect(folder)
    assert max(map(len, card.splitlines())) <= 100
    row = next(line for line in card.splitlines() if line.startswith("mask 75 int8 for cpu"))
    assert row.split()[5:] == ["0.0", "MB", "0.1", "0.999870", "98.4%", "1.2e-04", "0.0e+00", "1.0e-04", "95.0%"]
    for told in (
        "mask 50 fp32, mask 50 int8 for tensorrt: 64 clips (my clips) against torch fp32",
        "whose top-1 is 96.0%",
        "classifier.head, encoder.blocks.0-11.norm1",
        "percentile ranges of 93 clips (31 videos of clips), channels equalised at 0.5, 99 % of the work in INT8 mask",
        "not equalised, residuals in INT8, 99 % of the work in INT8, rest fp16, classifier.pool in fp32 files",
        "Apache-2.0",
        "my videos",
        "torch 2.13",
        "dark, light, bright",
        "onset 0.5, offset 0.25, cooldown_s 1, smoothing_s 0, bright onset 0.8; unless a stream says otherwise",
        "the answer that is surest of a class other than the idle one",
        "4 frames of 32x32 px",
        "b.onnx",
    ):
        assert told in " ".join(card.split()), told
    # a narrow terminal folds, it cuts nothing off
    assert "tensorrt" in inspect(folder, width=60)


def test_the_mask_is_drawn_as_it_is() -> None:
    lines = inspect("egomotion").splitlines()
    (title,) = (index for index, line in enumerate(lines) if line.startswith("mask 50 %: what the encoder sees"))
    seen = cell_running_mask((8, 4, 4), 0.5)[:4]
    for row in range(4):
        drawn = lines[title + 1 + row].split("   ")
        assert [[pair == "██" for pair in (step[i : i + 2] for i in range(0, 8, 2))] for step in drawn] == (
            seen[:, row].tolist()
        )


def test_the_mask_as_a_picture(tmp_path: Path) -> None:
    done = inspect("egomotion", "--png", tmp_path / "mask.png")
    assert "egomotion" in done
    picture = cv2.imread(str(tmp_path / "mask.png"))
    geometry = Geometry(frames=16, height_px=64, width_px=64)
    assert picture is not None
    assert np.array_equal(picture[..., ::-1], draw_mask(geometry, 50, title="egomotion"))


@pytest.mark.parametrize("mask", [0, 25, 50, 75])
@pytest.mark.parametrize("geometry", [Geometry(), Geometry(frames=4, height_px=64, width_px=128)])
def test_hidden_places_of_the_picture_are_grey(geometry: Geometry, mask: int) -> None:
    from mar_edge.export import mask_picture as look

    picture = draw_mask(geometry, mask, title="a")
    t, h, w = geometry.grid
    token = round(look.PANEL_PX / w)
    seen = cell_running_mask((t, h, w), mask / 100)
    for step in range(min(t, look.MOST_STEPS)):
        row, column = divmod(step, look.COLUMNS)
        x = look.MARGIN_PX + column * (w * token + look.GAP_PX)
        y = look.MARGIN_PX + look.TITLE_PX + look.CAPTION_PX + row * (h * token + look.CAPTION_PX + look.GAP_PX)
        panel = picture[y : y + h * token, x : x + w * token].reshape(h, token, w, token, 3)
        inside = panel[:, 2:-1, :, 2:-1]
        grey = (inside == look.HIDDEN).all(axis=(1, 3, 4))
        assert np.array_equal(grey, ~seen[step])


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"does not end with \.png"):
        save_mask(tmp_path / "mask.jpg", Geometry(), 50, title="a")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_mask(tmp_path / "file" / "mask.png", Geometry(), 50, title="a")


def test_a_full_disk_keeps_the_older_picture(tmp_path: Path) -> None:
    inspect("egomotion", "--png", tmp_path / "mask.png")
    before = (tmp_path / "mask.png").read_bytes()
    command = f"ulimit -f 1; exec {sys.executable} -m mar_edge inspect egomotion --png {tmp_path / 'mask.png'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]
    assert (tmp_path / "mask.png").read_bytes() == before


def test_layers_of_an_fp32_graph(graph: Path) -> None:
    blocks = report(graph)
    assert [(block.name, block.count) for block in blocks] == [
        ("", 1),
        ("encoder.embed", 1),
        ("encoder.blocks.0 to 1", 2),
        ("encoder.norm", 1),
        ("classifier.reduce", 1),
        ("classifier.blocks.0 to 1", 2),
        ("classifier", 1),
        ("classifier.norm", 1),
        ("classifier.head", 1),
    ]
    assert sum(block.macs for block in blocks) == count_macs(graph)
    (pixels,) = blocks[0].steps
    assert (pixels.operators, pixels.precision, pixels.fusion.one_kernel) == ("Cast to Div", "uint8", None)
    inside = blocks[2].steps
    assert [(step.name, step.operators) for step in inside] == [
        ("norm1", "LayerNormalization"),
        ("attn.qkv", "MatMul + bias"),
        ("attn", "MatMul + Softmax + MatMul"),
        ("attn.proj", "MatMul + bias + residual"),
        ("norm2", "LayerNormalization"),
        ("fc1", "MatMul + bias + GELU"),
        ("fc2", "MatMul + bias + residual"),
    ]
    assert {step.precision for step in inside} == {"fp32"}
    assert inside[2].fusion == (False, "no fused attention in fp32")
    assert inside[1].macs == 64 * 32 * 96


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_layers_of_a_half_graph_tell_what_was_kept(graph: Path, tmp_path: Path, precision: Any) -> None:
    kept = ["encoder.blocks.1.norm1", "encoder.blocks.0.fc1", "classifier.head"]
    onnx.save(to_half(onnx.load(graph), precision, kept), tmp_path / "half.onnx")
    steps = steps_of(tmp_path / "half.onnx")
    for name in ("encoder.blocks.1/norm1", "encoder.blocks.0/fc1", "classifier.head"):
        assert steps[name].precision == "fp32", name
    for name in (
        "encoder.blocks.0/norm1",
        "encoder.blocks.1/fc1",
        "encoder.blocks.0/attn",
        "encoder.blocks.1/attn.qkv",
    ):
        assert steps[name].precision == precision, name
    assert steps["encoder.blocks.0/fc1"].operators == "MatMul + bias + GELU"
    assert steps["encoder.blocks.0/attn"].fusion.one_kernel is not False
    assert steps["classifier.blocks.0 to 1/attn"].fusion.why == "head width 12 is not a multiple of 8 from 16 to 256"


@pytest.mark.parametrize("placement", ["cpu", "tensorrt"])
def test_layers_of_an_int8_graph_are_read_from_its_q_dq(graph: Path, tmp_path: Path, placement: Any) -> None:
    model = onnx.load(graph)
    thresholds = {site.tensor: 1.0 for site in sites(GraphView(model), placement)}
    onnx.save(quantise(model, thresholds, placement=placement, kept=["encoder.blocks.1"]), tmp_path / "int8.onnx")
    steps = steps_of(tmp_path / "int8.onnx")
    assert steps["encoder.blocks.0/fc1"].precision == "int8"
    assert steps["encoder.blocks.1/fc1"].precision == "fp32"
    assert steps["encoder.blocks.0/norm1"].precision == "fp32"
    assert steps["encoder.blocks.0/attn"].fusion == (True, "head width 16, 64 tokens")
    narrow = steps["classifier.blocks.0 to 1/attn"]
    if placement == "cpu":
        assert (narrow.precision, narrow.fusion) == ("int8", (False, "head width 12 is not 16, 32, 64"))
    else:  # TensorRT could not fuse it, so it was left alone
        assert (narrow.precision, narrow.fusion) == ("fp32", (False, "no fused attention in fp32"))


@pytest.mark.parametrize(
    ("precision", "width", "tokens", "told"),
    [
        ("int8", 64, 392, None),  # mask 75 of a 224 px clip
        ("int8", 64, 512, None),
        ("int8", 64, 784, "784 tokens are more than 512"),  # mask 50
        ("int8", 80, 784, "head width 80 is not 16, 32, 64; 784 tokens are more than 512"),
        ("fp16", 64, 1568, None),
        ("bf16", 12, 64, "head width 12 is not a multiple of 8 from 16 to 256"),
        ("fp32", 64, 64, "no fused attention in fp32"),
    ],
)
def test_which_attention_tensorrt_fuses(precision: str, width: int, tokens: int, told: str | None) -> None:
    assert why_not_fused(precision, head_width=width, tokens=tokens) == told


def test_layers_from_the_command_line(graph: Path, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "a.mar")
    shutil.copy(graph, folder / "mask50-fp32.onnx")
    values = manifest()
    values["variants"][0] |= {"sha256": hash_file(graph), "size_bytes": graph.stat().st_size}
    values.pop("format")
    write_manifest(folder, values)
    assert Bundle(folder).manifest.variants[0].precision == "fp32"
    table = inspect(folder, "--layers", "--mask", "50")
    assert table.startswith("fake, mask 50 fp32: mask50-fp32.onnx")
    assert max(map(len, table.splitlines())) <= 100
    row = next(line for line in table.splitlines() if line.strip().startswith("attn.qkv"))
    assert "MatMul + bias" in row
    assert "yes" in row
    shares = [
        float(line.split(" %")[0].split()[-1]) for line in table.splitlines() if " %" in line and "to 1" not in line
    ]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_layers_are_of_the_graph_for_cpus_unless_asked(graph: Path, tmp_path: Path) -> None:
    same = {"precision": "int8", "sha256": hash_file(graph), "size_bytes": graph.stat().st_size}
    flavours = [variant(file=f"{place}.onnx", placement=place, **same) for place in ("tensorrt", "cpu")]
    folder = write_bundle(tmp_path / "a.mar", variants=flavours)
    for flavour in flavours:
        shutil.copy(graph, folder / flavour["file"])
    for options, title, other in (
        ((), "mask 50 int8 for cpu: cpu.onnx", "tensorrt"),
        (("--placement", "tensorrt"), "mask 50 int8 for tensorrt: tensorrt.onnx", "cpu"),
    ):
        heading = inspect(folder, "--layers", *options).splitlines()[0]
        assert heading == f"fake, {title}; --placement {other} shows the one for {other}"


def test_what_inspect_refuses(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "a.mar")
    for arguments, told in (
        ([folder, "--layers"], "cannot be read as an ONNX graph"),
        ([folder, "--mask", "75"], "has no graph with mask 75"),
        ([folder, "--png", folder / "manifest.json" / "a.png"], "cannot write"),
    ):
        done = mar_edge("inspect", *map(str, arguments))
        assert done.returncode == 1
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_names_of_parts_are_told_shortly() -> None:
    names = ["encoder.blocks.0.fc1", "encoder.blocks.1.fc1", "encoder.blocks.3.fc1", "encoder.blocks.2", "head"]
    assert shorten(names) == ["encoder.blocks.0-1,3.fc1", "encoder.blocks.2", "head"]
