"""Content of agreement.json as `evaluate agreement` writes it, made up: what reports are drawn from."""

import re

import numpy as np
import yaml

from emonet_lightning.taxonomy import Taxonomy

HEADLINE = ["oracle_kappa_binned", "kappa_truncate", "spearman"]
METRICS = {
    # name, human figure beside it, higher is better, what is compared with humans, needs the rating scale
    "oracle_kappa_binned": ("binned kappa (oracle)", "kappa_pooled", True, "oracle_kappa_binned", False),
    "kappa_binned_heldout": ("binned kappa (held out)", "kappa_pooled", True, "kappa_binned_heldout", False),
    "kappa_truncate": ("kappa (truncate)", "kappa_truncate", True, "kappa_truncate", True),
    "spearman": ("Spearman", "spearman", True, "spearman_left_out", False),
    "spearman_left_out": ("Spearman (left out)", "spearman", True, "spearman_left_out", False),
    "mae": ("MAE", "mae", False, None, True),
}
HUMAN_METRICS = {
    "kappa_pooled": ("pooled kappa", None, True, None, False),
    "alpha_interval": ("alpha (interval)", None, True, None, False),
}
OFF_SCALE = ("Hume Face*", "random")
SYSTEMS = [
    "Empathic Insight Face Small",
    "Empathic Insight Face Large",
    "Gemini 2.0 Flash ZS",
    "Hume Face*",
    "Gemini 2.5 Flash MS",
    "Gemini 2.5 Pro 03-25 ZS",
    "Gemini 2.0 Flash MS",
    "Qwen Plus ZS",
    "GPT-4o ZS",
    "Random Baseline",
    "Pixtral Large ZS",
    "Claude 3.7 MS",
    "Nova Pro ZS",
    "Gemini 2.5 Flash ZS",
]
TRIVIAL = ["all-zero", "oracle mean", "random", "prompted label"]
GROUPS = {"Empathic": "Our Models", "Hume": "Proprietary", "Random": "Random Baseline"}


def group_of(name):
    for start, group in GROUPS.items():
        if name.startswith(start):
            return group
    ending = {"MS": "VLM multi-shot", "ZS": "VLM zero-shot"}
    return ending.get(name[-2:], "Trivial" if name in TRIVIAL else "Systems")


def summary(rng, values, reliable, width=0.02, is_biased=False):
    values = np.asarray(values, dtype=float)
    half = width + 0.03 * rng.random(len(values))

    def cells(column):
        return [None if np.isnan(value) else float(value) for value in column]

    def over(chosen):
        own = values[chosen]
        defined = own[~np.isnan(own)]
        value = float(defined.mean()) if len(defined) else None
        return {
            "value": value,
            "low": None if value is None else value - width / 2,
            "high": None if value is None else value + width / 2,
            "bias": None if value is None else width / 4 * is_biased,
            "is_biased": is_biased and value is not None,
            "num_emotions": len(defined),
            "num_undefined": int(np.isnan(own).sum()),
        }

    return {
        "sets": {"all": over(np.full(len(values), True)), "reliable": over(reliable), "rest": over(~reliable)},
        "per_emotion": {
            "value": cells(values),
            "low": cells(values - half),
            "high": cells(values + half),
            "n": [0 if np.isnan(value) else 2500 for value in values],
        },
    }


