"""Real faces, real raters, a real pretrained encoder, through `pack` and the command line.

The data are not part of the project: `EMONET_REAL_DATA` names their folder, without it these tests skip.
"""

import json
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.data.datamodules import SyntheticFaces
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.evaluation.agreement import rater_scores
from emonet_lightning.evaluation.columns import column_mean
from emonet_lightning.packing.packed import PackedSet

NUM_FOLDS = 5
HALF = [0.5, 0.5, 0.5]


@pytest.fixture(scope="module")
def encoder(real_data):
    """MobileNetV2 with ImageNet weights, as the folder's README describes it."""
    weights = real_data / "encoders" / "mobilenetv2_100.safetensors"
    return EncoderSpec("timm/mobilenetv2_100", str(weights), options={"pad_type": "same"}, mean=HALF, std=HALF)


@pytest.fixture(scope="module")
def encoder_words(encoder):
    """The same on the command line."""
    return [
        f"--model.encoder.name={encoder.name}",
        f"--model.encoder.weights={encoder.weights}",
        "--model.encoder.options.pad_type=same",
        f"--model.encoder.mean={HALF}",
        f"--model.encoder.std={HALF}",
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",
        "--trainer.enable_progress_bar=false",
        "--figures=false",
    ]


@pytest.fixture(scope="module")
def london(tmp_path_factory, real_data):
    """102 persons, neutral and smiling, as one emotion on levels 0..1."""
    folder = tmp_path_factory.mktemp("london")
    (folder / "smile.yaml").write_text("name: smile\nlevels: [0, 1]\nemotions: [Smiling]\n")
    faces = real_data / "faces"
    words = [
        "pack", str(faces / "london"), f"--labels={faces / 'manifest.csv'}", "--columns.image=path",
        "--columns.label=label", "--group=subject", "--classes.happiness=Smiling", "--classes.neutral=none",
        f"--taxonomy={folder / 'smile.yaml'}", "--unmatched=skip", "--licence=CC-BY-4.0", f"--out={folder / 'set'}",
        "--progress=false",
    ]  # fmt: skip
    assert main(words) == 0
    return folder


