"""Running a design: gates, another try, copies, sharing, kills. A painter of seeds stands where a pipeline would be."""

import json
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from emonet_lightning.errors import DataError, InterruptedRunError, UsageError
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.synthesis.blocks import GeneratedImages, block_path
from emonet_lightning.synthesis.gates import Gates
from emonet_lightning.synthesis.prompt_axes import load_prompts
from emonet_lightning.synthesis.prompts import attempt_seed, make_design, read_prompts, write_design
from emonet_lightning.synthesis.text_to_image import Run, generate
from emonet_lightning.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("emonet40")
NUM = 70
RECORDED = {"model": "painter", "steps": 3, "scheduler": "none"}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("design") / "faces.jsonl"
    write_design(make_design(load_prompts(TAXONOMY), NUM), path)
    return read_prompts(path)


def paint(seed):
    """A smooth picture of random waves: its perceptual hash is that of no other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


def painter(special=None, calls=None, stop_after=None):
    """Draw a picture of each seed; of `special` seeds, the one that stands there."""

    def draw(texts, seeds):
        if stop_after is not None and len(calls) >= stop_after:
            raise InterruptedRunError("stopped")
        if calls is not None:
            calls.append(list(seeds))
        return [(special or {}).get(seed, paint(seed)) for seed in seeds]

    return draw


def make(prompts, out, draw, gates=Gates(), rank=0, world_size=1, batch_size=4, plan=None):
    plan = {"gates": gates.recorded(), "design": prompts.digest, "made_with": {}, **(plan or RECORDED)}
    run = Run(prompts, out, TAXONOMY, gates, plan, batch_size, "png", 95, None, rank, world_size, progress=False)
    highest = {dimension.slug: dimension.high for dimension in TAXONOMY.dimensions}

    def source(kept):
        return GeneratedImages(kept, prompts.records, RECORDED, highest, "faces", "MIT", prompts.digest)

    return generate(run, lambda: draw, source)


def digests(folder):
    """Digest of every file, those of the report included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def report_of(out):
    lines = (out / "generation" / "dropped.jsonl").read_text().splitlines()
    return json.loads((out / "generation" / "report.json").read_text()), [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def whole(prompts, tmp_path_factory):
    """The set as it is made in one go."""
    out = tmp_path_factory.mktemp("whole") / "set"
    assert make(prompts, out, painter()).num_samples == NUM
    return out


def test_the_set_is_a_packed_one_with_prompted_labels_and_all_fields(whole, prompts):
    packed = PackedSet.open(whole)
    assert packed.verify(progress=False).problems == []
    assert packed.keys == [record["id"] for record in prompts.records]
    assert packed.prompted == [record["prompted"] for record in prompts.records]
    for row in (0, NUM - 1):
        record, asked = packed.read_record(row), prompts.records[row]
        assert record["ratings"] == {"generated": {asked["prompted"]: 7.0}}
        assert record["meta"] == {k: v for k, v in asked.items() if k != "id"} | RECORDED | {"attempt": 0}
        assert record["group"] == asked["cell"]
    assert not (whole / "generation" / "blocks").exists()


def test_each_image_is_of_its_own_seed_whatever_the_batch(whole, prompts, tmp_path):
    packed = make(prompts, tmp_path / "other", painter(), batch_size=7)
    assert packed.image_sha256 == PackedSet.open(whole).image_sha256


def test_stopped_anywhere_it_goes_on_with_equal_bytes_and_makes_nothing_twice(whole, prompts, tmp_path):
    out, calls = tmp_path / "set", []
    for stop in (1, 9, 12):
        with pytest.raises(InterruptedRunError):
            make(prompts, out, painter(calls=calls, stop_after=stop))
    make(prompts, out, painter(calls=calls))
    assert digests(out) == digests(whole)
    twice = [seed for seed, count in Counter(chain(*calls)).items() if count > 1]
    assert len(twice) == 4 + 12  # the batches of blocks that were not whole when it was stopped


def test_processes_share_a_design_and_the_last_one_finishes_it(whole, prompts, tmp_path):
    out, made = tmp_path / "set", []
    for rank in (2, 0):
        assert make(prompts, out, painter(calls=made), rank=rank, world_size=3) is None
    assert not (out / "manifest.json").exists()
    assert make(prompts, out, painter(calls=made), rank=1, world_size=3).num_samples == NUM
    assert len(list(chain(*made))) == NUM
    assert digests(out) == digests(whole)


def test_a_finished_set_is_left_as_it_is_without_loading_a_pipeline(whole, prompts):
    before = digests(whole)
    calls = []
    assert make(prompts, whole, painter(calls=calls)).num_samples == NUM
    assert calls == []
    assert digests(whole) == before


def test_blank_images_and_copies_are_dropped_and_tried_again_with_another_seed(prompts, tmp_path):
    records = prompts.records
    blank = (
        90 + np.indices((64, 64)).sum(axis=0)[..., None].repeat(3, axis=2).astype(np.uint8) % 3
    )  # faint, not one colour
    original = paint(records[2]["seed"])
    speck = original.copy()
    speck[:2, :2] = 0
    special = {records[5]["seed"]: blank, records[40]["seed"]: speck, records[69]["seed"]: original}
    special |= {attempt_seed(records[6], attempt): blank for attempt in range(3)}  # never works
    special |= {attempt_seed(records[69], 1): original}
    packed = make(prompts, tmp_path / "set", painter(special), Gates(attempts=3))
    report, dropped = report_of(tmp_path / "set")
    assert packed.num_samples == NUM - 1
    assert records[6]["id"] not in packed.keys
    assert [(entry["id"], entry["attempt"], entry["reason"]) for entry in dropped] == [
        (records[5]["id"], 0, "blank"),
        *((records[6]["id"], attempt, "blank") for attempt in range(3)),
        (records[40]["id"], 0, "near duplicate"),
        (records[69]["id"], 0, "near duplicate"),
        (records[69]["id"], 1, "near duplicate"),
    ]
    assert dropped[-1]["of"] == records[2]["id"]
    assert report["images_made"] == packed.num_samples + len(dropped)
    assert report["dropped_images"] == {"blank": 4, "near duplicate": 3}
    assert report["kept_after_another_attempt"] == 3
    assert report["prompts_without_image"] == 1
    assert report["levels"]["emotion"][records[6]["emotion"]]["kept"] == (
        report["levels"]["emotion"][records[6]["emotion"]]["prompts"] - 1
    )
    for row, attempt in ((5, 1), (40, 1), (69, 2)):
        meta = packed.read_record(packed.keys.index(records[row]["id"]))["meta"]
        assert (meta["attempt"], meta["seed"]) == (attempt, attempt_seed(records[row], attempt))
    assert packed.verify(progress=False).problems == []


def test_copies_are_kept_where_they_are_asked_for(prompts, tmp_path):
    special = {record["seed"]: paint(1) for record in prompts.records[:3]}
    packed = make(prompts, tmp_path / "set", painter(special), Gates(near_duplicates="keep"))
    assert packed.num_samples == NUM
    assert len(set(packed.image_sha256)) == NUM - 2


def test_where_nothing_passes_it_is_said_and_nothing_is_packed(prompts, tmp_path):
    def blank(texts, seeds):
        return [np.zeros((64, 64, 3), dtype=np.uint8) for _ in seeds]

    with pytest.raises(DataError, match=r"no image passed the gates \(140 blank\)"):
        make(prompts, tmp_path / "set", blank, Gates(attempts=2))
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_other_options_in_the_same_folder_are_refused_by_name(prompts, tmp_path):
    with pytest.raises(InterruptedRunError):
        make(prompts, tmp_path / "set", painter(calls=[], stop_after=0))
    make_other = {**RECORDED, "steps": 9}
    calls = []
    with pytest.raises(InterruptedRunError):  # nothing is made yet: other options may begin
        make(prompts, tmp_path / "set", painter(calls=calls, stop_after=9), plan=make_other)
    with pytest.raises(UsageError, match="was begun with steps 9, not 3"):
        make(prompts, tmp_path / "set", painter())
    with pytest.raises(UsageError, match="was begun with gates attempts 3, not 1"):
        make(prompts, tmp_path / "set", painter(), Gates(attempts=1), plan=make_other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        make(prompts, tmp_path / "full", painter())


@pytest.mark.parametrize("suffix", [".images", ".json"])
def test_a_damaged_block_is_made_anew(whole, prompts, tmp_path, suffix):
    out = tmp_path / "set"
    with pytest.raises(InterruptedRunError):
        make(prompts, out, painter(calls=[], stop_after=9))
    path = block_path(out / "generation" / "blocks", 0, 0).with_suffix(suffix)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if suffix == ".images":
        with pytest.raises(DataError, match="is damaged; run the same command again"):
            make(prompts, out, painter())
    make(prompts, out, painter())
    assert digests(out) == digests(whole)


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        (Gates(attempts=0), "--gates.attempts 0: must be 1 to 100"),
        (Gates(near_duplicate_distance=40), "--gates.near_duplicate_distance 40"),
        (Gates(face_threshold=2.0), "--gates.face_threshold 2.0: must be 0 to 1"),
        (Gates(min_contrast=float("nan")), "--gates.min_contrast nan"),
    ],
)
def test_gates_that_are_none_are_refused(gates, told):
    with pytest.raises(UsageError, match=told):
        gates.check()


