"""Bad images are left out, counted and listed; too many of them are an error that names ten."""

import io
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch import Callback
from PIL import Image
from small_runs import fit, newest
from toy_faces import Listed, ToyFaces, digests, encoded, pack_toy

from emonet_lightning import interruption, sample_ledger
from emonet_lightning.bad_samples import BadSample, SkipBudget
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, InterruptedRunError, UsageError
from emonet_lightning.packing import shards
from emonet_lightning.packing.images import inspect_image
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import PackedSet
from emonet_lightning.sample_ledger import SampleLedger
from emonet_lightning.saving import IntervalCheckpoint

PNG = encoded(1, "PNG")


class Bad(ToyFaces):
    """Toy faces of which some images are bad."""

    def __init__(self, count, bad):
        super().__init__(count)
        self.bad = bad

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample._replace(image=self.bad[index]) if index in self.bad else sample


def animation(kind):
    stream = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def picture(size, colour="red", kind="PNG"):
    stream = io.BytesIO()
    image = Image.new("RGB", size, colour)
    image.putpixel((0, 0), (9, 9, 9))
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("num_processes", [1, 2])
def test_bad_images_within_the_budget_are_left_out_and_listed(tmp_path, monkeypatch, num_processes):
    monkeypatch.setattr(shards, "MIN_IMAGES_PER_PROCESS", 1)
    source = Bad(60, {3: encoded(3)[:-300], 40: b"hello"})
    packed = pack_toy(tmp_path / "bad", source, max_bad_fraction=0.05, num_processes=num_processes)
    assert packed.num_samples == 58
    assert "face003" not in packed.keys
    assert packed.manifest["num_offered"] == 60
    assert packed.manifest["left_out"] == {"format": 1, "truncated": 1}
    lines = [json.loads(line) for line in (packed.path / "bad_samples.jsonl").read_text().splitlines()]
    assert [(line["sample"], line["reason"]) for line in lines] == [("face003", "truncated"), ("face040", "format")]
    assert packed.verify(progress=False).problems == []
    again = pack_toy(tmp_path / "again", source, max_bad_fraction=0.05)
    assert digests(again.path) == digests(packed.path)


@pytest.mark.parametrize("damage", [None, b"[1]\n"])
def test_a_finished_set_is_held_to_the_budget_that_is_asked_for_now(tmp_path, damage):
    source = Bad(20, {3: encoded(3)[:-300], 7: b"hello"})
    packed = pack_toy(tmp_path / "set", source, max_bad_fraction=0.1)
    before = digests(packed.path)
    assert pack_toy(tmp_path / "set", source, max_bad_fraction=0.2).num_samples == 18
    with pytest.raises(DataError) as fresh:
        pack_toy(tmp_path / "fresh", source, max_bad_fraction=0.05)
    if damage is not None:  # nothing vouches for the list: the count is that of the set
        (packed.path / "bad_samples.jsonl").write_bytes(damage)
        before = digests(packed.path)
    with pytest.raises(DataError, match=r"2 bad of 20 samples, max_bad_fraction 0\.05 allows 1") as caught:
        pack_toy(tmp_path / "set", source, max_bad_fraction=0.05)
    assert (str(caught.value) == str(fresh.value)) == (damage is None)
    assert "\n" not in str(caught.value)
    assert digests(packed.path) == before


def test_the_good_samples_of_a_set_do_not_change_when_a_bad_one_is_among_them(tmp_path):
    packed = pack_toy(tmp_path / "bad", Bad(32, {5: b""}), max_bad_fraction=0.05)
    whole = pack_toy(tmp_path / "whole", ToyFaces(32))
    assert "bad_samples.jsonl" not in digests(whole.path)
    assert packed.read_image(5) == whole.read_image(6)
    assert digests(packed.path)["shard-000001.tar"] == digests(whole.path)["shard-000001.tar"]