def agreement_content(taxonomy, raters=8, systems=SYSTEMS, trivial=TRIVIAL, defined=True, seed=0):
    """A dict with the schema of agreement.json; `defined=False` makes every figure null."""
    rng = np.random.default_rng(seed)
    num = taxonomy.num_emotions
    human = [f"{i + 1}{'abcdefgh'[i % 8]}c4-rater" for i in range(raters)]
    alpha = np.sort(0.6 * rng.random(num) ** 1.6 - 0.05)[::-1][rng.permutation(num)]
    if raters < 2 or not defined:
        alpha = np.full(num, np.nan)
    reliable = np.nan_to_num(alpha, nan=-1) >= 0.3
    nothing = np.full(num, np.nan)

    def figures(quality, keys, name=""):
        made = {}
        for key in keys:
            values = quality * (0.1 + np.nan_to_num(alpha, nan=0.2)) + rng.normal(0, 0.04, num)
            if "Hume" in name:
                values[np.arange(num) % 4 == 1] = np.nan
            made[key] = summary(rng, values if defined else nothing, reliable, is_biased="Qwen" in name)
        return made

    own = {}
    strength = np.linspace(1.25, 0.0, max(len(systems), 1)) ** 1.5
    for place, name in enumerate([*systems, *trivial]):
        kind = "system" if name in systems else "reference" if name == "prompted label" else "trivial"
        quality = strength[place] if kind == "system" else 0.02
        own[name] = {
            "kind": kind,
            "notes": ["3 rows of the same image averaged"] if "Large" in name else [],
            "num_images": 2500,
            "images_per_emotion": {"min": 1432, "max": 1611} if name == "GPT-4o ZS" else {"min": 2500, "max": 2500},
            "num_emotions_scored": num - num // 4 if "Hume" in name else num,
            "off_scale": name in OFF_SCALE,
            "tie_spread": {"num_orders": 10, "all": 0.0012, "reliable": 0.004, "rest": 0.001} if "MS" in name else None,
            "metrics": figures(quality, METRICS, name),
        }
        if name == "all-zero":
            own[name]["metrics"]["kappa_truncate"] = summary(rng, nothing, reliable)
    annotators = [*human, *own]
    count = len(annotators)
    level = np.r_[np.full(raters, 1.0), [strength[systems.index(n)] if n in systems else 0.0 for n in own]]
    kappa = 0.25 * np.sqrt(np.outer(level, level)) + rng.normal(0, 0.02, (count, count))
    kappa = (kappa + kappa.T) / 2
    undefined = np.zeros((count, count), dtype=int)
    np.fill_diagonal(kappa, np.nan)
    for row, name in enumerate(annotators):
        if name == "Hume Face*":
            undefined[row], undefined[:, row] = num // 4, num // 4
        if name == "all-zero" or not defined:
            kappa[row], kappa[:, row] = np.nan, np.nan
            undefined[row], undefined[:, row] = num, num
    np.fill_diagonal(undefined, 0)

    def difference(other, metric, subset, wide=False):
        value = rng.normal(0.02 if wide else 0.1, 0.02)
        half = 0.08 if wide else 0.02
        bounds = {"difference": value, "low": value - half, "high": value + half, "bias": 0.0, "is_biased": False}
        null = {} if defined else dict.fromkeys(("difference", "low", "high", "bias"))
        off = other in OFF_SCALE and METRICS[metric][4]
        alike = {"same_images": "Hume" not in other, "off_scale": off}
        return {"metric": metric, "set": subset, "system": other, **bounds, **null, **alike}

    subject = systems[0] if systems else None
    of = [
        difference(other, metric, subset, other == "Empathic Insight Face Large")
        for metric in [*HEADLINE, "mae"]
        for other in (["humans"] if raters > 1 else []) + [name for name in own if name != subject]
        for subset in ("all", "reliable", "rest")
    ]
    human_keys = {**METRICS, **HUMAN_METRICS}
    humans = None
    if raters > 1:
        metrics = figures(1.0, [key for key in human_keys if "binned" not in key])
        metrics["alpha_interval"] = summary(rng, alpha, reliable)
        shown = ("kappa_truncate", "kappa_pooled", "spearman")
        humans = {
            "metrics": metrics,
            "num_present": [int(count) for count in rng.integers(10, 900, num)],
            "per_rater": {
                chosen: {key: {name: float(0.2 + 0.1 * rng.random()) for name in human} for key in shown}
                for chosen in ("all", "reliable", "rest")
            },
        }
    names = [dimension.name for dimension in taxonomy.dimensions[:num]]
    protocol = {
        name: {
            "group": "Human Annotators" if name in human else group_of(name),
            "average": 0.2,
            "std": 0.1,
            "median": 0.19,
            "top_emotion": names[0],
            "could_be_annotator_p": 0.00001 if "Gemini" in name else 0.03 if name == human[-1] else 0.4,
            "per_emotion": [float(value) for value in rng.normal(0.2, 0.1, num)] if name in human else None,
        }
        for name in annotators
        if raters > 1 and defined
    }
    bins = np.linspace(0.2, 6.5, 10)
    return {
        "schema": "emonet_lightning agreement 1",
        "taxonomy": {
            "name": taxonomy.name,
            "digest": taxonomy.digest,
            "emotions": [{"name": d.name, "slug": d.slug, "family": d.family} for d in taxonomy.dimensions[:num]],
        },
        "ratings": {
            "name": "hq",
            "num_images": 2500,
            "num_raters": raters,
            "raters": human,
            "num_ratings": 400000,
            "raters_per_image": {"min": 4, "mean": 4.0, "max": 4},
            "low": 0.0,
            "high": 7.0,
            "notes": ["'Hopelessness' read as 'Helplessness' 10000 times"],
        },
        "bootstrap": {"num_draws": 500, "seed": 0, "level": 0.95, "unit": "image", "num_units": 2500},
        "reliable": {
            "metric": "alpha_interval",
            "threshold": 0.3,
            "emotions": [taxonomy.slugs[k] for k in np.flatnonzero(reliable)],
            "uncertain": [taxonomy.slugs[k] for k in np.flatnonzero(abs(alpha - 0.3) < 0.05)],
        },
        "metrics": {
            key: {
                "name": name,
                "rule": f"how {name} is computed",
                "human": beside,
                "higher_is_better": better,
                "against_humans": against,
                "own_scale": own_scale,
            }
            for key, (name, beside, better, against, own_scale) in human_keys.items()
        },
        "headline": list(HEADLINE),
        "humans": humans or {"metrics": {}, "per_rater": {}},
        "systems": own,
        "differences": {"subject": subject, "of": of if subject else []},
        "against_humans": [
            difference(name, METRICS[metric][3], subset, name in systems[:3])
            for metric in HEADLINE
            for name in own
            for subset in ("all", "reliable", "rest")
            if raters > 1
        ],
        "pairwise": {
            "metric": "kappa_truncate",
            "annotators": annotators,
            "num_humans": raters,
            "kappa": [[None if np.isnan(value) else float(value) for value in row] for row in kappa],
            "num_undefined": undefined.tolist(),
        },
        "present_threshold": 1.0,
        "over_raters": {
            "metric": "kappa_truncate",
            "num_draws": 500,
            "num_raters": raters,
            "humans": humans and humans["metrics"]["kappa_truncate"]["sets"],
            "systems": {name: found["metrics"]["kappa_truncate"]["sets"] for name, found in own.items()},
            "against_humans": {
                name: {
                    subset: {key: entry[key] for key in ("difference", "low", "high", "bias", "is_biased")}
                    for subset in ("all", "reliable", "rest")
                    for entry in [difference(name, "kappa_truncate", subset)]
                }
                for name in own
            },
        },
        "released_protocol": protocol,
        "group_tests": [
            {"first": "Human Annotators", "second": "Systems", "p": 0.2, "difference": 0.1, "low": -0.1, "high": 0.3},
            {"first": "Systems", "second": "Trivial", "p": None, "difference": None, "low": None, "high": None},
        ],
        "reliability": {
            name: {
                "bin_mean_score": [float(value) for value in bins * (1 if place % 2 else 1 / 7)],
                "bin_mean_rating": [float(value) for value in np.minimum(0.4 * bins + rng.random(10) * 0.4, 7)],
                "n": [int(value) for value in np.geomspace(5000, 20, 10)],
            }
            for place, name in enumerate(own)
            if defined
        },
    }


def small_taxonomy(folder, count):
    """Emotions without families on levels 1..7."""
    path = folder / "few.yaml"
    names = ["Joy", "Anger", "Fear", "Sadness", "Surprise"][:count]
    path.write_text(yaml.safe_dump({"name": "few", "levels": [1, 7], "emotions": names}))
    return Taxonomy.load(str(path))


def tables_of(text):
    """Each Markdown table as rows of cells."""
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        yield [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
