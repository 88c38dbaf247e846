"""`export` writes a model card: figures are those of files, missing ones are said to be, nothing private in it."""

import copy
import re

import pytest
from agreement_content import agreement_content
from huggingface_hub import ModelCard

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.io import sha256_file, write_json
from emonet_lightning.reporting.markdown import number
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import dump_yaml

FORTY = Taxonomy.load("emonet40")
ESTIMATE = {"value": 0.412, "low": 0.301, "high": 0.523}
CHANCE = {"value": 0.2, "low": 0.1, "high": 0.3, "p": 0.001}


DATA = {"name": "faces", "images": "a" * 64, "labels": "b" * 64, "licence": "MIT", "kind": "dense", "num_samples": 160}


@pytest.fixture
def run(tmp_path):
    """A run's folder: its heads and manifest, and whatever a test puts beside them."""
    folder = tmp_path / "a secret place" / "run"
    encoder = {"name": "timm/test_resnet", "weights": str(folder / "w.safetensors"), "weights_sha256": "c" * 64}
    training = {"loss": "mse", "epochs": 2, "steps": 8, "constant_heads": ["awe"], "data": [DATA]}
    HeadsBundle(EmotionHeads(40, 96, (16, 8)), FORTY, encoder, training=training).save(folder)
    return folder


def card_of(run, *words):
    out = run.parent / "out"
    assert main(["export", f"--run={run}", f"--out={out}", *map(str, words)]) == 0
    return (out / "README.md").read_text()


def section(card, title):
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_card_of_heads_alone_says_what_they_are_and_that_nothing_was_measured(run):
    card = card_of(run, "--licence=mit")
    parsed = ModelCard(card).data
    assert parsed.license == "mit"
    assert parsed.library_name == "emonet_lightning"
    assert parsed.pipeline_tag == "image-classification"
    assert parsed.datasets == ["faces"]
    assert parsed.eval_results is None
    assert "| faces | MIT | dense | 160 |" in card
    for title in ("Agreement with raters", "By group", "Transfer to other faces", "Robustness", "Calibration"):
        assert section(card, title).strip().startswith("Not measured"), title
    assert section(card, "Leaks between training and test images").strip().startswith("Not measured")
    assert "5(1)(f)" in section(card, "Law")
    assert "50(3)" in section(card, "Law")
    assert parsed.base_model == "timm/test_resnet"
    assert "c" * 64 in card
    assert "1 heads gave every validation face one score: awe" in section(card, "Limits")
    assert f"`{sha256_file(run / 'manifest.json')}`" in card
    assert f"`{sha256_file(run.parent / 'out' / 'heads.safetensors')}`" in card


def test_figures_change_with_results_and_are_named_with_their_digest(run):
    write_json(
        run / "results.json", {"test/average_precision": 0.4321, "test/average_precision/low": 0.4, "test/num": 3}
    )
    first = card_of(run)
    assert "| `test/average_precision` | 0.432 |" in section(first, "Agreement with raters")
    write_json(run / "results.json", {"test/average_precision": 0.6789})
    second = card_of(run)
    assert "| `test/average_precision` | 0.679 |" in section(second, "Agreement with raters")
    assert "0.432" not in second
    assert f"`{sha256_file(run / 'results.json')}`" in second


def test_front_matter_and_table_hold_the_agreement_with_raters(run):
    content = agreement_content(FORTY, systems=["heads"], trivial=["random"])
    write_json(run / "agreement.json", content)
    card = card_of(run)
    found = {(each.metric_type, each.dataset_name): each for each in ModelCard(card).data.eval_results}
    shown = section(card, "Agreement with raters")
    for metric in content["headline"]:
        figure = content["systems"]["heads"]["metrics"][metric]["sets"]["all"]
        name = {"spearman": "spearmanr"}.get(metric, metric)
        entry = found[name, content["ratings"]["name"]]
        assert entry.metric_value == figure["value"]
        assert entry.metric_args["low"] == figure["low"]
        assert f"{number(figure['value'])} [{number(figure['low'])}, {number(figure['high'])}]" in shown.replace(
            "†", ""
        )
    bins = content["reliability"]["heads"]
    assert f"| {number(bins['bin_mean_score'][0])} | {number(bins['bin_mean_rating'][0])} |" in section(
        card, "Calibration"
    )


