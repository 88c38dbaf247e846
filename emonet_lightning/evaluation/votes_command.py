"""The command `evaluate votes`."""

from pathlib import Path

from emonet_lightning.evaluation.vote_file import read_votes
from emonet_lightning.evaluation.votes import describe_votes
from emonet_lightning.io import write_json
from emonet_lightning.options import pairs
from emonet_lightning.taxonomy import Taxonomy


def votes_command(
    votes: str,
    out: str,
    taxonomy: str = "emonet40",
    yes_value: float | None = None,
    no_value: float | None = None,
    columns: dict[str, str] | str | None = None,
) -> None:
    """Describe a file of yes/no votes: outcomes, agreement, contrast pairs, targets of each consensus rule.

    Writes `votes.json` (every number with its rule, n and interval), `votes.md` (tables) and `figures/` (PNG and PDF).

    Args:
        votes: CSV file of votes (image, rater, emotion, True or False), such as the released `binary.csv`.
        out: folder for the report.
        taxonomy: `emonet40`, or a YAML file of your own emotions.
        yes_value: score of a yes; by default the highest level. The paper's is unpublished.
        no_value: score of a no; by default the lowest level.
        columns: names of the file's columns, as `--columns image=foto,rating=vote`; roles are image, rater,
            emotion, rating, and prompted (the emotion that the image was made for).
    """
    from emonet_lightning.reporting.votes_report import print_votes, write_votes_report

    emotions = Taxonomy.load(taxonomy)
    found = describe_votes(read_votes(votes, emotions, pairs("columns", columns)), emotions, yes_value, no_value)
    folder = Path(out)
    write_json(folder / "votes.json", found)
    write_votes_report(found, folder)
    print_votes(found, folder)
