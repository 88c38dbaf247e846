"""Parts of a model card that hold figures; each is taken from a file that the card names, or said to be missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emonet_lightning.reporting.agreement_values import HUMANS, human_of, ranked, subsets, summary, title_of
from emonet_lightning.reporting.card_evidence import Evidence, of_kind
from emonet_lightning.reporting.framing_report import framing_line
from emonet_lightning.reporting.markdown import estimate, literal, number, table

NOT_MEASURED = "Not measured: no {} was given."
_SETS = {"all": "all emotions", "reliable": "those on which raters agree", "rest": "the rest"}
_OPTIONS = {
    "": ("seed_everything",),
    "trainer": ("max_epochs", "max_steps", "precision", "accumulate_grad_batches"),
    "model": (
        "widths", "dropout", "loss", "imbalance", "l2_normalise", "standardise", "lr", "weight_decay", "warmup_share",
        "final_lr_share", "clip_norm", "heads_dtype", "zero_init", "reinit_last_layer",
    ),
    "data": ("missing", "train_share", "batch_size", "views", "sampling", "num_folds", "fold"),
}  # fmt: skip
"""Options of a run that decide about its heads and name no place on a machine."""


def data_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield what the heads learnt from: of every stage the sets, with licence, counts and digests."""
    packed = {each.content.get("digest"): each.content for each in of_kind(evidence, "packed set")}
    rows = []
    for each in of_kind(evidence, "heads"):
        training = each.content.get("training") or {}
        for data in training.get("data") or []:
            manifest = packed.get(data.get("images"), {})
            known = {**{key: manifest.get(key) for key in ("licence", "kind", "num_samples")}, **_present(data)}
            rows.append(
                [
                    each.file,
                    literal(str(data.get("name"))),
                    _or_unknown(known.get("licence")),
                    _or_unknown(known.get("kind")),
                    _or_unknown(known.get("num_samples")),
                    str(data.get("images"))[:16],
                    str(data.get("labels"))[:16],
                ]
            )
    if not rows:
        yield "Not recorded: these heads do not say what they were trained on."
        return
    rows = [row for place, row in enumerate(rows) if row[1:] not in [other[1:] for other in rows[:place]]]
    yield table(("recorded in", "set", "licence", "kind of labels", "images", "images' digest", "labels' digest"), rows)


