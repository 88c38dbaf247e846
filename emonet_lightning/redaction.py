"""Secrets kept out of everything that is written: by the name they stand under, by how they look, by the environment.

A secret that looks like any other word and stands under no telling name cannot be known; variables of the environment
whose name tells (`HF_TOKEN`, `WANDB_API_KEY`) are known by their value, wherever it turns up.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "<redacted>"
_WORDS = (
    r"(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?(?:access[_-]?)?key|private[_-]?key|account[_-]?key|"
    r"(?:access|auth|refresh|id|bearer|session|security|sas)?[_-]?token|client[_-]?secret|secret|password|passwd|"
    r"passphrase|pwd|credentials?|authorization|cookie|netrc)"
)
_NAME = re.compile(rf"(?:^|[^a-z]|(?<=[a-z])(?=[A-Z])){_WORDS}$", re.IGNORECASE)
_MIN_LENGTH = 8  # a shorter value of a variable would be found in innocent words
_HEX_NAMES = re.compile(r"(?:revision|commit|oid|sha1?|digest|fingerprint|(?:^|_)id)$", re.IGNORECASE)
_WANDB = re.compile(r"[0-9a-f]{40}")
_SHAPES = [
    re.compile(pattern)
    for pattern in (
        r"\bhf_[A-Za-z0-9]{16,}",
        r"\bsk-[A-Za-z0-9_-]{16,}",
        r"\bsk_(?:live|test)_[A-Za-z0-9]{10,}",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}",
        r"\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_-]{16,}",
        r"\bpypi-[A-Za-z0-9_-]{16,}",
        r"\bnpm_[A-Za-z0-9]{20,}",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"\bAIza[A-Za-z0-9_-]{30,}",
        r"\bya29\.[A-Za-z0-9_-]{16,}",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"\bwandb_v\d_[A-Za-z0-9_]{16,}",
        r"\blocal-[0-9a-f]{40}\b",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        # a W&B key; a commit of the hub looks the same, and stands behind its name or in a path
        r"(?<![\w/@.-])(?<!revision[ =:])(?<!revision=')(?<!commit[ =:])(?<!commit=')[0-9a-f]{40}(?![\w/.-])",
    )
]
# a password may hold @ unescaped, or / (which is then no port's)
_USERINFO = re.compile(r"(?<=://)(?:[^\s/'\"]+|[^\s/@:'\"]+:(?!\d+[/?#])[^\s'\"]+)(?=@)")
_QUERY = re.compile(
    r"([?&](?:[\w.-]*(?:token|key|signature|secret|password|credential)|sig|auth|code)=)[^&\s'\"#]+", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"((?<![a-z])[\w.-]*?{_WORDS}[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;}}\])]+)", re.IGNORECASE
)
_OPTION = re.compile(rf"(--[\w.-]*?{_WORDS}\s+)(?!-)(\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether an option, a key or a variable of that name holds a secret."""
    return bool(_NAME.search(name))


def redact(content: Any) -> Any:
    """Return a copy without secrets: of text, or of mappings and sequences of whatever depth.

    Args:
        content: text, bytes, a mapping, a list, a tuple; anything else is returned as it is.
    """
    return _redacted(content, _of_environment(), "")


def _redacted(content: Any, known: Iterable[str], name: str) -> Any:
    if isinstance(content, Mapping):
        return {_redacted(key, known, ""): _redacted(value, known, str(key)) for key, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        inner = [_redacted(value, known, name) for value in content]
        return type(content)(*inner) if hasattr(content, "_fields") else type(content)(inner)
    if is_secret_name(name) and content not in (None, "", True, False):
        return HIDDEN
    if isinstance(content, bytes):
        return _text(content.decode("latin-1"), known, name).encode("latin-1")
    return _text(content, known, name) if isinstance(content, str) else content


def _text(text: str, known: Iterable[str], name: str) -> str:
    for value in known:
        text = text.replace(value, HIDDEN)
    if _WANDB.fullmatch(text):
        return text if _HEX_NAMES.search(name) else HIDDEN
    text = _USERINFO.sub(HIDDEN, text)
    text = _QUERY.sub(rf"\g<1>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<1> {HIDDEN}", text)
    for shape in _SHAPES:
        text = shape.sub(HIDDEN, text)
    text = _OPTION.sub(rf"\g<1>{HIDDEN}", text)
    return _ASSIGNED.sub(lambda found: found[0] if found[2] == HIDDEN else f"{found[1]}{HIDDEN}", text)


def _of_environment() -> list[str]:
    """Values of variables whose name says that they are secrets, the longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= _MIN_LENGTH and is_secret_name(name) and not os.path.exists(value)
    }
    return sorted(found, key=len, reverse=True)
