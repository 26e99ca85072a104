"""JSON, YAML and arrays that others wrote: plain, bounded data, or one ValueError."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from mar_edge.files.json_text import MAX_DEPTH, parse_json
from mar_edge.files.stored_arrays import read_arrays
from mar_edge.files.yaml_text import parse_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 200_000, "nested deeper"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' occurs twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 99999999999999999999}', "beyond 64 bits"),
        ('{"a": ' + "9" * 5000 + "}", "beyond 64 bits"),
        ('{"a": ["\\ud800"]}', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ("", "Expecting value"),
        (b"\x00" * 100, "Expecting value"),
        (b"\xff\xfe{\x00}\x00", "utf-8"),
        (b'{"a": "\xed\xa0\x80"}', "utf-8"),
    ],
)
def test_json_that_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(text)


def test_json_that_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -2.5, "\\u00fc", null, true]}') == {"a": [1, -2.5, "ü", None, True]}
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]),
            "values",
        ),
        ("a: &a [*a]", "nested deeper"),
        ("a: 0x" + "f" * 5000, "beyond 64 bits"),
        ("[" * 5000, "nested deeper"),
        ("a: !!int x", "invalid literal"),
    ],
)
def test_yaml_that_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_yaml(text)


def test_yaml_that_is_read() -> None:
    assert parse_yaml("base: &b {x: 1}\nother: {<<: *b, y: 2}")[1] == {"base": {"x": 1}, "other": {"x": 1, "y": 2}}
    assert parse_yaml("")[1] is None


def test_arrays_are_not_larger_than_their_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(3), b=np.array(["x", "yy"]))
    assert {name: array.tolist() for name, array in read_arrays(path).items()} == {"a": [0, 1, 2], "b": ["x", "yy"]}
    np.savez_compressed(path, a=np.zeros(10**6))
    with pytest.raises(ValueError, match="compressed"):
        read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
        member.write(bytes(80))
    with pytest.raises(ValueError, match=r"states a size of \(1000000000000,\)"):
        read_arrays(path)
