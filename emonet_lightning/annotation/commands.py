"""The commands `annotate campaign`, `annotate advance`, `annotate status` and `annotate export`."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from emonet_lightning.annotation.answers import Answer, first_task, read_export, votes_of
from emonet_lightning.annotation.building import Options, build_campaign, existing_or_new
from emonet_lightning.annotation.campaigns import bring_up, collect, due_questions, title_of
from emonet_lightning.annotation.label_studio import LabelStudio
from emonet_lightning.annotation.live import agreement, changed_minds, outcomes, rater_progress
from emonet_lightning.annotation.plan import CampaignKind
from emonet_lightning.annotation.record import CONSENT_ROUND, Campaign, read_campaign, read_sides
from emonet_lightning.annotation.tables import write_tables
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.shares import Share
from emonet_lightning.folder_lock import claimed
from emonet_lightning.io import atomic_write, make_folder, read_bytes, write_json
from emonet_lightning.messages import say
from emonet_lightning.packing.packed import PackedSet

BUSY = "another `annotate` command works in this folder; wait for it"


def campaign_command(
    input: str,
    out: str,
    kind: CampaignKind,
    raters: str,
    per_image: int | None = None,
    contrasts: str = "released",
    contrast_raters: str | None = None,
    pairs: str | None = None,
    swap_sides: bool = False,
    taxonomy: str = "emonet40",
    split: str | None = None,
    num_images: int | None = None,
    instructions: str | None = None,
    consent: str | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Put questions about a packed set before raters: projects and tasks in a Label Studio server on this machine.

    The server is named by LABEL_STUDIO_URL (by default http://localhost:8080), the token by LABEL_STUDIO_API_KEY. The
    same command goes on after an interruption, and makes nothing twice.

    Args:
        input: packed set.
        out: folder of the campaign: its record, and the images that the server shows.
        kind: `binary` (yes or no, a yes goes to the next rater), `rating` (a slider per emotion), `preference` (pairs).
        raters: names separated by commas; each has projects of their own.
        per_image: raters of each image (`rating`: by default 4, or all) or pair (`preference`: all).
        contrasts: of `binary`: `released` pairs of emotions, `none`, or a YAML file of pairs.
        contrast_raters: who is asked the contrasts; by default all raters, among their targets.
        pairs: of `preference`: JSON lines of pair, image, left and right.
        swap_sides: swap the sides of each pair for each rater at random; the key is `sides.json`, and choices are
            exported as sides of the pairs file.
        taxonomy: `emonet40`, or the YAML file that the set was packed with.
        split: ask about this split only.
        num_images: ask about that many images, drawn at random.
        instructions: text file instead of the instructions that come with the kind.
        consent: text file instead of the consent that comes with the package; `none` asks for none.
        name: of the campaign, before raters' names in titles; by default the set's.
        seed: of who is asked what, in which order.
        progress: show progress bars.
    """
    packed, folder = PackedSet.open(input), Path(out)
    options = Options(
        kind=kind,
        raters=_names(raters),
        per_image=per_image,
        contrasts=contrasts,
        contrast_raters=_names(contrast_raters),
        pairs=pairs,
        taxonomy=taxonomy,
        split=split,
        num_images=num_images,
        instructions=instructions,
        consent=consent,
        name=name,
        seed=seed,
        swap_sides=swap_sides,
    )
    planned = build_campaign(packed, options)
    server = LabelStudio.from_environment()
    make_folder(folder)
    with claimed(folder, BUSY):
        campaign = existing_or_new(folder, planned, swap_sides, packed, progress)
        answers, _ = collect(folder, campaign, server)
        made = bring_up(folder, campaign, server, answers, progress)
    say(
        f"{out}: {len(campaign.questions)} questions about {len(campaign.files)} images for {len(campaign.raters)} "
        f"raters, {made} tasks made now"
    )
    _say_links(campaign, server)


def advance_command(folder: str, progress: bool = True) -> None:
    """Put each question with a yes before its next rater; a no ends it, three yes confirm it.

    Run it as often as you like, also while raters work: it makes only what is missing.

    Args:
        folder: of the campaign.
        progress: show progress bars.
    """
    path, campaign = Path(folder), read_campaign(folder)
    server = LabelStudio.from_environment()
    with claimed(path, BUSY):
        answers, _ = collect(path, campaign, server)
        made = bring_up(path, campaign, server, answers, progress)
    say("; ".join(filter(None, [f"{folder}: {made} tasks made", _outcomes(campaign, answers)])))
    if made:
        _say_links(campaign, server)


def status_command(folder: str) -> None:
    """Show how far each rater is, how long an answer takes, and how far raters agree so far.

    Args:
        folder: of the campaign.
    """
    path, campaign = Path(folder), read_campaign(folder)
    answers, _ = collect(path, campaign, LabelStudio.from_environment())
    console = Console(soft_wrap=True)
    console.print(_status_table(campaign, answers))
    for line in [_outcomes(campaign, answers), *agreement(campaign, answers)]:
        if line:
            console.print(line, highlight=False, markup=False)


