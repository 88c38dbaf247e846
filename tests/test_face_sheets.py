"""The commands that make rendered faces for people: contact sheets, and packed sets of any size."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from emonet_lightning.cli import main
from emonet_lightning.packing.shards import PackedSet
from emonet_lightning.reporting.face_sheets import SHEETS, draw_sheet
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.factors import FACTORS
from emonet_lightning.synthesis.renderer import render_face


def test_sheet_shows_every_face_where_it_belongs():
    whole = SHEETS["intensity"](0)
    sheet = whole._replace(cells=whole.cells[:16])
    assert sheet.num_columns == 8
    with Image.open(io.BytesIO(draw_sheet(sheet, 64))) as picture:
        page = np.asarray(picture.convert("RGB")).astype(int)
    assert page.shape[0] == pytest.approx(34 + 2 * 84 + 8, abs=1)
    for index, cell in enumerate(sheet.cells):
        row, column = divmod(index, 8)
        top, left = 34 + row * 84, 8 + column * 72
        shown = page[top : top + 64, left : left + 64]
        assert np.abs(shown - render_face(cell.params, 64)).mean() < 6, "JPEG and its noise"
        assert (page[top + 64 : top + 84, left : left + 64] < 200).any(), "a label"


def test_sheets_cover_emotions_and_factors():
    sheets = {name: make(0) for name, make in SHEETS.items()}
    assert len(sheets["emotions"].cells) == len(load_expressions().slugs)
    assert {cell.label.partition(":")[0] for cell in sheets["intensity"].cells} == {str(level) for level in range(8)}
    assert set(sheets) >= {"emotions", "intensity", "identity", "pose", "lighting", "camera", "occlusion"}
    for sheet in sheets.values():
        assert len({cell.label for cell in sheet.cells}) > 0.4 * len(sheet.cells)


@pytest.mark.slow
def test_command_writes_all_sheets(tmp_path):
    assert main(["synthesize", "sheets", "--out", str(tmp_path / "sheets"), "--size", "64"]) == 0
    for name in SHEETS:
        with Image.open(tmp_path / "sheets" / f"{name}.png") as picture:
            assert min(picture.size) > 300


def test_faces_of_any_number_size_and_seed_are_packed_with_their_factors(tmp_path):
    command = ["synthesize", "faces", "--out", str(tmp_path / "set"), "--count", "24", "--size", "80", "--seed", "5"]
    assert main([*command, "--num_processes", "1"]) == 0
    packed = PackedSet.open(tmp_path / "set")
    assert packed.num_samples == 24
    assert set(packed.splits) == {"train", "val"}
    metas = []
    for shard in sorted((tmp_path / "set").rglob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar.getmembers():
                content = tar.extractfile(member).read()
                if member.name.endswith(".json"):
                    metas.append(json.loads(content)["meta"])
                elif member.name.endswith((".jpg", ".jpeg")):
                    with Image.open(io.BytesIO(content)) as picture:
                        assert picture.size == (80, 80)
    assert len(metas) == 24
    assert all(set(FACTORS) < set(meta) and meta["seed"] == 5 for meta in metas)
    assert main([*command, "--num_processes", "1"]) == 0, "the same again is left as it is"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["faces", "--size", "40"], "64 to 512"),
        (["faces", "--count", "0"], "1 or more"),
        (["sheets", "--size", "600"], "64 to 512"),
    ],
)
def test_impossible_options_are_told_in_one_line(tmp_path, capsys, options, told):
    assert main(["synthesize", *options, "--out", str(tmp_path / "x")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
