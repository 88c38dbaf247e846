"""Names of image files: the formats that are read, those that people also have, and videos."""

from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
OTHER_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})


def looks_like_an_image(path: Path) -> bool:
    """Whether a file begins as a JPEG, PNG or WebP does; one that cannot be read does not."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (start[:4], start[8:]) == (b"RIFF", b"WEBP")
