import json

import pytest
import yaml

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means, slugify


def test_released_taxonomy_has_the_published_counts():
    taxonomy = Taxonomy.load("emonet40")
    families = [dimension.family for dimension in taxonomy.dimensions]
    sizes = sorted(families.count(family) for family in set(families))
    assert len(taxonomy) == taxonomy.num_emotions == 40
    assert sizes == sorted([9, 6, 6, 10, 2, 4, 3])
    assert sum(len(dimension.keywords) for dimension in taxonomy.dimensions) == 250
    assert {(dimension.low, dimension.high) for dimension in taxonomy.dimensions} == {(0.0, 7.0)}


def test_released_taxonomy_equals_the_released_guide(real_data):
    guide = json.loads((real_data / "guide.json").read_text())["options"]
    taxonomy = Taxonomy.load("emonet40")
    assert taxonomy.names == list(guide["labels"])
    for dimension in taxonomy.dimensions:
        assert list(dimension.keywords) == guide["labels"][dimension.name]
        assert dimension.name in guide["buttons"][dimension.family]


def test_extra_dimensions_follow_the_emotions_with_their_own_ranges():
    taxonomy = Taxonomy.load("emonet40", extra_dimensions=True)
    assert (len(taxonomy), taxonomy.num_emotions) == (44, 40)
    assert [(d.slug, d.low, d.high) for d in taxonomy.dimensions[40:]] == [
        ("arousal", 0, 7),
        ("valence", -3, 3),
        ("dominance", -3, 3),
        ("emotional_vulnerability", 0, 5),
    ]
    assert taxonomy.digest != Taxonomy.load("emonet40").digest


@pytest.mark.parametrize(
    "spelling",
    ["Helplessness", "helplessness", "Hopelessness", "Negative Low-Energy Emotions|Helplessness",
     "model_helplessness_best", " helplessness "],
)  # fmt: skip
def test_every_spelling_of_an_emotion_is_found(spelling):
    taxonomy = Taxonomy.load("emonet40")
    assert taxonomy.slugs[taxonomy.index(spelling)] == "helplessness"


def test_slugs_follow_the_released_rule():
    assert slugify("Jealousy & Envy") == "jealousy_&_envy"
    assert slugify("Pleasure/Ecstasy") == "pleasure_ecstasy"


def test_unknown_emotion_offers_the_nearest_name():
    with pytest.raises(DataError, match=r"labels\.csv: unknown emotion 'Angre'.*'Anger'"):
        Taxonomy.load("emonet40").index("Angre", "labels.csv")


def test_order_is_part_of_the_digest(tmp_path):
    for name, emotions in (("a", ["Calm", "Bored"]), ("b", ["Bored", "Calm"])):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"name": "own", "emotions": emotions}))
    first, second = (Taxonomy.load(str(tmp_path / f"{name}.yaml")) for name in "ab")
    assert Taxonomy.from_dict(first.to_dict()).digest == first.digest
    with pytest.raises(DataError, match="another taxonomy or order"):
        first.check_digest(second.digest, "heads")


def test_own_taxonomy_takes_levels_and_families(tmp_path):
    path = tmp_path / "traits.yaml"
    path.write_text("name: traits\nlevels: [1, 7]\nemotions:\n- {name: Trust, family: Social}\n- Health\n")
    taxonomy = Taxonomy.load(str(path))
    assert [(d.name, d.low, d.high, d.family) for d in taxonomy.dimensions] == [
        ("Trust", 1, 7, "Social"),
        ("Health", 1, 7, None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emotions: [A, A]", "give each emotion its own"),
        ("emotion: [A]", "a mapping with a list 'emotions'"),
        ("emotions: [{name: A, keyword: [x]}]", "did you mean 'keywords'"),
        ("emotions: [A]\nlevels: [7, 0]", "levels must rise"),
        ("emotions: [A", "not YAML"),
    ],
)
def test_bad_taxonomy_file_gets_one_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        Taxonomy.load(str(path))
    assert "\n" not in str(raised.value)


def test_missing_taxonomy_names_the_built_in():
    with pytest.raises(MissingInputError, match="did you mean 'emonet40'"):
        Taxonomy.load("emonet41")


def test_released_neutral_means_cover_all_released_heads(real_data):
    released = json.loads((real_data / "neutral_means.json").read_text())["neutral_mean"]
    taxonomy = Taxonomy.load("emonet40", extra_dimensions=True)
    assert released_neutral_means(taxonomy) == [released[slug] for slug in taxonomy.slugs]
