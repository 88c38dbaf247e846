"""Campaigns: brings a Label Studio server to what the record and the votes so far ask for.

One function does so at the start, after a kill and after every round: what is due is computed, what is there is asked
for, the difference is made. Nothing is made twice, whatever was interrupted.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning.annotation.answers import CONSENT, Answer, read_export, votes_of
from emonet_lightning.annotation.interface import MAX_LINES, breakable, consent_config
from emonet_lightning.annotation.label_studio import LabelStudio
from emonet_lightning.annotation.plan import Question, rater_order
from emonet_lightning.annotation.record import (
    CONSENT_ROUND,
    IMAGES,
    Campaign,
    Project,
    read_sides,
    write_campaign,
)
from emonet_lightning.errors import UsageError
from emonet_lightning.io import atomic_write, fingerprint, make_folder
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.sequential import due_rounds

Due = dict[tuple[str, int], list[Question]]
"""(Rater, round) -> questions whose task must be there."""
_BATCH = 250  # tasks per call: the server takes about 0.1 s, and one call is one transaction
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PN": ".png", b"RIF": ".webp"}
MAX_TITLE = 50  # characters that Label Studio takes


def due_questions(campaign: Campaign, votes: dict[str, list[bool]]) -> Due:
    """Return which questions must be before whom after these votes; answered ones are among them."""
    due: Due = {(rater, CONSENT_ROUND): [] for rater in campaign.raters} if campaign.consent else {}
    for question in campaign.questions:
        if question.role == "target":
            for number, rater in enumerate(question.raters[: due_rounds(votes.get(question.id, []))], 1):
                due.setdefault((rater, number), []).append(question)
        else:
            for rater in question.raters:
                due.setdefault((rater, 1), []).append(question)
    return due


def title_of(campaign: Campaign, rater: str, round: int) -> str:
    """Return a project's title: it says part, not round, since who knows that others said yes is led.

    Raises:
        UsageError: longer than Label Studio takes.
    """
    what = "consent, first" if round == CONSENT_ROUND else f"part {round}"
    title = f"{campaign.name}: {rater}, {what}"
    if len(title) > MAX_TITLE:
        raise UsageError(f"'{title}': longer than the {MAX_TITLE} characters of a title; shorten --name or the rater's")
    return title


def store_images(packed: PackedSet, keys: Sequence[str], folder: Path, progress: bool) -> dict[str, str]:
    """Write the images that are not there yet into a folder; returns the file of each key.

    Files are named by content, so that no name tells a rater what an image was made for.

    Raises:
        DataError: damaged; names the sample.
        InterruptedRunError: the process was asked to stop.
    """
    make_folder(folder)
    row_of = {key: row for row, key in enumerate(packed.keys)}
    files = {}
    with progress_bar("images", len(keys), "images", progress) as advance:
        for key in keys:
            content = packed.read_image(row_of[key])
            files[key] = packed.image_sha256[row_of[key]][:32] + _SUFFIXES.get(content[:3], ".jpg")
            if not (folder / files[key]).is_file():
                atomic_write(folder / files[key], content)
            advance(1)
    return files


def collect(folder: Path, campaign: Campaign, server: LabelStudio) -> tuple[list[Answer], dict[int, bytes]]:
    """Return all answers that the server holds, and the exports that they were read from by project.

    Raises:
        DataError: see `read_export`, or a project that is not there any more.
    """
    swaps = read_sides(folder, campaign)
    exports = {project.id: server.export(project.id) for project in campaign.projects}
    answers = [
        answer
        for project in campaign.projects
        for answer in read_export(exports[project.id], title_of(campaign, project.rater, project.round), campaign,
                                  project, swaps)
    ]  # fmt: skip
    return answers, exports


def bring_up(folder: Path, campaign: Campaign, server: LabelStudio, answers: Iterable[Answer], progress: bool) -> int:
    """Make the projects and tasks that are due and not there.

    Args:
        folder: of the campaign.
        campaign: its record, which is written after each project that is made.
        server: where.
        answers: so far.
        progress: show a bar.

    Returns:
        Number of tasks that were made.

    Raises:
        EnvironmentProblem: the server does not answer, or may not serve the images.
        InterruptedRunError: the process was asked to stop; the same command goes on.
    """
    due = due_questions(campaign, votes_of(answers))
    images = folder / IMAGES
    on_server: dict[str, int] | None = None
    address = ""
    missing: dict[int, list[dict[str, Any]]] = {}
    swaps = read_sides(folder, campaign)
    for rater, number in sorted(due, key=lambda key: (key[1], campaign.raters.index(key[0]))):
        project = campaign.project(rater, number)
        if project is None:
            on_server = server.projects() if on_server is None else on_server
            project = _make_project(campaign, server, on_server, rater, number)
            campaign.projects.append(project)
            write_campaign(folder, campaign)
        if number == CONSENT_ROUND:
            wanted = {CONSENT: {"question": CONSENT, "text": campaign.consent}}
        else:
            questions = rater_order(due[rater, number], rater, campaign.seed)
            server.serve_folder(project.id, images)
            address = address or server.address_of(images / campaign.files[questions[0].image]).rpartition("/")[0]
            wanted = {q.id: _task(campaign, q, address, rater in swaps.get(q.id, [])) for q in questions}
        there = _without_doubles(server, project)
        missing[project.id] = [data for name, data in wanted.items() if name not in there]
    total = sum(map(len, missing.values()))
    with progress_bar("tasks", total, "tasks", progress and total > 0) as advance:
        for number, tasks in missing.items():
            for start in range(0, len(tasks), _BATCH):
                batch = tasks[start : start + _BATCH]
                server.import_tasks(number, batch)
                advance(len(batch))
    return total


def _make_project(
    campaign: Campaign, server: LabelStudio, on_server: dict[str, int], rater: str, number: int
) -> Project:
    """Create a project, or find the one that a killed command created: its description is its mark."""
    mark = f"emonet_lightning {fingerprint([campaign.id, rater, number])[:16]}"
    if mark in on_server:
        return Project(rater, number, on_server[mark])
    is_consent = number == CONSENT_ROUND
    config = consent_config() if is_consent else campaign.config
    told = "" if is_consent else campaign.instructions
    return Project(rater, number, server.create_project(title_of(campaign, rater, number), mark, config, told))


def _task(campaign: Campaign, question: Question, address: str, swapped: bool) -> dict[str, str]:
    shown = campaign.asks.get(question.subject, {})
    if swapped:
        other = {"left": "right", "right": "left"}
        shown = {next((other[s] + key[len(s) :] for s in other if key.startswith(s)), key): shown[key] for key in shown}
    return {"question": question.id, "image": f"{address}/{campaign.files[question.image]}", **shown}


def _without_doubles(server: LabelStudio, project: Project) -> set[str]:
    """Return the questions whose task is there; a second one, of a call that outlived its command, is deleted.

    The one that somebody answered stays.
    """
    there: set[str] = set()
    for task in sorted(server.tasks(project.id), key=lambda task: (-task["total_annotations"], task["id"])):
        name = task["data"].get("question")
        if name in there and not task["total_annotations"]:
            server.delete_task(task["id"])
        elif isinstance(name, str):
            there.add(name)
    return there


def pair_lines(sides: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Return what a pair's task shows: `left1` to `right5`, empty where a list is shorter."""
    return {
        f"{side}{rank + 1}": breakable(lines[rank]) if rank < len(lines) else ""
        for side, lines in sides
        for rank in range(MAX_LINES)
    }
