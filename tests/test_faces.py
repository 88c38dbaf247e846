"""The three rendered sets: structure of BIG, BINARY and HQ, persons apart, ratings of what is visible."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from emonet_lightning.errors import UsageError
from emonet_lightning.packing.samples import check_sample
from emonet_lightning.synthesis.expressions import display_similarity, load_expressions
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy

NAMES = ("big", "binary", "hq")


@pytest.fixture(scope="module")
def samples() -> dict:
    return {name: [RenderedFaces(name)[index] for index in range(80)] for name in NAMES}


def test_sets_have_the_promised_sizes():
    assert [len(RenderedFaces(name)) for name in NAMES] == [4000, 1500, 500]
    assert [RenderedFaces(name).kind for name in NAMES] == ["dense", "binary", "rated"]


def test_a_sample_is_a_pure_function_of_seed_and_index(samples: dict):
    for name in NAMES:
        again = pickle.loads(pickle.dumps(RenderedFaces(name)))
        assert again[17] == samples[name][17]
        assert RenderedFaces(name, seed=1)[17].image != samples[name][17].image
        assert RenderedFaces(name, count=20)[17] == samples[name][17]
    with pytest.raises(IndexError):
        RenderedFaces("hq")[500]


def test_samples_are_valid_jpegs_and_fit_the_taxonomy(samples: dict):
    taxonomy = Taxonomy.load("emonet40")
    for name in NAMES:
        for sample in samples[name]:
            check_sample(sample, RenderedFaces(name).kind, taxonomy)
        with Image.open(io.BytesIO(samples[name][0].image)) as picture:
            assert picture.format == "JPEG"
            assert min(picture.size) >= 96


def test_persons_are_groups_and_never_shared_between_sets(samples: dict):
    groups = {name: {sample.group for sample in samples[name]} for name in NAMES}
    assert not groups["big"] & groups["binary"]
    assert not groups["big"] & groups["hq"]
    assert not groups["binary"] & groups["hq"]
    persons = {name: {RenderedFaces(name).params(index).person for index in range(80)} for name in NAMES}
    for name in NAMES:
        assert len(persons[name]) == len(groups[name])
    assert not persons["big"] & persons["binary"]
    assert not persons["big"] & persons["hq"]
    assert not persons["binary"] & persons["hq"]


def test_every_emotion_is_prompted_equally_often(samples: dict):
    for name in NAMES:
        prompted = [sample.prompted for sample in samples[name]]
        assert {prompted.count(slug) for slug in load_expressions().slugs} == {2}


def test_generated_labels_have_at_most_five_emotions(samples: dict):
    counts = [len(sample.ratings["machine"]) for sample in samples["big"]]
    assert max(counts) == 5
    assert min(counts) >= 0
    assert all(level in range(1, 8) for sample in samples["big"] for level in sample.ratings["machine"].values())


def test_votes_stop_at_a_no_or_after_three(samples: dict):
    table = load_expressions()
    outcomes = set()
    for sample in samples["binary"]:
        contrast = table.slugs[table.contrast[table.slugs.index(sample.prompted)]]
        target = [answers[sample.prompted] for answers in sample.ratings.values() if sample.prompted in answers]
        other = [answers[contrast] for answers in sample.ratings.values() if contrast in answers]
        assert len(other) == 1
        assert set().union(*sample.ratings.values()) == {sample.prompted, contrast}
        assert target.count(0.0) <= 1
        assert len(target) == 3 or target.count(0.0) == 1
        outcomes.add(tuple(sorted(target, reverse=True)))
    assert outcomes == {(1, 1, 1), (1, 1, 0), (1, 0), (0,)}


def test_four_of_eight_raters_see_each_face_of_hq(samples: dict):
    raters = [set(sample.ratings) for sample in samples["hq"]]
    assert all(len(four) == 4 for four in raters)
    assert set().union(*raters) == {f"human-{number}" for number in range(1, 9)}
    touched = [len(answers) for sample in samples["hq"] for answers in sample.ratings.values()]
    assert 6 < np.mean(touched) < 10


def test_ratings_follow_the_picture_not_the_prompt():
    """The expert's sliders and the machine's labels get the actions alone; this is what they make of them."""
    table = load_expressions()
    faces = RenderedFaces("hq", count=400)
    asked, neighbour = [], []
    similarity = display_similarity() - np.eye(len(table.slugs))
    for index in range(400):
        prompted = index_of_prompt(faces, index)
        means = {slug: 0.0 for slug in table.slugs}
        for answers in faces.ratings(index).values():
            for slug, level in answers.items():
                means[slug] += level / 4
        asked.append(means[table.slugs[prompted]])
        neighbour.append(means[table.slugs[int(similarity[prompted].argmax())]])
    assert np.mean(asked) > 2.0, "the prompted emotion should mostly be seen"
    assert np.mean(np.array(asked) < 0.5) > 0.02, "but not always: raters do not know the prompt"
    assert np.mean(neighbour) > 0.7, "and its look-alike is seen as well"


def index_of_prompt(faces: RenderedFaces, index: int) -> int:
    return faces._face(index)[1]


def test_yes_rates_are_those_of_the_released_annotations_overall_and_uneven():
    faces, table = RenderedFaces("binary"), load_expressions()
    agreed = np.zeros((len(faces), 2))
    for index in range(len(faces)):
        prompted = index_of_prompt(faces, index)
        answers = [a[table.slugs[prompted]] for a in faces.ratings(index).values() if table.slugs[prompted] in a]
        agreed[index] = prompted, answers == [1.0, 1.0, 1.0]
    by_emotion = np.array([agreed[agreed[:, 0] == k, 1].mean() for k in range(40)])
    assert 0.40 < agreed[:, 1].mean() < 0.52
    assert by_emotion.min() < 0.2
    assert by_emotion.max() > 0.75


def test_unknown_set_and_tiny_faces_are_refused():
    with pytest.raises(UsageError, match="did you mean 'binary'"):
        RenderedFaces("binry")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="64 to 512"):
        RenderedFaces("big", size=40)


def test_fingerprint_tells_other_arguments_apart():
    digests = {RenderedFaces("big", seed=seed, size=size).fingerprint() for seed in (0, 1) for size in (96, 112)}
    assert len(digests) == 4
