"""Answers as tables: in the released layouts, which `evaluate` and `pack` read, and a typed one that keeps all."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning.annotation.answers import Answer
from emonet_lightning.annotation.record import CONSENT_ROUND, Campaign
from emonet_lightning.io import atomic_write

ANSWERS, CONSENTS = "answers.parquet", "consent.csv"
TABLES = {"binary": "votes.csv", "rating": "ratings.csv", "preference": "preferences.csv"}


def write_tables(out: Path, campaign: Campaign, answers: Sequence[Answer]) -> dict[str, int]:
    """Write the tables of a campaign's answers; returns file name -> number of rows.

    `votes.csv`: `path,annotator,value,emotion` as released, and `prompted`. `ratings.csv`: `image,annotator,human,
    annotations` as the released `hq.csv`: a dict of the sliders that were touched, an empty one for a rater who touched
    none. `preferences.csv`: `pair,rater,choice,seconds`. `consent.csv`: `rater,agreed,answered_at`. `answers.parquet`:
    a row per answer, of ratings one per rater, image and emotion with `touched`; an untouched one is the lowest level.
    """
    given = [answer for answer in answers if answer.round != CONSENT_ROUND]
    consents = [answer for answer in answers if answer.round == CONSENT_ROUND]
    header, rows = {"binary": _votes, "rating": _ratings, "preference": _preferences}[campaign.kind](campaign, given)
    written = {ANSWERS: _write_typed(out / ANSWERS, campaign, given), TABLES[campaign.kind]: len(rows)}
    if campaign.consent:
        agreed = [(a.rater, bool(a.yes), a.answered_at) for a in sorted(consents, key=lambda a: a.rater)]
        _write_csv(out / CONSENTS, ("rater", "agreed", "answered_at"), agreed)
        written[CONSENTS] = len(agreed)
    _write_csv(out / TABLES[campaign.kind], header, rows)
    return written


def _votes(campaign: Campaign, answers: list[Answer]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    asked, names = {q.id: q for q in campaign.questions}, _names(campaign)
    rows = sorted(
        (asked[a.question].image, a.rater, a.yes, names[asked[a.question].subject],
         names.get(campaign.prompted.get(asked[a.question].image, ""), ""))
        for a in answers
    )  # fmt: skip
    return ("path", "annotator", "value", "emotion", "prompted"), rows


def _ratings(campaign: Campaign, answers: list[Answer]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    asked, columns = {q.id: q for q in campaign.questions}, campaign.columns()
    named = {d.slug: f"{d.family}|{d.name}" if d.family else d.name for d in columns.dimensions}
    rows = sorted(
        (asked[a.question].image, a.rater, True,
         json.dumps({named[slug]: a.ratings[slug] for slug in columns.slugs if slug in a.ratings}, ensure_ascii=False))
        for a in answers if a.ratings is not None
    )  # fmt: skip
    return ("image", "annotator", "human", "annotations"), rows


def _preferences(campaign: Campaign, answers: list[Answer]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    asked = {q.id: q for q in campaign.questions}
    rows = sorted((asked[a.question].subject, a.rater, a.choice, _seconds(a)) for a in answers)
    return ("pair", "rater", "choice", "seconds"), rows


def _names(campaign: Campaign) -> dict[str, str]:
    return {dimension.slug: dimension.name for dimension in campaign.columns().dimensions}


def _seconds(answer: Answer) -> str:
    return "" if answer.seconds is None else f"{answer.seconds:.3f}"


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic_write(path, text.getvalue())


def _write_typed(path: Path, campaign: Campaign, answers: list[Answer]) -> int:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    kinds = {
        "binary": ("yes", arrow.bool_()),
        "rating": ("rating", arrow.int8()),
        "preference": ("choice", arrow.string()),
    }
    value, kind = kinds[campaign.kind]
    fields = [
        ("question", arrow.string()), ("role", arrow.string()), ("image", arrow.string()), ("rater", arrow.string()),
        ("round", arrow.int8()), ("emotion", arrow.string()), ("pair", arrow.string()), (value, kind),
        ("touched", arrow.bool_()), ("shown", arrow.string()), ("seconds", arrow.float32()),
        ("answered_at", arrow.string()),
    ]  # fmt: skip
    schema = arrow.schema([arrow.field(name, kind) for name, kind in fields])
    columns, asked = campaign.columns(), {q.id: q for q in campaign.questions}
    rows = []
    for answer in sorted(answers, key=lambda a: (asked[a.question].image, a.question, a.rater)):
        question = asked[answer.question]
        row = {
            "question": question.id, "role": question.role, "image": question.image, "rater": answer.rater,
            "round": answer.round, "seconds": answer.seconds, "answered_at": answer.answered_at,
        }  # fmt: skip
        if campaign.kind == "binary":
            rows.append({**row, "emotion": question.subject, "yes": answer.yes})
        elif campaign.kind == "preference":
            rows.append({**row, "pair": question.subject, "choice": answer.choice, "shown": answer.shown})
        else:
            touched = answer.ratings or {}
            rows += [
                {**row, "emotion": d.slug, "rating": touched.get(d.slug, int(d.low)), "touched": d.slug in touched}
                for d in columns.dimensions
            ]
    table = arrow.Table.from_pylist(rows, schema=schema)
    atomic_write(path, lambda temporary: parquet.write_table(table, temporary))
    return len(rows)
