"""What a lower precision costs a gestures model on the real clips, and how long an inference takes. Prints Markdown.

    python benchmarks/gestures/precisions.py BUNDLE [--classes 8|11] [--steps 300] [--out FILE.md] [--log ../looks.jsonl]

Every graph of the bundle that ONNX Runtime is meant to run sees the same clips as in accuracy.py, and is compared with
the FP32 graph of its mask: difference in top-1, and share of clips with the same answer. The time is that of
`mar-edge profile`: one time step after the other of a stream, on one core, all graphs in turns.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from accuracy import add_options, held, setting
from judging import CLASSES, Answers
from real_clips import check_log, note_look, read_clips, watch_clips
from result_tables import between, give, percent, table

from mar_edge.bundle import Bundle, open_bundle
from mar_edge.errors import EngineError, MarEdgeError
from mar_edge.manifest import Variant
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.measurement.profiling import profile
from mar_edge.runtime.model import Model

ENGINE = "onnxruntime"

Found = dict[str, dict[str, Answers]]
"""By the graph's file and the way to answer."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(arguments)
    arguments.add_argument("--steps", type=int, default=300, help="inferences that the median is taken over")
    options = arguments.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    try:
        check_log(options.log)
        bundle = open_bundle(options.bundle)
        classes = CLASSES[options.classes]
        variants = [variant for variant in bundle.manifest.variants if variant.suits(ENGINE)]
        clips = read_clips(options.data)
        found: Found = {}
        failures: dict[str, str] = {}
        for variant in variants:
            try:
                model = Model(create_engine(bundle, variant, ENGINE, threads=1))
                watched = watch_clips(
                    model, clips, classes, before_s=options.before, after_s=options.hold, title=variant.title
                )
            except EngineError as error:
                failures[variant.file] = str(error)
                continue
            found[variant.file] = {"events": watched.events(classes), "peak": watched.peaks(classes)}
        figures = {file: {name: round(one.top1, 4) for name, one in answers.items()} for file, answers in found.items()}
        looks = note_look(options.log, bundle, {**setting(options), "graphs": figures})
        times_ms = step_times_ms(bundle, options.steps)
    except MarEdgeError as error:
        sys.exit(str(error))
    title = f"## {bundle.manifest.name}, {len(classes)} classes: precisions on {len(clips)} real clips"
    noted = "no log was given" if looks is None else f"look {looks} in the log"
    give(
        "\n\n".join([f"{title} ({noted})", f"{held(options)}.", compared(variants, found, times_ms, failures)]),
        options.out,
    )


def step_times_ms(bundle: Bundle, steps: int) -> dict[str, float | None]:
    """Return the median time of an inference of every graph, by its file, in milliseconds; None if it does not run."""
    found = profile(bundle, engines=[ENGINE], threads=1, rounds=steps)
    return {one.variant.file: one.median_ms for one in found}


def compared(
    variants: list[Variant], found: Found, times_ms: Mapping[str, float | None], failures: Mapping[str, str]
) -> str:
    """Return a row for every graph and way to answer, compared with the FP32 graph of its mask."""
    references = {variant.mask: variant.file for variant in variants if variant.precision == "fp32"}
    head = [
        "graph",
        "MB",
        "ms an inference",
        "answer",
        "top-1",
        "95 % (Wilson)",
        "points from fp32",
        "same answer as fp32",
    ]
    rows = []
    for variant in variants:
        took_ms = times_ms.get(variant.file)
        about = [variant.title, f"{variant.total_bytes / 1e6:.1f}", "-" if took_ms is None else f"{took_ms:.2f}"]
        if variant.file not in found:
            rows.append([*about, "does not run", failures.get(variant.file, ""), "", "", ""])
            continue
        reference = found.get(references.get(variant.mask, ""))
        for name, answers in found[variant.file].items():
            rows.append(
                [
                    *about,
                    name,
                    percent(answers.top1),
                    between(answers.top1_interval95),
                    *_beside(answers, reference, name),
                ]
            )
    return table(head, rows)


def _beside(answers: Answers, reference: Mapping[str, Answers] | None, name: str) -> list[str]:
    """Return difference and agreement with the same way to answer of the FP32 graph."""
    if reference is None:
        return ["no fp32 graph", ""]
    points = 100 * (answers.top1 - reference[name].top1)
    same = float((answers.predicted == reference[name].predicted).mean())
    return [f"{points:+.1f}", percent(same)]


if __name__ == "__main__":
    main()
