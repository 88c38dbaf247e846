"""Names of image files: the formats that are read, and those that people also have."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
OTHER_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".tif", ".tiff"})
