"""The interface of sinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Sink = Callable[[dict[str, Any]], None]
"""Called with each record, a JSON object."""