def test_too_many_bad_images_are_one_line_that_names_ten(tmp_path):
    source = Bad(60, {number: b"hello" for number in range(0, 60, 4)})
    with pytest.raises(DataError, match="not a readable JPEG") as caught:
        pack_toy(tmp_path, source, max_bad_fraction=0.05)
    said = str(caught.value)
    assert "of 60 samples, max_bad_fraction 0.05 allows 3" in said
    assert sum(f"'face{number:03d}'" in said for number in range(60)) == 10
    assert "\n" not in said
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("options", [{"sealed": True, "splits": None}, {"splits": {"test": 1.0}}])
def test_a_set_to_judge_by_may_lack_nothing_by_default(tmp_path, options):
    source = Bad(1001, {7: b""})
    assert pack_toy(tmp_path / "train", source, splits={"train": 1.0}, shard_size=1000).num_samples == 1000
    with pytest.raises(DataError, match="max_bad_fraction 0 allows 0"):
        pack_toy(tmp_path / "test", source, shard_size=1000, **options)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_budget_is_a_share(tmp_path, fraction):
    with pytest.raises(UsageError, match="must be a share from 0 to 1"):
        pack_toy(tmp_path, max_bad_fraction=fraction)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format"),
        (encoded(0, "GIF"), "format"),
        (encoded(0, "TIFF"), "format"),
        (encoded(0)[:-2], "truncated"),
        (encoded(0)[:-300], "truncated"),
        (PNG[:-14], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (encoded(0, "WEBP")[:-20], "damaged"),
        (animation("WEBP"), "animated"),
        (animation("PNG"), "animated"),
        (picture((1, 1)), "too small"),
        (picture((8, 2000)), "strip"),
        (picture((9000, 9000)), "too large"),
    ],
)
def test_each_bad_image_has_its_reason(tmp_path, image, reason):
    with pytest.raises(DataError) as caught:
        pack_toy(tmp_path, Listed(RawSample("good", encoded(1), {}), RawSample("bad", image, {})))
    assert "sample 'bad'" in str(caught.value)
    packed = pack_toy(
        tmp_path,
        Listed(RawSample("good", encoded(1), {}), RawSample("bad", image, {})),
        max_bad_fraction=0.5,
        splits={"train": 1.0},
    )
    assert packed.keys == ["good"]
    assert packed.manifest["left_out"] == {reason: 1}


def one_colour(form):
    """A picture that is stored as many values and seen as one colour."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    stream, options = io.BytesIO(), {}
    if form == "hidden colours":
        image = Image.merge("RGBA", [Image.fromarray(noise)] * 3 + [Image.new("L", (40, 40))])
    elif form == "white, half transparent":
        image = Image.merge("LA", [Image.new("L", (40, 40), 255), Image.fromarray(noise)])
    elif form == "palette":
        image = Image.fromarray(noise % 2, "P")
        image.putpalette((1, 2, 3) * 256)
    elif form == "transparent palette":
        image = Image.fromarray(noise, "P")
        image.putpalette(np.arange(256).repeat(3).tolist())
        options = {"transparency": bytes(256)}
    else:
        image = Image.fromarray(np.where(noise < 99, 257, 65535).astype(np.uint16))
        options = {"transparency": 257}
    image.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "form", ["hidden colours", "white, half transparent", "palette", "transparent palette", "16 bits, one transparent"]
)
def test_a_picture_that_is_seen_as_one_colour_is_blank(form):
    content = one_colour(form)
    assert np.ptp(decode_image(content, "x"), axis=(0, 1)).max() == 0
    with pytest.raises(BadSample, match="all pixels have one colour") as caught:
        inspect_image(content, "x", False)
    assert caught.value.reason == "blank"


def test_a_picture_of_one_colour_is_blank(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "black").save(stream, "JPEG")
    with pytest.raises(DataError, match="all pixels have one colour"):
        pack_toy(tmp_path, Listed(RawSample("a", stream.getvalue(), {})), splits={"train": 1.0})


def test_one_face_has_one_perceptual_hash_in_eight_and_sixteen_bits():
    grey, hashes = np.asarray(Image.open(io.BytesIO(PNG)).convert("L")), set()
    for pixels in (grey, grey.astype(np.uint16) * 257):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        hashes.add(inspect_image(stream.getvalue(), "x", True)[1])
    assert len(hashes) == 1


def test_a_jpeg_of_several_pictures_is_its_first_one(tmp_path):
    first, second = (Image.open(io.BytesIO(encoded(seed, "PNG"))) for seed in (1, 2))
    stream = io.BytesIO()
    first.save(stream, "MPO", save_all=True, append_images=[second])
    packed = pack_toy(tmp_path, Listed(RawSample("a", stream.getvalue(), {})), splits={"train": 1.0})
    assert packed.num_samples == 1


def test_a_budget_goes_on_until_ten_can_be_named():
    from emonet_lightning.bad_samples import Skip

    budget = SkipBudget("x", 1000, 0.002)
    for number in range(11):
        budget.add(Skip(f"s{number}", "", "format", f"s{number} is bad"))
    with pytest.raises(DataError, match=r"s0 is bad \(x: 12 bad of 1000 samples, max_bad_fraction 0.002 allows 2"):
        budget.add(Skip("s11", "", "format", ""))


@pytest.fixture
def unreadable(small_sets, monkeypatch):
    """A training row of the set whose image cannot be read."""
    row, read = int(PackedSet.open(small_sets["big"]).splits["train"][3]), PackedSet.read_image
    monkeypatch.setattr(PackedSet, "read_image", lambda self, at: b"hello" if at == row else read(self, at))
    return row


@pytest.mark.parametrize("sampling", ["rows", "balanced"])
def test_a_bad_image_is_skipped_as_often_as_it_is_drawn_and_listed_once(
    model, big, unreadable, tmp_path, capsys, sampling
):
    data = big(mode="images", sampling=sampling, max_bad_fraction=0.05, batch_size=80)
    fit(model(standardise=False), data, 1, [SampleLedger(tmp_path)])
    # balanced: each of 40 heads draws each of its rows once an epoch
    expected, skipped = (120, 1) if sampling == "rows" else (4800, 40)
    line = f"epoch 0: {expected} samples expected = {expected - skipped} used + {skipped} skipped (1 format)"
    assert line in capsys.readouterr().err
    (listed,) = (tmp_path / "bad_samples.jsonl").read_text().splitlines()
    assert json.loads(listed)["reason"] == "format"


class StopAt(Callback):
    """A signal comes in a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGUSR1)


