"""`annotate` before it reaches a server: options, sets and servers that do not fit are told in one line."""

import pytest

from emonet_lightning.annotation.label_studio import TOKEN, URL
from emonet_lightning.cli import main


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setenv(URL, "http://127.0.0.1:9")
    monkeypatch.setenv(TOKEN, "0" * 40)


def campaign(packed, out, *options):
    return main(["annotate", "campaign", str(packed.path), "--out", str(out), "--progress=false", *options])


RATING = ["--kind", "rating", "--raters", "anna,ben"]
BINARY = ["--kind", "binary", "--raters", "anna,ben,cem,dora"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([*RATING, "--num_images", "0"], 2, "--num_images 0: the set has 60"),
        ([*RATING, "--num_images", "61"], 2, "the set has 60"),
        ([*RATING, "--split", "tran"], 2, "did you mean 'train'"),
        ([*RATING, "--per_image", "3"], 2, "2 raters are named"),
        ([*RATING, "--seed", "-1"], 2, "whole number from 0"),
        ([*RATING, "--pairs", "x.jsonl"], 2, "--pairs does not go with --kind rating"),
        ([*RATING, "--swap_sides=true"], 2, "--swap_sides does not go with --kind rating"),
        ([*RATING, "--instructions", "missing.txt"], 66, "missing.txt: no such file"),
        ([*RATING, "--name", "a name that is much too long for a title of it"], 2, "shorten --name"),
        ([*BINARY, "--per_image", "3"], 2, "--per_image does not go with --kind binary"),
        ([*BINARY, "--contrasts", "missing.yaml"], 66, "missing.yaml"),
        (["--kind", "binary", "--raters", "anna,ben"], 2, "at least 3"),
        (["--kind", "preference", "--raters", "anna"], 2, "needs --pairs"),
        (["--kind", "ranking", "--raters", "anna"], 2, "kind"),
    ],
)
def test_options_that_do_not_fit_are_told_and_nothing_is_made(packed, tmp_path, capsys, options, code, words):
    assert campaign(packed, tmp_path / "out", *options) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_without_a_prompted_emotion_cannot_be_asked_about(tmp_path, capsys):
    from toy_faces import ToyFaces, pack_toy

    class Unprompted(ToyFaces):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(prompted=None)

    packed = pack_toy(tmp_path / "set", Unprompted(8))
    assert campaign(packed, tmp_path / "out", *BINARY) == 65
    assert "does not say which emotion it was made for" in capsys.readouterr().err


def test_another_taxonomy_than_the_sets_is_told(packed, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("name: own\nlevels: [0, 7]\nemotions: [Calm]\n")
    assert campaign(packed, tmp_path / "out", *RATING, "--taxonomy", str(tmp_path / "own.yaml")) == 65
    assert "name its taxonomy with --taxonomy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "token", "code", "words"),
    [
        ("http://faces.example.org:8080", "0" * 40, 2, "must be on this machine"),
        ("http://127.0.0.1.example.org", "0" * 40, 2, "must be on this machine"),
        ("http://127.0.0.1:9", "", 2, f"{TOKEN} is not set"),
        ("http://127.0.0.1:9", "0" * 40, 78, "no answer from Label Studio"),
    ],
)
def test_a_server_elsewhere_or_none_is_told(packed, tmp_path, capsys, monkeypatch, url, token, code, words):
    monkeypatch.setenv(URL, url)
    monkeypatch.setenv(TOKEN, token)
    assert campaign(packed, tmp_path / "out", *RATING, "--num_images", "2") == code
    said = capsys.readouterr().err
    assert words in said
    assert "0" * 40 not in said


def test_a_campaign_that_found_no_server_is_kept_and_goes_on_with_the_same_options_only(packed, tmp_path, capsys):
    out = tmp_path / "out"
    assert campaign(packed, out, *RATING, "--num_images", "4") == 78
    record, images = (out / "campaign.json").read_bytes(), sorted((out / "images").iterdir())
    assert len(images) == 4
    assert not any(key in path.name for path in images for key in packed.keys)
    images[0].unlink()
    assert campaign(packed, out, *RATING, "--num_images", "4") == 78
    assert sorted((out / "images").iterdir()) == images
    assert (out / "campaign.json").read_bytes() == record
    capsys.readouterr()
    assert campaign(packed, out, *RATING, "--num_images", "5") == 2
    assert "holds another campaign (it differs in questions)" in capsys.readouterr().err
    assert campaign(packed, out, *RATING, "--num_images", "4", "--seed", "1") == 2
    assert main(["annotate", "status", str(tmp_path)]) == 66