def reports(folder):
    """One of each, as small as its schema allows."""
    group = {
        "attribute": "age",
        "level": "60",
        "raw": ["60"],
        "n": 40,
        "spearman": ESTIMATE,
        "kappa": None,
        "bias": None,
    }
    gap = {"attribute": "age", "worst": "60", "best": "all others", "measure": "spearman", "p_holm": 0.04}
    sweep = {
        "name": "blur", "num_pictures": 12, "undisturbed": 0, "levels": [{"level": 0, "agreement": ESTIMATE}],
        "first_loss": {"falling": None, "rising": 3.5}, "first_below_anchor": {"falling": None, "rising": None},
    }  # fmt: skip
    below = {**sweep, "name": "yaw", "undisturbed_below_anchor": True, "first_below_anchor": {"rising": 15}}
    content = {
        "audit": {
            "definitions": {"gap": "worst minus best group"},
            "provenance": {"kind": "prompted", "meaning": "the prompt's words"},
            "system": "heads",
            "by": [{**group, "too_few": False}, {**group, "level": "80", "n": 7, "too_few": True}],
            "gaps": [{**gap, "gap": -0.111, "low": -0.2, "high": -0.02}],
        },
        "transfer": {
            "map": {"name": "ferd", "classes": ["a", "b"]},
            "images": {"num_images": 152},
            "systems": {
                "heads": {"kind": "system", "rules": {"argmax": {"accuracy": {**ESTIMATE, "chance": CHANCE}}}},
                "random": {"kind": "trivial", "rules": {}},
            },
        },
        "image transfer": {
            "set": {"name": "photos"},
            "map": {"name": "faces", "classes": ["a", "b"]},
            "images": {"num_images": 204},
            "faces": {"cut": False},
            "framing": {"num_faces": 7, "probes": {"place": None, "surroundings": None}, "framing": [], "photos": []},
            "results": {"feature_probe": {"accuracy": {"value": 0.791, "low": 0.75, "high": 0.83, "chance": CHANCE}}},
        },
        "robustness": {"faces": {"factors": [sweep, below]}, "images": None},
        "leaks": {
            "sets": [{"name": "big", "num_images": 160}, {"name": "hq", "num_images": 150}],
            "leaks": {"num_pairs": 2},
            "counts": {"flipped": {"pairs": 2, "across": 2}},
            "groups": {"num_shared": 5},
            "prompts": {"num_shared": 0},
        },
    }
    for kind, found in content.items():
        write_json(folder / kind / f"{kind.split()[-1]}.json", {"schema": f"emonet_lightning {kind} 1", **found})
    return content


def test_each_report_fills_its_section(run, tmp_path):
    given = tmp_path / "reports"
    reports(given)
    words = [f"--evidence={given / kind}" for kind in ("audit", "transfer", "robustness", "leaks")]
    card = card_of(run, *words, f"--evidence={given / 'image transfer' / 'transfer.json'}")
    groups = section(card, "By group")
    assert "Groups are **prompted**. the prompt's words" in groups
    assert "| age | 60 | 40 | 0.412 [0.301, 0.523] | - | - |" in groups
    assert "| age | 80 | 7 | too few | too few | too few |" in groups
    assert "| age | spearman | 60 | all others | -0.111 [-0.200, -0.020] | 0.040 |" in groups
    transfer = section(card, "Transfer to other faces")
    assert "| `argmax` heads | 0.412 [0.301, 0.523] | 0.200 [0.100, 0.300] |" in transfer
    assert "| `feature_probe` | 0.791 [0.750, 0.830] |" in transfer
    assert "photos, classes of map faces: 204 images of 2 classes" in transfer
    assert "Whole images; framing is not checked: a face was found in 7 of 204 images" in transfer
    assert "random" not in transfer
    assert "gap: worst minus best group" in groups
    robustness = section(card, "Robustness")
    assert "| rendered faces | blur | 12 | 0.412 [0.301, 0.523] | 3.5 | nowhere |" in robustness
    # below humans from the start: a level of yaw from which on it is would be praise
    assert "| rendered faces | yaw | 12 | 0.412 [0.301, 0.523] | 3.5 | undisturbed |" in robustness
    assert "2 pairs of copies across a test boundary (flipped 2); 5 groups" in card
    digest = sha256_file(given / "audit" / "audit.json")
    assert f"| `audit/audit.json` | given | `{digest}` |" in card


def test_options_are_those_of_run_yaml_and_neither_paths_nor_secrets_stand_in_the_card(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hunter2hunter2")
    options = {
        "seed_everything": 7,
        "trainer": {"max_epochs": 3, "default_root_dir": str(run)},
        "model": {"lr": 0.001, "loss": "hf_abcdefghijklmnopqrstu", "encoder": {"weights": str(run / "w.safetensors")}},
        "data": {
            "class_path": "X",
            "init_args": {"path": str(run / "set"), "batch_size": 32, "sampling": "hunter2hunter2"},
        },
    }
    (run / "run.yaml").write_text(dump_yaml(options))
    card = card_of(run)
    training = section(card, "Training")
    for told in ("`seed_everything` | 7", "`trainer.max_epochs` | 3", "`model.lr` | 0.001", "`data.batch_size` | 32"):
        assert told in training
    assert "a secret place" not in card
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work)/", card)
    assert "hf_abcdef" not in card
    assert "hunter2" not in card


def test_a_readme_that_somebody_wrote_stays_and_a_card_is_made_anew(run, capsys):
    out = run.parent / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    assert card_of(run) == "mine"
    assert "left as it is" in capsys.readouterr().err
    (out / "README.md").unlink()
    first = card_of(run)
    assert card_of(run) == first
    (out / "README.md").unlink()
    assert main(["export", f"--run={run}", f"--out={out}", "--card=false"]) == 0
    assert not (out / "README.md").exists()


@pytest.mark.parametrize("case", ["absent", "empty", "other", "broken"])
def test_evidence_that_is_none_is_one_line_before_anything_is_written(run, tmp_path, capsys, case):
    given = tmp_path / "given"
    given.mkdir()
    wanted = {"absent": (66, "no such file"), "empty": (66, "holds none of agreement.json"), "other": (65, "`schema`")}
    code, says = wanted.get(case, (65, "given/audit.json"))
    path = given
    if case == "absent":
        path = tmp_path / "nowhere.json"
    elif case == "other":
        path = given / "notes.json"
        write_json(path, {"schema": "something else"})
    elif case == "broken":
        found = copy.deepcopy(reports(tmp_path / "whole")["audit"])
        del found["gaps"]
        write_json(given / "audit.json", {"schema": "emonet_lightning audit 1", **found})
    out = run.parent / "out"
    assert main(["export", f"--run={run}", f"--out={out}", f"--evidence={path}"]) == code
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not out.exists()
