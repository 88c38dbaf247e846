"""The card of exported heads, README.md with the hub's front matter: no figure in it is typed by hand.

Each figure comes from a file that the card names with its sha256, so a reader can look it up and see that it was not
changed; what no file says is called not measured or not recorded.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning import __version__
from emonet_lightning.bundle import MANIFEST_FILE, WEIGHTS_FILE, HeadsBundle
from emonet_lightning.bundle_rules import read_manifest
from emonet_lightning.encoder_files import embedded_path, read_encoder_header, weights_digest
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, read_bytes
from emonet_lightning.redaction import redact
from emonet_lightning.reporting import card_sections as parts
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.agreement_values import summary, title_of
from emonet_lightning.reporting.card_evidence import Evidence, of_kind
from emonet_lightning.reporting.markdown import literal, table

CARD_FILE = "README.md"
MARK = "<!-- Written by `emonet_lightning export` from the files named at its end. -->"
"""In every card that was written here; a README.md without it is somebody's own, and stays."""
LIBRARY = "emonet_lightning"
PIPELINE = "image-classification"
TAGS = ("emotion-recognition", "facial-expression", "perceived-emotion", "multi-label")
HUB_METRICS = {"spearman": "spearmanr", "pearson": "pearsonr"}
"""Metrics that the hub has its own names for."""
LAW = (
    "In the EU, inferring emotions of persons **at work and in education is banned** (AI Act, Regulation (EU) "
    "2024/1689, Article 5(1)(f), in force since 2 February 2025; excepted are medical and safety reasons).",
    "Whoever uses an emotion recognition system elsewhere **must inform the persons exposed to it** (Article 50(3), "
    "from 2 August 2026) and process their data lawfully; such systems are high-risk (Annex III).",
    "This is no legal advice.",
)
LIMITS = (
    "Scores are of **perceived** emotion: what raters see in a face, not what a person feels. No diagnosis, no lie "
    "detection, no decision about a person.",
    "Figures hold for the images and raters they were measured on, with their groups, light and cameras, and for "
    "nothing else; what is called not measured here is not known.",
    "Raters agree little on many emotions; a figure means something only beside the raters' agreement with each other.",
    "Groups in data are mostly those of a prompt, not what persons say of themselves.",
)


def write_card(folder: Path, bundle: HeadsBundle, evidence: Sequence[Evidence], licence: str | None = None) -> str:
    """Write README.md beside exported heads, unless one that somebody else wrote is there.

    Args:
        folder: of the exported heads.
        bundle: what was exported.
        evidence: files that the card is written from.
        licence: of the heads, as the hub spells it (`mit`, `cc-by-4.0`).

    Returns:
        A line that says what was written.

    Raises:
        DataError: a report that lacks what its schema promises; names it.
        OutputError: the folder cannot be written.
    """
    path = folder / CARD_FILE
    if path.is_file() and MARK.encode() not in read_bytes(path):
        return f"{path}: not a card that `export` wrote; left as it is"
    files: dict[str, str] = read_manifest(folder / MANIFEST_FILE, WEIGHTS_FILE)["files"]
    atomic_write(path, compose(bundle, evidence, licence, files))
    return f"{path}: model card from {len(evidence)} files"


def compose(bundle: HeadsBundle, evidence: Sequence[Evidence], licence: str | None, files: Mapping[str, str]) -> str:
    """Return the card's text; `files` names what was exported, with its sha256.

    Raises:
        DataError: a report that lacks what its schema promises; names it.
    """
    try:
        text = [front_matter(bundle, evidence, licence), *sections(bundle, evidence, licence, files)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        names = ", ".join(each.file for each in evidence if each.kind not in ("heads", "options"))
        raise DataError(
            f"model card: one of {names} is not as its schema says ({type(error).__name__}: {error}); make it again"
        ) from error
    return "\n\n".join(text) + "\n"


def front_matter(bundle: HeadsBundle, evidence: Sequence[Evidence], licence: str | None) -> str:
    """Return the YAML between `---` that the hub reads: licence, library, data, and results as a model index."""
    from huggingface_hub import EvalResult, ModelCardData  # here: most exports write one card, at the end

    results = [
        EvalResult(
            task_type=PIPELINE,
            dataset_type=_slug(each.content["ratings"]["name"]),
            dataset_name=each.content["ratings"]["name"],
            metric_type=HUB_METRICS.get(metric, metric),
            metric_name=f"{title_of(each.content, metric)}, mean over emotions"
            + ("" if len(systems) == 1 else f", {name}"),
            metric_value=value,
            metric_args={key: figure.get(key) for key in ("low", "high", "num_emotions")},
        )
        for each in of_kind(evidence, "agreement")
        for systems in [[name for name, own in each.content["systems"].items() if own["kind"] == "system"]]
        for name in systems
        for metric in each.content["headline"]
        for figure in [summary(each.content, name, metric)]
        if (value := figure.get("value")) is not None
    ]
    name = str(bundle.encoder.get("name") or "")
    data = ModelCardData(
        license=licence or "unknown",
        library_name=LIBRARY,
        pipeline_tag=PIPELINE,
        tags=[*TAGS],
        base_model=name if name.startswith("timm/") else None,
        datasets=_data_names(evidence) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=_title(bundle),
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml().strip()}\n---\n{MARK}"


def _data_names(evidence: Sequence[Evidence]) -> list[str]:
    names = [
        str(data.get("name"))
        for each in of_kind(evidence, "heads")
        for data in (each.content.get("training") or {}).get("data") or []
    ]
    return list(dict.fromkeys(names))


def _slug(name: str) -> str:
    return "-".join(name.lower().split())


def _title(bundle: HeadsBundle) -> str:
    return f"{bundle.taxonomy.name} heads on {_encoder_name(bundle)}"


def _encoder_name(bundle: HeadsBundle) -> str:
    name = str(bundle.encoder.get("name") or "an encoder that nobody recorded")
    return Path(name).name if name.endswith(".safetensors") else name


def sections(
    bundle: HeadsBundle, evidence: Sequence[Evidence], licence: str | None, files: Mapping[str, str]
) -> Iterable[str]:
    """Yield the parts of the card's text."""
    yield f"# {literal(_title(bundle))}"
    yield RESPONSIBLE_USE
    yield from _what(bundle)
    yield "## Training data"
    yield from parts.data_section(evidence)
    yield "## Training"
    yield from _training(bundle)
    yield from parts.options_section(evidence)
    for title, section in (
        ("Agreement with raters", parts.agreement_section),
        ("Calibration", parts.calibration_section),
        ("By group", parts.groups_section),
        ("Transfer to other faces", parts.transfer_section),
        ("Robustness", parts.robustness_section),
        ("Leaks between training and test images", parts.leaks_section),
    ):
        yield f"## {title}"
        yield from section(evidence)
    yield "## Limits"
    yield "\n".join(f"- {line}" for line in [*LIMITS, *_own_limits(bundle)])
    yield "## Law"
    yield "\n".join(f"- {line}" for line in LAW)
    yield "## Licences"
    yield from _licences(bundle, evidence, licence)
    yield "## Where the figures are from"
    rows = [
        [f"`{each.file}`", "given" if each.is_given else "beside the heads", f"`{each.sha256}`"] for each in evidence
    ]
    yield table(("file", "", "sha256"), [*rows, *([f"`{name}`", "exported", f"`{own}`"] for name, own in _few(files))])
    if any(each.is_given for each in evidence):
        yield "Files marked 'given' were named by whoever exported the heads, whose word it is that they judge them."
    yield f"Written by emonet_lightning {__version__}."


def _few(files: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, digest) for name, digest in files.items() if not name.endswith(".pth")]


