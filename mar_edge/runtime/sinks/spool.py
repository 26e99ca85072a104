"""Messages that wait on disk until their receiver has acknowledged them.

They lie in a SQLite database (write-ahead log). Each is on the disk (`synchronous=FULL`: fsync) before `append` returns, so
neither `kill -9` nor a power cut loses it. Removals are not synchronised (`NORMAL`): after a power cut, some messages that
were acknowledged may be there again. The database itself stays whole in both cases.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
import zlib
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from mar_edge.counting import counted, form
from mar_edge.errors import OutputError
from mar_edge.files.private_folder import make_private, why_untrusted
from mar_edge.files.unfinished import lock
from mar_edge.reporting import Warn, no_warning

FILE = "messages.sqlite3"
DAMAGED = "damaged.sqlite3"

_MOST_BYTES = 1 << 30
"""To which a damaged database is extended at most; the added part takes no room on the disk."""

_TABLE = "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, topic BLOB, payload BLOB, crc INTEGER)"


class Message(NamedTuple):
    """A message that waits.

    Attributes:
        id: rises with every message.
        topic: where it goes.
        payload: its content.
    """

    id: int
    topic: str
    payload: bytes


class Spool:
    """A bounded queue on disk, of one process; every method may be called from any thread.

    While the disk cannot be written to, new messages wait in memory, in the same order and within the same bound.

    Args:
        folder: created for this user alone; holds the database and nothing else.
        max_messages: beyond it the oldest message is dropped.
        max_bytes: the same for the sum of the payloads.
        say: called with one sentence when messages are lost or may be.

    Attributes:
        dropped: messages that were dropped beyond the bound.

    Raises:
        OutputError: if the folder cannot be used, or another process uses it.
    """

    def __init__(
        self, folder: Path, *, max_messages: int = 10_000, max_bytes: int = 16 << 20, say: Warn = no_warning
    ) -> None:
        self.dropped = 0
        self._folder = folder
        self._most = max_messages, max_bytes
        self._say = say
        self._mutex = threading.RLock()
        self._memory: deque[Message] = deque()
        self._descriptor = _own(folder)
        self._unreadable = False
        self._disk: sqlite3.Connection | None = None
        try:
            self._disk, self._sizes = self._open()
        except (sqlite3.Error, OSError) as error:
            os.close(self._descriptor)
            raise OutputError(f"cannot use the spool {folder}: {error}. Make room, or choose another folder") from error
        self._bytes = sum(self._sizes.values())
        self._last = max(self._sizes, default=0)
        self._bound()

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._sizes)

    def append(self, topic: str, payload: bytes) -> int:
        """Add a message; it is on the disk afterwards.

        Returns:
            How many messages were dropped, the oldest first, to keep the bound.
        """
        with self._mutex:
            self._last += 1
            message = Message(self._last, topic, payload)
            if self._memory or self._unreadable or not self._store(message):  # those in memory are older
                self._memory.append(message)
            self._sizes[message.id] = len(payload)
            self._bytes += len(payload)
            return self._bound()

    def after(self, last: int, count: int) -> list[Message]:
        """Return the next messages in order.

        Args:
            last: id of the newest one that is not wanted; 0 for the oldest messages.
            count: how many at most.
        """
        with self._mutex:
            found, damaged = [], []
            for message, whole in self._rows("id > ? ORDER BY id LIMIT ?", last, count):
                found.append(message) if whole else damaged.append(message.id)
            if damaged:
                self.remove(damaged)
                self._say(
                    f"the spool {self._folder} has {counted(len(damaged), 'damaged message')}, which cannot be sent"
                )
                return self.after(last, count)
            return [*found, *(message for message in self._memory if message.id > last)][:count]

    def remove(self, ids: Collection[int]) -> None:
        """Remove messages; those that are not there any more are ignored."""
        with self._mutex:
            gone = [one for one in ids if one in self._sizes]
            self._bytes -= sum(self._sizes.pop(one) for one in gone)
            while self._memory and self._memory[0].id not in self._sizes:
                self._memory.popleft()
            if gone and self._disk is not None:
                with suppress(sqlite3.Error):  # they are sent again after the next start, which receivers must expect
                    self._disk.execute("PRAGMA synchronous=NORMAL")
                    with self._disk:
                        self._disk.executemany("DELETE FROM messages WHERE id = ?", [(one,) for one in gone])

    def close(self) -> None:
        """Close it; what waits stays on the disk, for the next start."""
        with self._mutex:
            if self._disk is None:
                return
            for message in list(self._memory):
                if not self._store(message):
                    number = len(self._memory)
                    self._say(
                        f"{counted(number, 'message')} could not be written to the spool {self._folder}, and {form(number, 'is', 'are')} lost"
                    )
                    break
                self._memory.popleft()
            self._disk.close()
            self._disk = None
            os.close(self._descriptor)

    def _store(self, message: Message) -> bool:
        if self._disk is None:
            return False
        try:
            self._disk.execute("PRAGMA synchronous=FULL")
            with self._disk:
                topic = message.topic.encode()
                row = (message.id, topic, message.payload, _crc(topic, message.payload))
                self._disk.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            if not self._memory:
                self._say(f"cannot write the spool {self._folder}: {error}. New messages wait in memory; make room")
            return False
        return True

    def _rows(self, condition: str, *values: int) -> Iterator[tuple[Message, bool]]:
        """Yield messages of the database, and whether each is as it was written."""
        if self._disk is None:
            return
        try:
            rows = self._disk.execute(
                f"SELECT id, topic, payload, crc FROM messages WHERE {condition}", values
            ).fetchall()
        except sqlite3.Error as error:
            if not self._unreadable:
                self._unreadable = True
                self._say(
                    f"cannot read the spool {self._folder}: {error}. What can be read is sent after the next start"
                )
            return
        for number, topic, payload, crc in rows:
            whole = _is_whole(topic, payload, crc)
            yield Message(number, topic.decode() if whole else "", payload), whole

    def _bound(self) -> int:
        """Drop the oldest messages beyond the bound."""
        oldest = []
        count, size = len(self._sizes), self._bytes
        for number, length in self._sizes.items():  # in order of their ids
            if count <= self._most[0] and size <= self._most[1]:
                break
            oldest.append(number)
            count, size = count - 1, size - length
        self.remove(oldest)
        self.dropped += len(oldest)
        return len(oldest)

    def _open(self) -> tuple[sqlite3.Connection, dict[int, int]]:
        """Open the database, and return the size of each message in it; a damaged one is replaced by what can be read of it."""
        path = self._folder / FILE
        try:
            return _connect(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # it cannot be opened or locked, or the disk is full
                raise
        rows = _salvage(path)
        kept = self._folder / DAMAGED
        for end in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{end}", f"{kept}{end}")
        disk, _ = _connect(path)
        with disk:
            disk.executemany("INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?)", rows)
        self._say(
            f"the spool {path} is damaged: {counted(len(rows), 'message')} could be read and "
            f"{form(len(rows), 'waits', 'wait')}, others may be lost. The damaged one is now {kept}"
        )
        return disk, _sizes(disk)


def _own(folder: Path) -> int:
    """Create the folder, and return the descriptor of its lock.

    Raises:
        OutputError: if that fails.
    """
    try:
        make_private(folder)
        if (problem := why_untrusted(folder)) is not None:
            raise OutputError(f"the spool {folder} {problem}. Choose another folder")
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutputError(
            f"cannot use the spool {folder}: {error.strerror}. Choose a folder you can write to"
        ) from error
    if lock(descriptor) is False:
        os.close(descriptor)
        raise OutputError(
            f"another program uses the spool {folder}: it sends to the same broker under the same topics. "
            "Choose another topic prefix, or another folder"
        )
    return descriptor


def _connect(path: Path) -> tuple[sqlite3.Connection, dict[int, int]]:
    disk = sqlite3.connect(path, timeout=5, check_same_thread=False)
    try:
        disk.execute("PRAGMA journal_mode=WAL")
        disk.execute("PRAGMA synchronous=FULL")
        if (answer := disk.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(answer)
        disk.text_factory = bytes  # a damaged value may be text that is not UTF-8
        disk.execute(_TABLE)
        return disk, _sizes(disk)
    except BaseException:
        disk.close()
        raise


def _sizes(disk: sqlite3.Connection) -> dict[int, int]:
    return dict(disk.execute("SELECT id, length(payload) FROM messages ORDER BY id").fetchall())


def _salvage(path: Path) -> list[tuple[int, bytes, bytes, int]]:
    """Return the rows of a damaged database that are whole: from the first on, and from the last back, to where it is damaged."""
    with path.open("r+b") as file:  # SQLite reads nothing of a file that is shorter than its header says
        page_bytes, pages = struct.unpack(">16xH10xI", file.read(32).ljust(32, b"\0"))
        file.truncate(max(file.seek(0, os.SEEK_END), min(page_bytes * pages, _MOST_BYTES)))
    rows: dict[int, tuple[int, bytes, bytes, int]] = {}
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=5)) as disk:
            disk.text_factory = bytes
            for row in disk.execute(f"SELECT id, topic, payload, crc FROM messages ORDER BY id {order}"):
                if isinstance(row[0], int) and _is_whole(*row[1:]):
                    rows[row[0]] = row
    return [rows[number] for number in sorted(rows)]


def _is_whole(topic: object, payload: object, crc: object) -> bool:
    return isinstance(topic, bytes) and isinstance(payload, bytes) and crc == _crc(topic, payload)


def _crc(topic: bytes, payload: bytes) -> int:
    """Return a check sum: the file system may return other bytes than were written, and SQLite has none of its own."""
    return zlib.crc32(payload, zlib.crc32(topic))
