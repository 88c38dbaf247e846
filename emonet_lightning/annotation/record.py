"""A campaign's record: what is asked, of whom, and which project of the server is whose. Written whole or not at all.

The server keeps the answers, and is asked which tasks it holds: the record names projects only, so it cannot disagree.
"""

import dataclasses
import json
import uuid
from pathlib import Path
from typing import Any

from emonet_lightning.annotation.plan import CampaignKind, Question
from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import atomic_write, json_text, read_json
from emonet_lightning.signed_json import read_signed, sign
from emonet_lightning.taxonomy import Taxonomy

RECORD, SIDES, IMAGES = "campaign.json", "sides.json", "images"
FORMAT, VERSION = "emonet_lightning annotation campaign", 1
CONSENT_ROUND = 0


@dataclasses.dataclass
class Project:
    """A project of the server: one rater's questions of one round (0: the consent)."""

    rater: str
    round: int
    id: int


@dataclasses.dataclass
class Campaign:
    """What a campaign is; see `campaigns.py` for how the server is brought to it."""

    id: str
    name: str
    kind: CampaignKind
    seed: int
    set_digest: str
    taxonomy: dict[str, Any]
    raters: list[str]
    config: str
    """Labelling configuration."""
    asks: dict[str, dict[str, str]]
    """Subject of a question -> what its tasks show."""
    instructions: str
    consent: str
    """HTML texts; without a consent nobody is asked for it."""
    questions: list[Question]
    files: dict[str, str]
    """Image key -> file in `images/`, named by content."""
    prompted: dict[str, str]
    """Image key -> slug of the emotion it was made for, where known."""
    sides_sha256: str | None = None
    """Of `sides.json`, which says whose sides are swapped."""
    projects: list[Project] = dataclasses.field(default_factory=list)

    def columns(self) -> Taxonomy:
        """Return the emotions that are asked for."""
        return Taxonomy.from_dict(self.taxonomy)

    def project(self, rater: str, round: int) -> Project | None:
        """Return a rater's project of a round, if it has been made."""
        return next((p for p in self.projects if (p.rater, p.round) == (rater, round)), None)

    def identity(self) -> dict[str, Any]:
        """Return what options decide, all of which must be the same when a campaign goes on."""
        content = dataclasses.asdict(self)
        return {
            key: content[key] for key in content if key not in ("id", "files", "prompted", "projects", "sides_sha256")
        }


def new_id() -> str:
    """Return what marks a campaign's projects on the server."""
    return uuid.uuid4().hex


def write_campaign(folder: Path, campaign: Campaign) -> None:
    """Write the record, atomically."""
    content = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(campaign)}
    atomic_write(folder / RECORD, sign(json_text(content)))


def read_campaign(folder: Path | str) -> Campaign:
    """Read a record back.

    Raises:
        MissingInputError: the folder holds no campaign.
        DataError: changed or damaged, or of another version.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise MissingInputError(f"{folder}: holds no {RECORD}; name the folder that `annotate campaign --out` made")
    content = read_signed(path, "take it from a backup; the server keeps the answers")
    if not isinstance(content, dict) or (content.pop("format", None), content.pop("version", None)) != (
        FORMAT,
        VERSION,
    ):
        raise DataError(f"{path}: not a record of this version ({FORMAT} {VERSION}); name another folder")
    content.pop("sha256")
    content["questions"] = [Question(q[0], q[1], q[2], q[3], tuple(q[4])) for q in content["questions"]]
    content["projects"] = [Project(**p) for p in content["projects"]]
    return Campaign(**content)


def write_sides(folder: Path, swaps: dict[str, list[str]], seed: int) -> str:
    """Write for whom the sides are swapped, apart from the record; returns the file's sha256."""
    return atomic_write(folder / SIDES, json.dumps({"seed": seed, "swapped": swaps}, indent=1, sort_keys=True) + "\n")


def read_sides(folder: Path, campaign: Campaign) -> dict[str, list[str]]:
    """Return question id -> raters whose sides are swapped; empty where none are.

    Raises:
        DataError: not the file that was written with the campaign.
    """
    if campaign.sides_sha256 is None:
        return {}
    swapped: dict[str, list[str]] = read_json(folder / SIDES, campaign.sides_sha256)["swapped"]
    return swapped