def _what(bundle: HeadsBundle) -> Iterable[str]:
    taxonomy, heads, encoder = bundle.taxonomy, bundle.heads, redact(bundle.encoder)
    low, high = min(bundle.low.tolist()), max(bundle.high.tolist())
    extra = len(taxonomy) - taxonomy.num_emotions
    yield (
        f"{len(taxonomy)} heads, one for each of {taxonomy.num_emotions} emotions"
        + (f" and {extra} further dimensions" if extra else "")
        + f", on the pooled features of a frozen encoder. Scores are on {low:g} to {high:g}."
    )
    preprocess, weights = encoder.get("preprocess") or {}, encoder.get("weights_sha256")
    pixels = f"{preprocess['size']} pixels, {preprocess.get('resize')}" if preprocess.get("size") else None
    origin = (bundle.neutral_origin or {}).get("origin") if bundle.neutral_means is not None else None
    rows = [
        ["encoder", literal(_encoder_name(bundle))],
        ["its revision", _or_not(encoder.get("revision"))],
        ["its weights, sha256", f"`{weights}`" if weights else "not recorded"],
        ["its licence", _or_not(encoder_licence(encoder))],
        ["its input", _or_not(pixels)],
        ["features", f"{heads.in_features}, {'L2-normalised' if bundle.l2_normalise else 'as they are'}"],
        ["layers of a head", " x ".join(map(str, [heads.in_features, *heads.widths, 1]))],
        ["parameters of a head", f"{heads.num_parameters_per_head:,}"],
        ["from outputs to scores", bundle.output_map],
        ["neutral means", _or_not(origin)],
        ["taxonomy, digest", f"{literal(taxonomy.name)}, `{taxonomy.digest}`"],
    ]
    yield table(("", ""), rows)
    yield f"Emotions: {', '.join(literal(name) for name in taxonomy.names)}."
    yield (
        f"Use: `EmotionRecognizer.load(folder)` of `{LIBRARY}.predict`, or `python -m {LIBRARY} predict PHOTOS --heads "
        "FOLDER --out scores.csv`."
    )


def _or_not(value: Any) -> str:
    return "not recorded" if value in (None, "") else literal(str(value))


def encoder_licence(encoder: dict[str, Any]) -> str | None:
    """Return the licence that an encoder's own file states, if its weights are the recorded ones; None: not known."""
    if encoder.get("name") != "embedded" or not encoder.get("weights_sha256"):
        return None
    path = embedded_path()
    if weights_digest(path) != encoder["weights_sha256"]:
        return None
    licence = (read_encoder_header(path).get("card") or {}).get("licence")
    return None if licence is None else str(licence)


def _training(bundle: HeadsBundle) -> Iterable[str]:
    known = bundle.training
    told = [
        f"{key.replace('_', ' ')} {known[key]}"
        for key in ("loss", "epochs", "steps", "val_metric", "origin")
        if known.get(key)
    ]
    if told:
        yield f"Last stage: {literal(', '.join(told))} (`{MANIFEST_FILE}`)."


def _own_limits(bundle: HeadsBundle) -> Iterable[str]:
    if constant := bundle.training.get("constant_heads"):
        yield f"{len(constant)} heads gave every validation face one score: {', '.join(map(literal, constant))}."
    if bundle.neutral_means is None:
        yield "There are no neutral means: no mean-subtracted scores and no softmax."


def _licences(bundle: HeadsBundle, evidence: Sequence[Evidence], licence: str | None) -> Iterable[str]:
    yield f"Heads: {literal(licence) if licence else 'not stated; ask whoever trained them'}."
    yield f"Encoder: {_or_not(encoder_licence(bundle.encoder))}. Data: see the table of training data."