def test_a_ledger_adds_up_after_a_stop_within_an_epoch_and_forgets_no_skipped_row(
    model, big, unreadable, tmp_path, capsys
):
    later = set()
    for stop in (0, 2):
        folder = tmp_path / str(stop)

        def start(*callbacks, folder=folder):
            data = big(mode="images", max_bad_fraction=0.05, batch_size=30)
            keep = [SampleLedger(folder), IntervalCheckpoint(folder / "checkpoints", 0)]
            path = newest(folder / "checkpoints")
            return fit(model(standardise=False), data, 1, [*keep, *callbacks], path, limit_val_batches=0)

        with interruption.installed(), pytest.raises(InterruptedRunError, match="in training"):
            start(StopAt(stop))
        with interruption.installed():  # not asked any more
            (ledger,) = (callback for callback in start().callbacks if isinstance(callback, SampleLedger))
        assert "epoch 0: 120 samples expected = 119 used + 1 skipped (1 format)" in capsys.readouterr().err
        later.add(ledger._unused)
        assert list(ledger.skipped.values()) == ["format"], "it counts against the budget of the run"
        assert len((folder / "bad_samples.jsonl").read_text().splitlines()) == 1
    assert later == {0, 1}, "the row is drawn before the one stop and after the other"


@pytest.mark.parametrize("shared", [False, True])
def test_a_checkpoint_holds_what_all_processes_have_skipped(monkeypatch, shared):
    ledgers = [SampleLedger(), SampleLedger()]
    for row, ledger in enumerate(ledgers):
        ledger._now = {row if shared else 7: "format"}
        ledger._first, ledger._steps, ledger._plan, ledger._used, ledger._unused = 1, 2, [5, 5, 5, 5], 9, 1
    pages = [(10, 9, 1, list(ledger._now.items())) for ledger in ledgers]
    monkeypatch.setattr(sample_ledger, "_of_all", lambda own, asked: pages if asked else [own])
    for ledger in ledgers:
        data, content = SimpleNamespace(share=(0, 2 if shared else 1)), {}
        ledger.on_save_checkpoint(SimpleNamespace(datamodule=data), None, content)
        again = SampleLedger()
        again.on_load_checkpoint(None, None, content)
        assert again.skipped == ({0: "format", 1: "format"} if shared else {7: "format"})
        monkeypatch.setattr(sample_ledger, "_of_all", lambda own, asked: [own] * (2 if asked else 1))
        assert again._page(data)[0] == ((20, 18, 2) if shared else (10, 9, 1)), "once, and not for each process"
        monkeypatch.setattr(sample_ledger, "_of_all", lambda own, asked: pages if asked else [own])


@pytest.mark.parametrize("steps", [1, 4])
def test_rows_of_steps_that_were_not_taken_are_not_used(model, big, capsys, steps):
    fit(model(steps_per_call=steps), big(batch_size=24), 3, [SampleLedger()], max_steps=7)
    said = capsys.readouterr().err
    assert "epoch 0: 120 samples expected = 120 used + 0 skipped" in said
    assert "epoch 1: 48 samples expected = 48 used + 0 skipped" in said


@pytest.mark.parametrize(
    "damage",
    [b"not JSON", b'{"sample": "a"}', b"[" * 9999, b"\xff", b"7", b'{"sample":1,"file":"","reason":"","error":""}'],
)
def test_a_damaged_list_of_an_earlier_start_is_said_and_the_rest_of_it_kept(
    model, big, unreadable, tmp_path, capsys, damage
):
    path = tmp_path / "bad_samples.jsonl"
    whole = {"sample": "face9", "file": "x.tar", "reason": "empty", "error": "face9 is empty"}
    path.write_bytes(json.dumps(whole).encode() + b"\n" + damage + b"\n")
    data = big(mode="images", max_bad_fraction=0.05, batch_size=120)
    fit(model(standardise=False), data, 1, [SampleLedger(tmp_path)])
    assert f"{path}: 1 lines of an earlier start cannot be read" in capsys.readouterr().err
    assert sorted(json.loads(line)["reason"] for line in path.read_text().splitlines()) == ["empty", "format"]
