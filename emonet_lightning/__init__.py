"""emonet_lightning: trains and judges Empathic Insight-Face, one MLP head per emotion on a frozen vision encoder."""

__version__ = "0.1.0"
