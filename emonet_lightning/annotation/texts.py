"""What raters read before they begin: instructions of each kind, and the consent; a user's file replaces either."""

import html
from pathlib import Path

from emonet_lightning.annotation.plan import CampaignKind
from emonet_lightning.errors import DataError
from emonet_lightning.io import read_bytes

_RELAX = (
    "Sit comfortably and take your time to settle. Then trust your first impression: there is no right answer, we ask "
    "what you see in the face, not what the person may feel. Take breaks; your work is kept."
)
_SUBMIT = "Press Submit (or Ctrl+Enter) to go on."
INSTRUCTIONS: dict[CampaignKind, list[str]] = {
    "binary": [_RELAX, "Look at the face and the words beside it, and press y for yes or n for no.", _SUBMIT],
    "rating": [
        _RELAX,
        "Open the families of emotions and move the sliders of those that you see, the further the stronger. Leave the "
        "others untouched; a face may show one emotion, several or none.",
        "Press Submit to go on.",  # a slider that has the focus takes Ctrl+Enter
    ],
    "preference": [
        _RELAX,
        "Left and right of the face stand two descriptions of it, the strongest emotion first and largest. Which one "
        "fits the face better? Press f for the left or j for the right one; choose even if it is close.",
        _SUBMIT,
    ],
}
CONSENT = [
    "You will be shown pictures of faces and asked which emotions you see in them.",
    "Taking part is voluntary. You may stop at any time, without giving a reason and without any disadvantage; what "
    "you answered is then deleted if you ask for it.",
    "Your answers and the time they take are stored under a code name, used for research, and may be published in "
    "that form. Your account is not part of what is published.",
    "Some pictures show strong or sexual emotions. Stop if you feel uncomfortable.",
]
NONE = "none"


def instructions(kind: CampaignKind, path: str | None) -> str:
    """Return a kind's instructions as HTML, or those of a text file.

    Raises:
        MissingInputError: no such file.
        DataError: it is no text, or empty.
    """
    return _paragraphs(INSTRUCTIONS[kind] if path is None else _read(path))


def consent(path: str | None) -> str:
    """Return the consent as HTML: the text that comes with the package, a file's, or nothing for `none`.

    Raises:
        MissingInputError: no such file.
        DataError: it is no text, or empty.
    """
    if path == NONE:
        return ""
    return _paragraphs(CONSENT if path is None else _read(path))


def _read(path: str) -> list[str]:
    try:
        text = read_bytes(Path(path)).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; save it as plain text") from error
    found = [" ".join(part.split()) for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
    if not found:
        raise DataError(f"{path}: empty; write what raters shall read, paragraphs apart by an empty line")
    return found


def _paragraphs(texts: list[str]) -> str:
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)
