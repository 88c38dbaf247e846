"""One HTML file of several Markdown reports: pictures inside, nothing fetched, no script; it can be mailed as it is."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from emonet_lightning.errors import MissingInputError, OutputError
from emonet_lightning.io import read_bytes

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
img { max-width: 100%; height: auto; background: white; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.85rem; }
th, td { border: 1px solid #8884; padding: 0.2rem 0.5rem; text-align: left; }
section { border-top: 3px solid #0072B2; margin-top: 2.5rem; }
code { font-size: 0.9em; }
details > summary { cursor: pointer; font-weight: 600; margin: 0.6rem 0; }
"""


class Chapter(NamedTuple):
    """A part of the page."""

    title: str
    text: str
    """Markdown; pictures are named by paths within `folder`."""
    folder: Path
    folded: bool = False
    """Shown when its title is clicked."""


def html_page(title: str, chapters: Sequence[Chapter]) -> str:
    """Return the page.

    Raises:
        MissingInputError: a picture that a chapter names is not there.
        OutputError: a picture lies outside the chapter's folder, or is of no kind that a browser shows.
    """
    names = [f"part-{number}" for number in range(1, len(chapters) + 1)]
    links = " ".join(
        f'<a href="#{name}">{html.escape(chapter.title)}</a>' for name, chapter in zip(names, chapters, strict=True)
    )
    parts = "".join(_section(name, chapter) for name, chapter in zip(names, chapters, strict=True))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1><nav>{links}</nav>{parts}</body></html>\n"
    )


def _section(name: str, chapter: Chapter) -> str:
    from markdown_it import MarkdownIt

    # raw HTML in a report (a rater's name, say) is shown, never obeyed
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(chapter.text)
    body = re.sub(r'<img src="([^"]*)"', lambda found: f'<img src="{_inside(found[1], chapter.folder)}"', body)
    heading = f"<h2>{html.escape(chapter.title)}</h2>"
    if chapter.folded:
        body, heading = f"<details><summary>{html.escape(chapter.title)}</summary>{body}</details>", ""
    return f'\n<section id="{name}">{heading}{body}</section>'


def _inside(source: str, folder: Path) -> str:
    """Return a picture as a data URI."""
    path = folder / unquote(html.unescape(source))
    if "://" in source or not path.resolve().is_relative_to(folder.resolve()) or path.suffix.lower() not in _TYPES:
        raise OutputError(f"{folder}: the report names '{source}', which is no picture in its folder")
    if not path.is_file():
        raise MissingInputError(f"{path}: the picture is not there; write the report again")
    return f"data:{_TYPES[path.suffix.lower()]};base64,{base64.b64encode(read_bytes(path)).decode()}"