def export_command(folder: str, out: str, files: list[str] | None = None, partial: bool = False) -> None:
    """Write the answers as tables: those of the released sets, and one that keeps everything.

    Args:
        folder: of the campaign.
        out: folder of the tables.
        files: JSON exports of the projects, as downloaded, instead of asking the server.
        partial: also while questions are unanswered.
    """
    path, campaign = Path(folder), read_campaign(folder)
    if files:
        answers, exports = _from_files(path, campaign, files)
    else:
        answers, exports = collect(path, campaign, LabelStudio.from_environment())
    _check_consent(campaign, answers)
    if not partial:
        _check_finished(folder, campaign, answers)
    if not any(answer.round != CONSENT_ROUND for answer in answers):
        raise DataError(f"{folder}: nobody has answered anything yet")
    target = make_folder(out)
    with claimed(target, BUSY):
        for number, content in exports.items():
            atomic_write(target / "label_studio" / f"project-{number}.json", content)
        written = write_tables(target, campaign, answers)
        kept = {key: getattr(campaign, key) for key in ("id", "name", "kind", "seed", "set_digest", "raters")}
        write_json(target / "export.json", {**kept, "outcomes": outcomes(campaign, answers), "rows": written})
    say(f"{out}: " + ", ".join(f"{name} {rows:,} rows" for name, rows in written.items()))
    if changed := changed_minds(campaign, answers):
        say(f"{len(changed)} questions went on after a yes that is a no now ({changed[0]} first); all votes are kept")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _say_links(campaign: Campaign, server: LabelStudio) -> None:
    """Say what to send to each rater."""
    for project in campaign.projects:
        title = title_of(campaign, project.rater, project.round)
        say(f"  {title}: {server.url}/projects/{project.id}/data?labeling=1")


def _outcomes(campaign: Campaign, answers: list[Answer]) -> str:
    if campaign.kind != "binary":
        return ""
    return "votes on targets: " + ", ".join(f"{key} {count}" for key, count in outcomes(campaign, answers).items())


def _from_files(folder: Path, campaign: Campaign, files: list[str]) -> tuple[list[Answer], dict[int, bytes]]:
    by_id = {project.id: project for project in campaign.projects}
    swaps = read_sides(folder, campaign)
    answers: list[Answer] = []
    exports: dict[int, bytes] = {}
    for file in files:
        content = read_bytes(file)
        number = _project_of(content, file)
        if number not in by_id:
            raise DataError(f"{file}: of project {number}, which campaign '{campaign.name}' did not make")
        if number in exports:
            raise DataError(f"{file}: a second export of project {number}; keep the newer one")
        exports[number] = content
        answers += read_export(content, file, campaign, by_id[number], swaps)
    return answers, exports


def _project_of(content: bytes, where: str) -> Any:
    """Number of the project of an export's first task."""
    return first_task(content, where).get("project")


def _check_consent(campaign: Campaign, answers: list[Answer]) -> None:
    if not campaign.consent:
        return
    agreed = {a.rater for a in answers if a.round == CONSENT_ROUND and a.yes}
    for rater in campaign.raters:
        if rater not in agreed and any(a.rater == rater for a in answers):
            title = title_of(campaign, rater, CONSENT_ROUND)
            raise DataError(f"'{rater}' has answered, but not agreed: have project '{title}' answered first")


def _check_finished(folder: str, campaign: Campaign, answers: list[Answer]) -> None:
    given = {(answer.rater, answer.round, answer.question) for answer in answers}
    due = due_questions(campaign, votes_of(answers))
    left = {
        rater: sum((rater, number, q.id) not in given for (name, number), asked in due.items() if name == rater
                   for q in asked)
        for rater in campaign.raters
    }  # fmt: skip
    waiting = {rater: count for rater, count in left.items() if count}
    if waiting:
        told = ", ".join(f"{rater} {count}" for rater, count in waiting.items())
        raise DataError(
            f"{folder}: {sum(waiting.values())} questions are unanswered ({told}); `annotate advance`, wait for the "
            "raters, or export what there is with --partial"
        )


def _status_table(campaign: Campaign, answers: list[Answer]) -> Table:
    votes = campaign.kind == "binary"
    table = Table(title=f"{campaign.name} ({campaign.kind})", title_justify="left")
    for column in ("rater", "consent", "", "done", "left", "median s"):
        table.add_column(column, justify="left" if column in ("rater", "consent", "") else "right")
    for column in ("yes in later rounds", "yes on contrasts") if votes else ("kappa with others",):
        table.add_column(column, justify="right")
    for row in rater_progress(campaign, answers):
        cells = [_share(row.yes), _share(row.contrast_yes)] if votes else [_number(row.kappa, 3)]
        table.add_row(
            row.rater,
            {None: "not asked", True: "agreed", False: "missing"}[row.agreed],
            ProgressBar(total=max(row.due, 1), completed=row.done, width=16),
            str(row.done),
            str(row.due - row.done),
            _number(row.seconds, 1),
            *cells,
        )
    return table


def _share(found: Share | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    return f"{found['value']:.0%} of {found['n']}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