def _present(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def _or_unknown(value: Any) -> str:
    return "not recorded" if value in (None, "", "unknown") else literal(str(value))


def options_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield the options of every stage, as run.yaml has them."""
    columns: dict[str, dict[str, Any]] = {}
    for each in of_kind(evidence, "options"):
        for stage in each.content.get("stages") or [{"name": "run", "overrides": each.content}]:
            columns[str(stage.get("name") or "run")] = _chosen(stage.get("overrides") or {})
    if not columns:
        yield "Not recorded: no run.yaml."
        return
    names = list(dict.fromkeys(name for chosen in columns.values() for name in chosen))
    rows = [[f"`{name}`", *(_value(chosen.get(name)) for chosen in columns.values())] for name in names]
    yield table(("option", *map(literal, columns)), rows)


def _chosen(content: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, names in _OPTIONS.items():
        own = content if not part else content.get(part) or {}
        own = own.get("init_args", own) if isinstance(own, Mapping) else {}
        found |= {f"{part}.{name}".lstrip("."): own[name] for name in names if own.get(name) is not None}
    return found


def _value(value: Any) -> str:
    return "-" if value is None else literal(f"{value:g}" if isinstance(value, float) else str(value))


def agreement_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield the systems beside the raters; of a run that no raters judged, the means of results.json."""
    reports = of_kind(evidence, "agreement")
    for each in reports:
        yield from _agreement(each)
    for each in of_kind(evidence, "use"):
        use = each.content
        yield (
            f"The test set '{literal(str(use.get('set_name')))}' (split `{use.get('split')}`) had been used for "
            f"{use.get('num_uses')} tests of {use.get('num_heads')} different heads, this one counted "
            f"(`{each.file}`)."
        )
    if reports:
        return
    rows = []
    for each in of_kind(evidence, "results"):
        for key, value in each.content.items():
            if key.count("/") == 1 and type(value) in (int, float):
                ends = {end: each.content.get(f"{key}/{end}") for end in ("low", "high")}
                rows.append([f"`{key}`", estimate({"value": value, **ends})])
    yield table(("figure", "value [95 %]"), rows) if rows else NOT_MEASURED.format("results.json or agreement.json")


def _agreement(each: Evidence) -> Iterable[str]:
    found = each.content
    rated, draws = found["ratings"], found["bootstrap"]
    yield (
        f"{rated['num_images']} images of '{literal(rated['name'])}', {rated['num_raters']} raters, "
        f"{rated['num_ratings']} ratings; mean over emotions with its {draws['level']:.0%} interval over "
        f"{draws['num_draws']} draws of {draws['num_units']} {draws['unit']}s (`{each.file}`). Systems marked "
        "'trivial' see no face; † the interval is off centre or too narrow."
    )
    sizes = subsets(found)
    for metric in found["headline"]:
        rows = []
        for name in [None, *ranked(found)]:
            key = human_of(found, metric) if name is None else metric
            head = f"**{HUMANS}** ({literal(title_of(found, key))})" if name is None else literal(name)
            kind = "" if name is None else found["systems"][name]["kind"]
            figures = [estimate(summary(found, name, key, subset)) for subset in sizes]
            rows.append([head, "raters" if name is None else kind, *figures])
        yield f"**{literal(title_of(found, metric))}**: {literal(found['metrics'].get(metric, {}).get('rule', ''))}"
        yield table(("", "kind", *(f"{_SETS.get(subset, subset)} ({size})" for subset, size in sizes.items())), rows)


def calibration_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield the mean rating in each bin of scores, of the systems that were judged."""
    done = False
    for each in of_kind(evidence, "agreement"):
        found = each.content
        for name, bins in (found.get("reliability") or {}).items():
            if found["systems"].get(name, {}).get("kind") != "system":
                continue
            done = True
            columns = zip(bins["bin_mean_score"], bins["bin_mean_rating"], bins["n"], strict=True)
            rows = [[number(score), number(rating), str(count)] for score, rating, count in columns if count]
            yield f"{literal(name)}: mean score and mean rating, by level of the score (`{each.file}`)."
            yield table(("mean score", "mean rating", "images x emotions"), rows)
    if not done:
        yield NOT_MEASURED.format("agreement.json with bins of scores")


def groups_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield figures per group, and the gaps between groups."""
    audits = of_kind(evidence, "audit")
    if not audits:
        yield NOT_MEASURED.format("audit.json")
    for each in audits:
        found = each.content
        provenance = found.get("provenance")
        told = provenance if isinstance(provenance, Mapping) else {"kind": provenance}
        meaning = literal(str(told.get("meaning") or ""))
        yield f"Groups are **{literal(str(told.get('kind')))}**. {meaning} (`{each.file}`)"
        rows = [
            [
                literal(str(group["attribute"])),
                literal(str(group["level"])),
                str(group["n"]),
                *("too few" if group["too_few"] else estimate(group.get(key)) for key in ("spearman", "kappa", "bias")),
            ]
            for group in found["by"]
        ]
        yield table(("attribute", "group", "images", "Spearman", "kappa", "bias"), rows)
        gaps = [
            [
                literal(str(gap["attribute"])),
                literal(str(gap["measure"])),
                literal(str(gap["worst"])),
                literal(str(gap["best"])),
                estimate(gap, "gap", sign=True),
                number(gap["p_holm"]),
            ]
            for gap in found["gaps"]
        ]
        if gaps:
            meaning_of = found.get("definitions") or {}
            if "gap" in meaning_of:
                yield f"gap: {literal(str(meaning_of['gap']))}"
            yield table(("attribute", "measure", "worst", "compared with", "gap", "p (Holm)"), gaps)


def transfer_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield accuracy on other datasets' classes."""
    reports = of_kind(evidence, "transfer")
    if not reports:
        yield NOT_MEASURED.format("transfer.json")
    for each in reports:
        found = each.content
        images, name, cut = found["images"], literal(str(found["map"]["name"])), ""
        if "results" in found:
            name = f"{literal(str(found['set']['name']))}, classes of map {name}"
            cut = f" {'Faces cut out' if found['faces']['cut'] else 'Whole images'}; {literal(framing_line(found))}."
            judged = [(way, None, result["accuracy"]) for way, result in found["results"].items()]
        else:
            judged = [
                (rule, system, result["accuracy"])
                for system, own in found["systems"].items()
                if own["kind"] == "system"
                for rule, result in own["rules"].items()
            ]
        yield (
            f"{name}: {images['num_images']} images of {len(found['map']['classes'])} classes (`{each.file}`); "
            f"shuffled labels show chance.{cut}"
        )
        rows = [
            [
                f"`{way}`" + (f" {literal(system)}" if system else ""),
                estimate(accuracy),
                estimate(accuracy.get("chance")),
            ]
            for way, system, accuracy in judged
        ]
        yield table(("decision", "accuracy", "shuffled labels"), rows)


def robustness_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield at which level of each factor agreement falls below that of humans, unless it is below from the start."""
    reports = of_kind(evidence, "robustness")
    if not reports:
        yield NOT_MEASURED.format("robustness.json")
    for each in reports:
        rows = []
        for part, key, on in (("faces", "factors", "rendered faces"), ("images", "corruptions", "images")):
            for sweep in (each.content.get(part) or {}).get(key) or []:
                lost, below = (_first(sweep.get(name)) for name in ("first_loss", "first_below_anchor"))
                if sweep.get("undisturbed_below_anchor"):
                    below = "undisturbed"
                own: Mapping[str, Any] = next(
                    (row for row in sweep["levels"] if row["level"] == sweep.get("undisturbed")), {}
                )
                before = estimate(own.get("agreement"))
                rows.append([on, literal(str(sweep["name"])), str(sweep["num_pictures"]), before, lost, below])
        yield f"One factor at a time (`{each.file}`)."
        header = ("on", "factor", "pictures", "undisturbed agreement", "first loss at", "first below humans at")
        yield table(header, rows)


def _first(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    values = [
        f"{value:g}" if isinstance(value, int | float) else str(value) for value in found.values() if value is not None
    ]
    return ", ".join(values) or "nowhere"


def leaks_section(evidence: Sequence[Evidence]) -> Iterable[str]:
    """Yield what training and test sets share."""
    reports = of_kind(evidence, "leaks")
    if not reports:
        yield NOT_MEASURED.format("leaks.json")
    for each in reports:
        found = each.content
        names = " and ".join(f"'{literal(one['name'])}' ({one['num_images']} images)" for one in found["sets"])
        counts = ", ".join(f"{kind} {count['across']}" for kind, count in found["counts"].items())
        yield (
            f"{names}: {found['leaks']['num_pairs']} pairs of copies across a test boundary ({counts}); "
            f"{found['groups']['num_shared']} groups and {found['prompts']['num_shared']} prompts of one name on both "
            f"sides (`{each.file}`)."
        )