@pytest.mark.parametrize("num_seeds", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_london_smiles_are_told_as_well_as_by_logistic_regression(london, encoder, encoder_words, capsys, num_seeds):
    packed = PackedSet.open(london / "set")
    assert packed.num_samples == 204
    persons = np.array(packed.groups)
    assert len(set(persons)) == 102
    correct = np.zeros((2, num_seeds, packed.num_samples))  # heads and logistic regression
    for seed in range(num_seeds):
        for fold in range(NUM_FOLDS):
            taxonomy = str(london / "smile.yaml")
            data = SyntheticFaces(
                str(london / "set"), encoder=encoder, taxonomy=taxonomy, num_folds=NUM_FOLDS, fold=fold, fold_seed=seed
            )
            data.setup("test")
            train, test = data.rows["train"], data.rows["test"]
            assert not set(persons[train]) & set(persons[test])
            features, smiling = data.features[0].float(), data.labels.target[:, 0] > 0.5
            baseline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            baseline.fit(features[train].numpy(), smiling[train])
            correct[1, seed, test] = baseline.predict(features[test].numpy()) == smiling[test]
            out = london / f"run-{num_seeds}-{seed}-{fold}"
            # linear heads from zero, steps proportional to the gradient, weight decay 1 / 164: logistic regression's
            # own objective; rate and epochs were chosen on validation persons inside the training folds
            words = [
                "fit", "--data=SyntheticFaces", f"--data.path={london / 'set'}", f"--data.num_folds={NUM_FOLDS}",
                f"--data.fold={fold}", f"--data.fold_seed={seed}", "--data.batch_size=32",
                f"--model.taxonomy={taxonomy}", "--model.loss=bce", "--model.widths=[]", "--model.dropout=0",
                "--model.zero_init=true", "--model.adam_eps=1.0", "--model.lr=0.03", "--model.weight_decay=0.006",
                "--model.clip_norm=0", "--trainer.max_epochs=60", f"--seed_everything={seed}",
                "--trainer.enable_checkpointing=false", f"--out={out}",
            ]  # fmt: skip
            assert main([*words, *encoder_words]) == 0
            scores = HeadsBundle.load(out).scores(features[torch.from_numpy(test)])[:, 0].numpy()
            correct[0, seed, test] = (scores > 0.5) == smiling[test]
    per_person = np.array(
        [correct[:, :, persons == person].mean((1, 2)) for person in sorted(set(persons))]
    )  # [102, 2]
    difference = per_person[:, 0] - per_person[:, 1]
    draws = np.random.default_rng(0).integers(len(difference), size=(2000, len(difference)))
    low, high = np.percentile(difference[draws].mean(1), [2.5, 97.5])
    heads, regression = correct.mean((1, 2))
    with capsys.disabled():
        print(
            f"\nLondon, {num_seeds} seeds x {NUM_FOLDS} folds of persons: heads {heads:.4f}, logistic regression "
            f"{regression:.4f}, difference {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}] over persons"
        )
    assert heads >= regression - 0.01


def test_3dsk_traits_are_judged_beside_the_raters_own_agreement(tmp_path, real_data, encoder_words, capsys):
    (tmp_path / "traits.yaml").write_text("name: 3dsk\nlevels: [1, 7]\nemotions: [att, dom, sexdim, health, trust]\n")
    faces, out = real_data / "faces", tmp_path / "run"
    words = [
        "pack", str(faces / "sk3d"), f"--labels={faces / 'ratings_3dsk.csv'}", "--columns.emotion=trait",
        f"--taxonomy={tmp_path / 'traits.yaml'}", "--splits.train=0.7", "--splits.test=0.3",
        f"--out={tmp_path / 'set'}", "--progress=false",
    ]  # fmt: skip
    assert main(words) == 0
    packed = PackedSet.open(tmp_path / "set")
    ratings = packed.ratings()
    assert (packed.kind, packed.num_samples, len(ratings.value)) == ("rated", 100, 100_000)
    words = [
        "fit", "--data=ExpertRatings", f"--data.path={tmp_path / 'set'}", "--data.missing=mask",
        "--test_data=ExpertRatings", f"--test_data.path={tmp_path / 'set'}", "--test_data.missing=mask",
        f"--model.taxonomy={tmp_path / 'traits.yaml'}", "--model.dropout=0.3", "--trainer.max_epochs=40",
        "--data.batch_size=32", "--num_draws=50", f"--out={out}",
    ]  # fmt: skip
    assert main([*words, *encoder_words]) == 0
    results = json.loads((out / "results.json").read_text())
    cube = np.full((100, len(ratings.raters), 5), np.nan)
    order = [ratings.slugs.index(slug) for slug in ("att", "dom", "sexdim", "health", "trust")]
    cube[ratings.row, ratings.rater, np.argsort(order)[ratings.slug_index]] = ratings.value
    held_out = cube[packed.splits["test"]]
    assert results["test/num_samples"] == len(held_out) == 30
    single = rater_scores(held_out, 1, 7)
    kappa, alone = (column_mean(single[key]) for key in ("kappa_round", "spearman"))
    lines = []
    for k, slug in enumerate(("att", "dom", "sexdim", "health", "trust")):
        assert results[f"test/rater_kappa_round/{slug}"] == pytest.approx(kappa[k])
        assert results[f"test/rater_spearman/{slug}"] == pytest.approx(alone[k])
        figures = [results[f"test/{name}/{slug}"] for name in ("spearman", "kappa_round")]
        assert np.isfinite(figures).all()
        lines.append(f"{slug} rho {figures[0]:.2f} ({alone[k]:.2f}), kappa {figures[1]:.2f} ({kappa[k]:.2f})")
    with capsys.disabled():
        print("\n3DSK, 30 held-out faces, heads (one rater with the others): " + "; ".join(lines))
    # raters kept apart, not their mean: a rater's agreement with the rest is far from that of the mean with itself
    assert results["test/rater_spearman"] < 0.9


def test_generated_faces_go_through_pack_verify_embed_and_predict_without_a_loss(
    tmp_path, real_data, capsys, quickstart
):
    source = real_data / "faces" / "sfhq_unlabelled"
    files = sorted(path.name for path in source.iterdir())
    assert len(files) == 1588
    seconds = {}
    for name, words in {
        "pack": ["pack", str(source), "--format=images", "--kind=dense", f"--out={tmp_path / 'set'}", "--licence=MIT"],
        "verify": ["verify", str(tmp_path / "set")],
        "embed": ["embed", str(tmp_path / "set")],
        "predict": ["predict", str(tmp_path / "set"), f"--run={quickstart}", f"--out={tmp_path / 'scores.jsonl'}"],
    }.items():
        start = time.perf_counter()
        assert main(words) == 0
        seconds[name] = time.perf_counter() - start
    with capsys.disabled():
        rates = ", ".join(f"{name} {len(files) / value:.0f}" for name, value in seconds.items())
        print(f"\n1,588 generated faces, images/s: {rates}")
    packed = PackedSet.open(tmp_path / "set")
    assert packed.num_samples == len(files)
    for row in (0, 700, 1587):
        assert packed.read_image(row) == (source / files[row]).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == packed.keys
    assert np.isfinite([[line[slug] for slug in ("anger", "elation")] for line in lines]).all()
