"""Reads arrays that `numpy.savez` stored, after their headers were compared with the bytes that the file really has."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.files.regular_file import open_regular


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file; it takes no more memory than the file has bytes.

    Args:
        path: written by `numpy.savez`, without compression.

    Returns:
        Arrays by name.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is damaged, compressed, or an array's header states another size than is stored.
    """
    try:
        # opened here, as numpy does not close a damaged file
        with open(open_regular(path), "rb") as file:
            size = file.seek(0, 2)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if any(one.compress_type != zipfile.ZIP_STORED for one in members):
                    raise ValueError("it has a compressed array")
                if sum(one.file_size for one in members) > size:
                    raise ValueError("its arrays are larger than the file")
                for one in members:
                    with archive.open(one) as member:
                        _check_header(member, one)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        TypeError,
        TokenError,
    ) as error:
        raise ValueError(f"it is not an archive of arrays: {error}") from error
    except (KeyError, IndexError, MemoryError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is not an archive of arrays ({type(error).__name__})") from error


def _check_header(member: IO[bytes], stored: zipfile.ZipInfo) -> None:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError(f"{stored.filename[:60]!r} contains objects")
    if member.tell() + math.prod(shape) * dtype.itemsize != stored.file_size:
        raise ValueError(f"{stored.filename[:60]!r} states a size of {shape}, and has {stored.file_size} bytes")
