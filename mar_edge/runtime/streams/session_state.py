"""What a session knows of its stream: to save it, and to go on later or elsewhere as if nothing had been between."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mar_edge.errors import DataError, EngineError, OptionError
from mar_edge.files.atomic_file import write_output
from mar_edge.files.ownership import FileKind
from mar_edge.files.stored_arrays import read_arrays
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.streams.decision import DecisionState
from mar_edge.runtime.streams.feed import FeedState

FORMAT = "mar-edge/session-state/1"

_START = b'{"format":"%s"' % FORMAT.encode()
_NOTES = "session"


def _is_ours(file: BinaryIO) -> bool:
    return _START in file.read(512)  # stored first, and not compressed


SESSION_STATE = FileKind("session state", _is_ours, replaced_by="force=True")


@dataclass(frozen=True)
class Origin:
    """Of which model a state is.

    Attributes:
        model: its name.
        temporal: whether it is a streaming model.
        labels: its classes.
        clip: frames, height, width and tubelet sides.
        rate_fps: frames per second that it expects.
        resize: how frames are brought to its size.
        mask: mask ratio in percent.
        precision: of the graph.
        graph: SHA-256 of the graph and its weights; None for a checkpoint.
        keeps: number format of keys and values; None for a windowed model.
    """

    model: str
    temporal: str
    labels: tuple[str, ...]
    clip: tuple[int, ...]
    rate_fps: float
    resize: str
    mask: int
    precision: str
    graph: str | None
    keeps: str | None

    @classmethod
    def of(cls, engine: Engine) -> Origin:
        """Return that of an engine's model."""
        spec: ModelSpec = engine.spec
        return cls(
            model=spec.name,
            temporal=spec.temporal,
            labels=tuple(spec.labels),
            clip=tuple(vars(spec.geometry).values()),
            rate_fps=spec.rate_fps,
            resize=spec.resize,
            mask=engine.variant.mask,
            precision=engine.variant.precision,
            graph=getattr(engine.variant, "digest", None),
            keeps=None if engine.layout is None else engine.layout.kind,
        )


@dataclass(frozen=True)
class Notes:
    """What a session knows of its stream, without arrays.

    Attributes:
        format: of the file.
        origin: of which model.
        feed: where the feed stands.
        decision: where the decision stands.
        inferences, reused: so far.
        known: numbers of the newest time steps that ran, or showed what the one before showed.
        gate: where the skip gate stands; None without one.
        warned_at: inferences at the last warning of a break.
        inferred_s: longest inference so far, seconds.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: Literal["mar-edge/session-state/1"]
    origin: Origin
    feed: FeedState
    decision: DecisionState
    inferences: Annotated[int, Field(ge=0)]
    reused: Annotated[int, Field(ge=0)]
    known: tuple[int, ...]
    gate: tuple[bool, int, int] | None
    warned_at: int
    inferred_s: float


_CHECK: TypeAdapter[Notes] = TypeAdapter(Notes)


class SessionState:
    """What `Session.state` returns and `Session.restore` takes: a copy that nothing changes.

    Args:
        notes: what is known, without arrays.
        arrays: pictures, keys and values, by name.
    """

    def __init__(self, notes: Notes, arrays: dict[str, NDArray[Any]]) -> None:
        self.notes, self.arrays = notes, arrays

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.notes.origin.model

    @property
    def mask(self) -> int:
        """Mask ratio in percent."""
        return self.notes.origin.mask

    def check(self, engine: Engine) -> None:
        """Check that a session with an engine can go on from here.

        Raises:
            EngineError: if it is of another model, mask or precision; the message names the difference.
        """
        theirs, ours = asdict(self.notes.origin), asdict(Origin.of(engine))
        for name, value in theirs.items():
            if value != ours[name]:
                advice = (
                    f"Run: session.set_mask({value}); or begin with it: model.session(mask={value})"
                    if name == "mask"
                    else "Restore it in a session of the same model, mask and precision"
                )
                raise EngineError(
                    f"this state has {name} {_short(value)}, and the session's model has {_short(ours[name])}. {advice}"
                )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write it to a file; an older state of that name is replaced, by a complete one only.

        Args:
            path: such as `door.npz`.
            force: replace a file that is no session state.

        Raises:
            OptionError: if the path is none.
            OutputError: if it cannot be written, or something else is there.
        """
        file = _checked_path(path)
        content = io.BytesIO()
        notes = np.frombuffer(_CHECK.dump_json(self.notes), np.uint8)
        np.savez(content, **{_NOTES: notes, **self.arrays})  # type: ignore[arg-type] # numpy's own keyword is a bool
        write_output(file, content.getvalue(), kind=SESSION_STATE, force=force)

    @classmethod
    def load(cls, path: str | Path) -> SessionState:
        """Read a file that `save` wrote. Nothing in it is executed.

        Raises:
            OptionError: if the path is none.
            DataError: if the file cannot be read, is damaged, or is something else.
        """
        file = _checked_path(path)
        try:
            arrays = read_arrays(file)
            notes = arrays.pop(_NOTES)
            return cls(_CHECK.validate_json(notes.astype(np.uint8, casting="no").tobytes()), arrays)
        except OSError as error:
            raise DataError(f"the session state {path} cannot be read: {error.strerror or error}") from error
        except KeyError as error:
            raise DataError(
                f"{path} is not a session state: it has no '{_NOTES}'. Give a file of SessionState.save"
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "its notes"
            raise DataError(f"the session state {path} is damaged: {where}: {first['msg']}") from error
        except (ValueError, TypeError) as error:
            raise DataError(f"the session state {path} is damaged: {error}") from error


def _checked_path(path: object) -> Path:
    if not isinstance(path, str | Path) or not str(path):
        raise OptionError(f"the path of a session state is {path!r}; give the path of a file, such as 'door.npz'")
    return Path(path)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