def test_a_face_detector_that_is_none_is_one_line(prompts, tmp_path):
    wrong = tmp_path / "yunet.onnx"
    wrong.write_bytes(b"no network")
    with pytest.raises(DataError, match="cannot load it as a face detector"):
        make(prompts, tmp_path / "set", painter(), Gates(face_detector=str(wrong)))
    assert not (tmp_path / "set").exists()
    with pytest.raises(Exception, match="no such file; give YuNet"):
        replace(Gates(), face_detector=str(tmp_path / "none.onnx")).recorded()


def build_detector(path):
    """A network with the inputs and outputs of YuNet that takes each bright cell of 32 pixels for a face."""
    onnx = pytest.importorskip("onnx")
    make, number = onnx.helper, onnx.TensorProto
    values = {
        "mean": np.full((1, 3, 1, 1), 1 / 3, np.float32), "shape": np.array([1, -1, 1]), "none": np.float32(0),
        "threshold_32": np.float32(200), "threshold_16": np.float32(1e6), "threshold_8": np.float32(1e6),
    }  # fmt: skip
    nodes = [make.make_node("Conv", ["input", "mean"], ["grey"])]
    outputs = []
    for s in (8, 16, 32):
        nodes += [
            make.make_node("AveragePool", ["grey"], [f"cell_{s}"], kernel_shape=[s, s], strides=[s, s]),
            make.make_node("Sub", [f"cell_{s}", f"threshold_{s}"], [f"above_{s}"]),
            make.make_node("Sigmoid", [f"above_{s}"], [f"score_{s}"]),
            make.make_node("Reshape", [f"score_{s}", "shape"], [f"cls_{s}"]),
            make.make_node("Reshape", [f"score_{s}", "shape"], [f"obj_{s}"]),
            make.make_node("Mul", [f"cls_{s}", "none"], [f"zero_{s}"]),
            make.make_node("Concat", [f"zero_{s}"] * 4, [f"bbox_{s}"], axis=2),
            make.make_node("Concat", [f"zero_{s}"] * 10, [f"kps_{s}"], axis=2),
        ]
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs.append(make.make_tensor_value_info(f"{name}_{s}", number.FLOAT, [1, f"cells_{s}", width]))
    given = [make.make_tensor_value_info("input", number.FLOAT, [1, 3, "height", "width"])]
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = make.make_graph(nodes, "detector", given, outputs, constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return str(path)


def test_images_without_exactly_one_face_are_dropped_and_the_detector_is_recorded(prompts, tmp_path):
    def crowd(num, seed):
        pixels = paint(seed) // 2
        for face in range(num):
            pixels[:32, 32 * face : 32 * face + 32] = 255
        return pixels

    seeds = [record["seed"] for record in prompts.records]
    special = {seed: crowd(1, seed) for seed in seeds} | {seeds[3]: crowd(0, 1), seeds[8]: crowd(2, 2)}
    special |= {attempt_seed(prompts.records[row], 1): crowd(1, row) for row in (3, 8)}
    detector = build_detector(tmp_path / "yunet.onnx")
    packed = make(prompts, tmp_path / "set", painter(special), Gates(face_detector=detector, near_duplicates="keep"))
    report, dropped = report_of(tmp_path / "set")
    assert [(entry["id"], entry["reason"]) for entry in dropped] == [
        (prompts.records[3]["id"], "0 faces"),
        (prompts.records[8]["id"], "2 faces"),
    ]
    assert packed.num_samples == NUM
    assert report["not_looked_at"] == []
    assert report["made_with"]["gates"]["face_detector"] == f"yunet.onnx {sha256_file(detector)}"
