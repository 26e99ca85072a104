"""Messages on disk: in order, within their bound, and there again after kills, full disks and damage."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mar_edge.errors import OutputError
from mar_edge.runtime.sinks.spool import DAMAGED, FILE, Spool


def payloads(spool: Spool) -> list[bytes]:
    return [one.payload for one in spool.after(0, 1_000_000)]


def test_messages_come_in_order_until_they_are_removed_also_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for number in range(5):
        spool.append(f"topic/{number}", b"%d" % number)
    first, second = spool.after(0, 2)
    assert (first.topic, first.payload, second.topic) == ("topic/0", b"0", "topic/1")
    assert [one.payload for one in spool.after(second.id, 2)] == [b"2", b"3"]
    spool.remove([first.id, 4711])
    spool.close()
    again = Spool(tmp_path / "spool")
    again.append("topic/5", b"5")
    assert payloads(again) == [b"1", b"2", b"3", b"4", b"5"]
    assert len(again) == 5
    again.close()
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_beyond_the_bound_the_oldest_are_dropped_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "few", max_messages=3)
    assert [spool.append("topic", b"%d" % number) for number in range(5)] == [0, 0, 0, 1, 1]
    assert payloads(spool) == [b"2", b"3", b"4"]
    assert spool.dropped == 2
    spool.close()
    small = Spool(tmp_path / "small", max_bytes=250)
    assert [small.append("topic", bytes(100)) for _ in range(4)] == [0, 0, 1, 1]
    assert len(small) == 2
    small.close()
    less = Spool(tmp_path / "few", max_messages=1)
    assert payloads(less) == [b"4"]
    less.close()


def test_two_programs_cannot_share_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with pytest.raises(OutputError, match="another program uses the spool .* Choose another topic prefix"):
        Spool(tmp_path / "spool")
    spool.close()
    Spool(tmp_path / "spool").close()


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OutputError, match="can be written by other users"):
        Spool(tmp_path / "open")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot use the spool .* Choose a folder you can write to"):
        Spool(tmp_path / "file" / "spool")


def test_what_was_written_is_there_after_kill_9(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from mar_edge.runtime.sinks.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for number in range(20): spool.append('topic', b'%d' % number)\n"
        "spool.remove([1, 2]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "spool")], timeout=60)
    assert done.returncode == -9
    spool = Spool(tmp_path / "spool")
    assert payloads(spool) == [b"%d" % number for number in range(2, 20)]
    spool.close()


def test_while_the_disk_is_full_messages_wait_in_memory_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    spool = Spool(tmp_path / "spool", say=said.append)
    spool.append("topic", b"before")
    assert spool._disk is not None
    pages = spool._disk.execute("PRAGMA page_count").fetchone()[0]
    spool._disk.execute(f"PRAGMA max_page_count={pages}")  # SQLite then fails as on a full disk
    for number in range(3):
        spool.append("topic", b"%d" % number + bytes(10_000))
    assert len(said) == 1
    assert "database or disk is full. New messages wait in memory; make room" in said[0]
    spool._disk.execute("PRAGMA max_page_count=1000000")
    spool.append("topic", b"after")
    assert [one[:1] for one in payloads(spool)] == [b"b", b"0", b"1", b"2", b"a"]
    found = spool.after(0, 100)
    spool.remove([one.id for one in found[:2]])
    spool.close()  # there is room again
    again = Spool(tmp_path / "spool")
    assert [one[:1] for one in payloads(again)] == [b"1", b"2", b"a"]
    again.close()


def filled(folder: Path) -> tuple[Path, bytes]:
    """Write 300 messages; return the database and its content."""
    spool = Spool(folder)
    for number in range(300):
        spool.append("site/door/event", b"%03d" % number + b"x" * 500)
    spool.close()
    return folder / FILE, (folder / FILE).read_bytes()


def test_what_is_left_of_a_damaged_one_is_sent_and_the_rest_said(tmp_path: Path) -> None:
    path, content = filled(tmp_path / "spool")
    chance = random.Random(0)
    kept: list[int] = []
    for number in range(60):
        data = bytearray(content)
        match number % 4:
            case 0:
                del data[chance.randrange(len(data)) :]
            case 1:
                for _ in range(20):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 2:
                start = chance.randrange(len(data) // 4096) * 4096
                data[start : start + 8192] = bytes(min(8192, len(data) - start))
            case _:
                data[: chance.randrange(1, 200)] = b"?" * chance.randrange(1, 200)
        for file in path.parent.iterdir():
            file.unlink()
        path.write_bytes(data)
        said: list[str] = []
        spool = Spool(path.parent, say=said.append)
        left = payloads(spool)
        assert left == sorted(left)
        assert all(len(one) == 503 for one in left)  # no payload of other bytes than were written
        spool.append("topic", b"new")
        assert payloads(spool) == [*left, b"new"], (number, said)
        spool.close()
        kept.append(len(left))
        if len(left) < 300 and data:
            assert said, f"{len(left)} messages, and nothing was said (damage {number})"
            assert "damaged" in said[0]
    assert min(kept[1::4]) > 250, kept  # after flipped bits
    assert sum(kept[0::4]) > 1500, kept  # of cut ones, about half
    assert sum(kept[2::4]) > 3000, kept  # of ones with two pages of zeros


def test_a_damaged_one_is_kept_beside_its_successor(tmp_path: Path) -> None:
    path, content = filled(tmp_path / "spool")
    path.write_bytes(content[: len(content) // 2])
    said: list[str] = []
    spool = Spool(path.parent, say=said.append)
    assert 0 < len(spool) < 300
    assert f"{len(spool)} messages could be read and wait, others may be lost" in said[0]
    assert (path.parent / DAMAGED).read_bytes()[: len(content) // 2] == content[: len(content) // 2]
    spool.close()
    path.write_bytes(b"not a database at all" * 1000)
    spool = Spool(path.parent, say=said.append)
    assert len(spool) == 0
    assert "0 messages could be read" in said[1]
    spool.close()


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    other = sqlite3.connect(folder / FILE)
    other.execute("CREATE TABLE messages (other TEXT)")
    other.close()
    with pytest.raises(OutputError, match="cannot use the spool"):
        Spool(folder)
    assert os.listdir(folder)  # nothing was removed
    with pytest.raises(OutputError, match="cannot use the spool"):  # and not: another program uses it
        Spool(folder)
