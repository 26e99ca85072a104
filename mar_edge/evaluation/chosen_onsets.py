"""Writes onsets that were chosen on labelled clips into a bundle, so that every stream goes by them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mar_edge.bundle import BUILTIN, MANIFEST, Bundle, open_bundle, replace_manifest
from mar_edge.counting import counted_of
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.errors import OutputError
from mar_edge.evaluation.detection import Detection
from mar_edge.event_settings import OFFSET, ONSET, ClassThresholds, EventDefaults, filled
from mar_edge.printable import printable
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.event_rule import EventRule

CHOSEN_ONSETS = "chosen_onsets"
"""Key of a bundle's provenance: how its onsets were chosen."""


def onsets_of(model: Model) -> dict[str, float]:
    """Return the onset at which `run` lets events of each class begin, by label, without the idle class."""
    rule = EventRule().applied_to(model.spec)
    return {label: rule.onset_of(label) for label in model.labels if label != model.spec.idle_label}


def check_target(model: Model) -> Path:
    """Check that onsets may be written into a model, before the work; return the folder of its bundle.

    Raises:
        OutputError: if it is a checkpoint, built in, or its folder cannot be written.
    """
    folder = model.engine.path.parent
    if not (folder / MANIFEST).is_file():
        raise OutputError(
            f"onsets are written into a bundle, and {model.engine.path} is none. Evaluate a bundle of it; for one "
            f"run: mar-edge export {shlex.quote(str(model.engine.path))} -o NAME.mar"
        )
    if folder.resolve().parent == BUILTIN.resolve():
        raise OutputError(
            f"{model.spec.name} is built in and stays as it is. Give the onset when it runs: mar-edge run --onset SCORE"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder} cannot be written. Copy the bundle to a folder that can, and evaluate that")
    return folder


def set_onsets(model: Model, detection: Detection, made: Mapping[str, Any]) -> list[str]:
    """Write the chosen onsets into the bundle of a model; its graphs, and all else that it says of events, stay.

    Where an offset would be above the new onset of a class, the class gets one that is as far below as by default.

    Args:
        model: whose clips were classified.
        detection: with the chosen onsets.
        made: how they were chosen, for the provenance.

    Returns:
        What was written, in words.

    Raises:
        OutputError: see `check_target`; or if no onset was chosen, the bundle was exported again meanwhile, or cannot be written.
        BundleError: if the bundle was damaged meanwhile.
    """
    folder = check_target(model)
    chosen = {label: onset for label, onset in detection.chosen.items() if onset is not None}
    if not chosen:
        raise OutputError(
            f"{folder} stays as it is: with so few false alarms no clip of any class is found. Give a larger --false-alarms"
        )
    bundle = open_bundle(folder)
    _check_same_graph(bundle, model)
    events, said = _with(bundle.manifest.events or EventDefaults(), chosen)
    told = {one.label: one.at(chosen[one.label]).to_json() for one in detection.detectors if one.label in chosen}
    graph = {"mask": model.variant.mask, "precision": model.variant.precision, "engine": model.engine.name}
    provenance = {
        **bundle.manifest.provenance,
        CHOSEN_ONSETS: {**made, **graph, "wanted_false_alarms": detection.false_alarms, "classes": told},
    }
    replace_manifest(bundle, {"events": events.model_dump(mode="json"), "provenance": provenance})
    return said


def remarks_on_data(model: Model, paths: tuple[Path, ...], digest: str, *, sets: bool) -> list[str]:
    """Return sentences on clips that make figures look better than they are.

    Args:
        model: the model.
        paths: of the clips.
        digest: of their list.
        sets: whether onsets are to be chosen from them.
    """
    chosen = model.spec.provenance.get(CHOSEN_ONSETS)
    remarks = []
    if isinstance(chosen, Mapping) and chosen.get("data_digest") == digest and not sets:
        remarks.append(
            "the onsets of this bundle were chosen on this very list, so that recall and false alarms at them are too good; "
            "judge them on a test list"
        )
    known = Fingerprints.from_text(model.spec.provenance.get(TRAINING_VIDEOS)).count(paths) if sets else 0
    if known:
        remarks.append(
            f"the model was trained on {counted_of(known, len(paths), 'video')} of this list, and scores them better than "
            "others; choose onsets on a validation list"
        )
    return remarks


def _check_same_graph(bundle: Bundle, model: Model) -> None:
    """Check that a bundle still has the graph that classified the clips.

    Raises:
        OutputError: if not.
    """
    now = {variant.file: variant.digest for variant in bundle.manifest.variants}
    if now.get(model.engine.path.name) != getattr(model.variant, "digest", None):
        raise OutputError(f"{bundle.path} was exported again meanwhile, and stays as it is. Run the command again")


def _with(events: EventDefaults, onsets: Mapping[str, float]) -> tuple[EventDefaults, list[str]]:
    """Return what a model says of its events with other onsets of classes, and what is new in words."""
    classes, said = dict(events.classes), []
    for label, onset in onsets.items():
        own = classes.get(label, ClassThresholds())
        offset, words = own.offset, ""
        if filled(own.offset, filled(events.offset, OFFSET)) > onset:
            offset = round(onset * OFFSET / ONSET, 3) or onset
            words = f", offset {offset:g}"
        classes[label] = ClassThresholds(onset=onset, offset=offset)
        said.append(f"{printable(label)}: onset {onset:g}{words}")
    return events.model_copy(update={"classes": classes}), said
