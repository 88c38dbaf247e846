"""`pack SET --labels FILE`: the images of a packed set with other answers."""

import pytest

from emonet_lightning.cli import main
from emonet_lightning.data.labels import rated_labels
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.taxonomy import Taxonomy

HEADER = "path,annotator,value,emotion,prompted"


def relabel(packed, tmp_path, *lines, options=()):
    labels = tmp_path / "votes.csv"
    labels.write_text("\n".join([HEADER, *lines]) + "\n")
    out = tmp_path / "voted"
    return out, main(
        ["pack", str(packed.path), "--labels", str(labels), "--out", str(out), "--progress=false", *options]
    )


def test_answers_replace_those_of_the_set_and_all_else_stays(packed, tmp_path):
    rows = (5, 17, 40)
    lines = [f"{packed.keys[row]},ben,{row > 10},Elation," for row in rows]
    out, code = relabel(packed, tmp_path, *lines, options=["--unmatched", "skip"])
    assert code == 0
    found, ratings = PackedSet.open(out), PackedSet.open(out).ratings()
    assert found.kind == "binary"
    assert sorted(found.keys) == sorted(packed.keys[row] for row in rows)
    for place, key in enumerate(found.keys):
        row = packed.keys.index(key)
        assert found.read_image(place) == packed.read_image(row)
        assert (found.prompted[place], found.groups[place]) == (packed.prompted[row], packed.groups[row])
        assert found.read_record(place)["meta"] == packed.read_record(row)["meta"]
        assert ratings.value[ratings.row == place].tolist() == [float(row > 10)]
    assert {ratings.slugs[k] for k in ratings.slug_index} == {"elation"}


@pytest.mark.parametrize(
    ("line", "words"),
    [("{key},ben,True,Elation,", "image without label"), ("elsewhere,ben,True,Elation,", "none of its 1 names")],
)
def test_answers_that_do_not_fit_the_set_are_told(packed, tmp_path, capsys, line, words):
    out, code = relabel(packed, tmp_path, line.format(key=packed.keys[0]))
    assert code == 65
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_rater_who_touched_nothing_has_rated_the_image(packed, tmp_path):
    labels = tmp_path / "ratings.csv"
    one, two = packed.keys[8], packed.keys[3]
    rows = [(one, "ann", "{'Awe': 4}"), (one, "ben", "{}"), (two, "ben", "{}"), (two, "cem", "{}")]
    labels.write_text("image,annotator,annotations\n" + "".join(f'{i},{r},"{a}"\n' for i, r, a in rows))
    words = ["pack", str(packed.path), "--labels", str(labels), "--unmatched", "skip", "--progress=false"]
    assert main([*words, "--out", str(tmp_path / "rated")]) == 0
    found, ratings = PackedSet.open(tmp_path / "rated"), PackedSet.open(tmp_path / "rated").ratings()
    assert found.kind == "rated"
    silent = {(found.keys[row], ratings.raters[rater]) for row, rater in ratings.silent}
    assert silent == {(one, "ben"), (two, "ben"), (two, "cem")}
    label = rated_labels(ratings, len(found), Taxonomy.load("emonet40"), "zero")
    awe = Taxonomy.load("emonet40").index("Awe")
    assert label.target[found.keys.index(one), awe] == 2
    assert label.mask[found.keys.index(two)].all()
