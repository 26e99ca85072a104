"""The classification of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """Classification of a clip, averaged over its views, or the answer that names a brief action most surely.

    Attributes:
        path: the clip.
        scores: probability of every class.
        views: number of windows that were seen; of a streaming model, of crops.
        duration_s: length of the clip in seconds.
        repeated_frames: places of a window that must be filled with repeated frames, because the clip, or its longest
            part without a gap, has fewer frames than a window; 0 otherwise.
        doubt: why the clip shows too little for a reliable answer; None if it shows enough.
        warnings: what went wrong while reading, one sentence each.
    """

    path: str
    scores: dict[str, float]
    views: int
    duration_s: float
    repeated_frames: int = 0
    doubt: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def reliable(self) -> bool:
        """Whether most of its windows show enough to be recognised."""
        return self.doubt is None

    @property
    def label(self) -> str:
        """Best class."""
        return self.top(1)[0][0]

    @property
    def score(self) -> float:
        """Probability of the best class."""
        return self.top(1)[0][1]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the best classes as (label, probability), best first."""
        return sorted(self.scores.items(), key=lambda item: -item[1])[:count]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `mar-edge classify --json` prints."""
        return {
            "type": "prediction",
            "stream": self.path,
            "label": self.label,
            "score": round(self.score, 4),
            "top": [[label, round(score, 4)] for label, score in self.top()],
            "views": self.views,
            "duration_s": round(self.duration_s, 4),
            "repeated_frames": self.repeated_frames,
            "reliable": self.reliable,
            **({"doubt": self.doubt} if self.doubt else {}),
        }
