"""Sizes of files as people write them: `100MB`, `10 GB`, `512KiB`."""

from __future__ import annotations

import re

from mar_edge.errors import OptionError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return a size in bytes.

    Args:
        text: a number with a unit: `100MB` is 100,000,000 bytes, `100MiB` is 104,857,600. Without one it is
            no size: who forgets it means megabytes, and at 100 bytes every line would replace another one.

    Raises:
        OptionError: if it is not a size, or less than 1 byte.
    """
    found = _SIZE.fullmatch(text)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise OptionError(f"'{text}' is not a size; give a number with a unit, such as 100MB or 10GB")
    if (size := int(float(found[1]) * unit)) < 1:
        raise OptionError(f"a size of {text} is too small; give at least 1 byte, such as 100MB")
    return size
