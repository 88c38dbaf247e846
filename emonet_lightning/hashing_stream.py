"""A file that is digested and synced while it is written, so that little is left to do at its end."""

import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

_EARLY_BYTES = 16 * 2**20  # written since the last time that the disk was told to begin


class HashingStream:
    """Writes to a file and digests what it is given, not what the file then holds."""

    def __init__(self, raw: BinaryIO, failure: Callable[[str], None]) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._failure = failure
        self._writes = 0
        self._unsynced = 0
        self._syncing: threading.Thread | None = None
        self.error: OSError | None = None
        """What the operating system said to the first write that it refused."""

    def write(self, data: Any) -> int:
        """Write bytes; returns how many."""
        self._writes += 1
        try:
            if self._writes == 2:
                self._failure("half")
            self._sha256.update(data)
            written = self._raw.write(data)
        except OSError as error:
            self.error = self.error or error
            raise
        self._unsynced += written
        if self._unsynced >= _EARLY_BYTES and (self._syncing is None or not self._syncing.is_alive()):
            self._unsynced = 0
            self._syncing = threading.Thread(target=self._sync, args=(os.dup(self._raw.fileno()),), daemon=True)
            self._syncing.start()
        return written

    def _sync(self, handle: int) -> None:
        """Let the disk work while the rest is made, so that little is left to wait for at the end."""
        try:
            os.fdatasync(handle)
        except OSError as error:  # it is said once: a later `fsync` would know nothing of it
            self.error = self.error or error
        finally:
            os.close(handle)

    def finish(self) -> None:
        """Wait for what is being synced.

        Raises:
            OSError: the operating system refused something.
        """
        if self._syncing is not None:
            self._syncing.join()
        if self.error is not None:
            raise self.error

    def write_halves(self, data: bytes) -> None:
        """Write bytes in two parts, as a kill may leave them."""
        self.write(data[: len(data) // 2])
        self.write(data[len(data) // 2 :])

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._raw.flush()

    def hexdigest(self) -> str:
        """Hex sha256 of all that was written."""
        return self._sha256.hexdigest()
