"""Answers from exports of Label Studio: each is checked against the record, so nothing foreign is counted."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from emonet_lightning.annotation.interface import AGREED, ANSWER, LEFT, NO, RIGHT, YES, slider_name, untouched
from emonet_lightning.annotation.plan import Question
from emonet_lightning.annotation.record import CONSENT_ROUND, Campaign, Project
from emonet_lightning.errors import DataError
from emonet_lightning.taxonomy import Dimension

CONSENT = "consent"
"""What the task of a consent carries in place of a question."""


class Answer(NamedTuple):
    """One rater's answer to one question, or consent."""

    question: str
    rater: str
    round: int
    yes: bool | None
    """Of a yes/no question, or of the consent."""
    ratings: dict[str, int] | None
    """Slug -> level, of the sliders that were touched."""
    shown: str | None
    """Side of the screen that was chosen, of a pair."""
    choice: str | None
    """Side of the pairs file that was chosen: the other one where the sides were swapped for this rater."""
    seconds: float | None
    """From seeing the task to submitting it, as the server counts it."""
    answered_at: str
    """ISO 8601, UTC."""
    account: int | None
    """Number of the account that submitted it."""


def read_export(
    content: bytes, where: str, campaign: Campaign, project: Project, swaps: dict[str, list[str]]
) -> list[Answer]:
    """Return the answers in a project's JSON export; tasks without one, skipped ones too, give none.

    Args:
        content: as the server or its export page gives it.
        where: file, or project, for errors.
        campaign: whose project it is.
        project: whose export it is.
        swaps: question -> raters whose sides were swapped.

    Raises:
        DataError: cut or damaged; a task that the campaign did not make; two answers to one task or by two accounts;
            an answer that the question does not have. Names the task.
    """
    questions = {question.id: question for question in campaign.questions}
    sliders = {slider_name(dimension.slug): dimension for dimension in campaign.columns().dimensions}
    found: dict[str, Answer] = {}
    for task, given in _tasks(content, where):
        place = f"{where}, task {task.get('id')}"
        name = task["data"].get("question")
        if not _belongs(name, questions, project) or task.get("project", project.id) != project.id:
            raise DataError(
                f"{place}: not a task of '{project.rater}' in campaign '{campaign.name}'; "
                "delete it there, or export the right project"
            )
        if not given:
            continue
        if len(given) > 1 or name in found:
            raise DataError(
                f"{place}: '{project.rater}' answered it more than once; delete all answers but one in Label Studio"
            )
        found[name] = _answer(given[0], place, name, project, sliders, campaign, swaps)
    accounts = {answer.account for answer in found.values()}
    if len(accounts) > 1:
        raise DataError(
            f"{where}: the project of '{project.rater}' was answered by accounts {sorted(map(str, accounts))}; "
            "delete the answers of whoever is not this rater"
        )
    return list(found.values())


def votes_of(answers: Iterable[Answer]) -> dict[str, list[bool]]:
    """Return the yes/no answers to each question, in the order of rounds."""
    votes: dict[str, list[bool]] = {}
    for answer in sorted(answers, key=lambda answer: answer.round):
        if answer.yes is not None and answer.round != CONSENT_ROUND:
            votes.setdefault(answer.question, []).append(answer.yes)
    return votes


def _tasks(content: bytes, where: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Tasks, each with its annotations that were submitted."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{where}: not a whole JSON export ({reason}); export it again") from error
    try:
        return [
            (task, [given for given in task["annotations"] if not given.get("was_cancelled")])
            for task in found
            if task["data"].keys()
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{where}: not Label Studio's JSON export; choose 'JSON' on its export page") from error


def _belongs(name: Any, questions: dict[str, Question], project: Project) -> bool:
    if project.round == CONSENT_ROUND:
        return bool(name == CONSENT)
    question = questions.get(name)
    if question is None:
        return False
    if question.role == "target":  # the raters in turn
        return question.raters[project.round - 1 : project.round] == (project.rater,)
    return project.round == 1 and project.rater in question.raters


def _answer(
    given: dict[str, Any],
    where: str,
    name: str,
    project: Project,
    sliders: dict[str, Dimension],
    campaign: Campaign,
    swaps: dict[str, list[str]],
) -> Answer:
    yes, ratings, shown, choice = None, None, None, None
    try:
        results = {result["from_name"]: result["value"] for result in given["result"]}
        if project.round == CONSENT_ROUND:
            yes = results.get(AGREED, {}).get("choices") == [YES]
        elif campaign.kind == "rating":
            ratings = _levels(results, sliders, where)
        else:
            (chosen,) = results[ANSWER]["choices"]
            if chosen not in ((YES, NO) if campaign.kind == "binary" else (LEFT, RIGHT)):
                raise ValueError(chosen)
            yes = chosen == YES if campaign.kind == "binary" else None
        if campaign.kind == "preference" and yes is None:
            shown = chosen
            swapped = project.rater in swaps.get(name, [])
            choice = {LEFT: RIGHT, RIGHT: LEFT}[shown] if swapped else shown
        seconds = given.get("lead_time")
        account = given.get("completed_by")
        return Answer(
            name,
            project.rater,
            project.round,
            yes,
            ratings,
            shown,
            choice,
            None if seconds is None else float(seconds),
            str(given["created_at"]),
            account["id"] if isinstance(account, dict) else account,
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: an answer that the question does not have ({error}); answer it again there"
        ) from error


def _levels(results: dict[str, Any], sliders: dict[str, Dimension], where: str) -> dict[str, int]:
    levels: dict[str, int] = {}
    for name, value in results.items():
        dimension, number = sliders[name], value["number"]
        if number == untouched(dimension):
            continue
        if number != int(number) or not dimension.low <= number <= dimension.high:
            raise DataError(
                f"{where}: '{dimension.name}' is {number}, outside {dimension.low:g}..{dimension.high:g}; "
                "answer it again there"
            )
        levels[dimension.slug] = int(number)
    return levels


def first_task(content: bytes, where: str) -> dict[str, Any]:
    """Return the first task of an export.

    Raises:
        DataError: not an export, or one without tasks.
    """
    tasks = _tasks(content, where)
    if not tasks:
        raise DataError(f"{where}: an export without tasks; export all tasks of the project")
    return tasks[0][0]
