"""The newest checkpoint is damaged or another run's: the one before is taken, the bad one is set aside and named."""

import random
import shutil

import forking
import moments
import pytest
import runs
from campaign import run_campaign

from emonet_lightning.checkpoints import FOLDER, DamagedCheckpoint, load_verified, named_checkpoints
from emonet_lightning.io import sha256_bytes

DAMAGES = ("flipped", "truncated", "emptied", "foreign")


@pytest.fixture(scope="module")
def stopped(scenes, whole, place):
    """Folder of a run that was stopped with two checkpoints, to be copied; and one of another run, of other seed."""
    scene = scenes["cached"]
    whole("cached")
    folders = []
    for name, more in (("stopped", []), ("foreign", ["--seed_everything=7"])):
        out = place / name
        environment = {**scene.environment, **moments.at("training_step", 60, "SIGTERM", place / "note")}
        code, said = forking.run([*scene.command(out), *more], 120, env=environment, target=moments.signalled)
        assert code == 75, said
        assert len(named_checkpoints(out / FOLDER)) == 2
        folders.append(out)
    return folders


def damage(how, newest, foreign, drawn):
    """Damage a checkpoint, or put another run's in front of it; returns its name."""
    content = bytearray(newest.path.read_bytes())
    if how == "flipped":
        bit = drawn.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    elif how == "truncated":
        del content[drawn.randrange(1, len(content)) :]
    elif how == "emptied":
        content.clear()
    else:
        other = named_checkpoints(foreign / FOLDER)[0]
        place = newest.path.with_name(other.path.name.replace(f"{other.step:09d}", f"{newest.step + 1:09d}", 1))
        if drawn.random() < 0.5:  # under the step that its content says
            place = newest.path.with_name(other.path.name)
            newest.path.unlink()
        shutil.copy(other.path, place)
        return place.name
    newest.path.write_bytes(content)
    return newest.path.name


def test_a_damaged_newest_checkpoint_is_set_aside_for_the_one_before(stopped, scenes, whole, place, full):
    def run(trial):
        how, _ = trial.split(" ")
        out, drawn = place / "damaged", random.Random(trial)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(stopped[0], out)
        before = named_checkpoints(out / FOLDER)
        name = damage(how, before[0], stopped[1], drawn)
        code, said = runs.finish(scenes["cached"], out)
        aside = [path.name for path in (out / FOLDER / "set_aside").glob("*")]
        named = name in said and "set_aside" in said
        resumed = next((line for line in said.splitlines() if "going on from" in line), "")
        expected = before[0] if how == "foreign" and before[0].path.name in resumed else before[1]
        wrong = runs.differences(out, whole("cached"))
        ok = code == 0 and aside == [name] and named and expected.path.name in resumed and not wrong
        return {"ok": ok, "code": code, "aside": aside, "resumed": resumed[-120:], "differs": wrong}

    trials = [f"{how} {number}" for number in range(50 if full else 1) for how in DAMAGES]
    tally = run_campaign("damaged_checkpoints", trials, run, full=full)
    assert tally.failed == []


def test_no_flipped_bit_of_a_checkpoint_is_accepted(stopped, place, full):
    newest = named_checkpoints(stopped[0] / FOLDER)[0]
    content = newest.path.read_bytes()
    assert sha256_bytes(content) == newest.sha256
    load_verified(newest.path)
    flipped = place / "flips" / newest.path.name
    flipped.parent.mkdir(exist_ok=True)

    def run(trial):
        bit = random.Random(trial).randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(damaged)
        try:
            load_verified(flipped)
        except DamagedCheckpoint as error:
            return {"ok": flipped.name in str(error), "bit": bit}
        return {"ok": False, "bit": bit, "accepted": True}

    tally = run_campaign("flips_checkpoint", [f"bit {n}" for n in range(500 if full else 25)], run, full=full)
    assert tally.failed == []
