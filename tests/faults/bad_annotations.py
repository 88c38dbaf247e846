"""Bad annotations: rows 45 to 78."""

import json
import os
import re
import time
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
from bad_inputs import Place, Told, refused, row, run, taken
from small_inputs import face_folder, write

from emonet_lightning.packing.packed import PackedSet

RATED = "image,rater,emotion,rating\na.jpg,r1,Awe,3\nb.jpg,r1,Awe,5\na.jpg,r2,Awe,4\nb.jpg,r2,Awe,6\n"


def packed(place: Place, text: str | bytes, *words: str, names: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Told:
    """Pack a folder of images with a label file of this text."""
    folder = face_folder(place.folder / "faces", *names)
    labels = place.folder / "labels.csv"
    labels.write_bytes(text.encode() if isinstance(text, str) else text)
    return run(["pack", folder, f"--labels={labels}", f"--out={place.out}", "--progress=false", *words])


def bad(number: int, title: str, text: str | bytes, says: str, *words: str, kind: str = "data") -> None:
    """Enter a label file that has to be refused."""

    @row(number, title)
    def _(place: Place) -> str | None:
        return refused(packed(place, text, *words), kind, says, place.out)


def good(number: int, title: str, text: str | bytes, says: str = "", *words: str) -> None:
    """Enter a label file that has to be read."""

    @row(number, title)
    def _(place: Place) -> str | None:
        return taken(packed(place, text, *words), says)


def value(cell: str) -> str:
    return RATED.replace("b.jpg,r1,Awe,5", f"b.jpg,r1,Awe,{cell}")


bad(45, "rating -1", value("-1"), r"sample 'b', rater 'r1', emotion 'awe': value -1.0 is not 0 to 7")
bad(46, "rating 8", value("8"), r"sample 'b', rater 'r1', emotion 'awe': value 8.0 is not 0 to 7")
bad(47, "rating just above 7", value("7.00001"), r"sample 'b', rater 'r1', emotion 'awe': value 7.0000\d* is not")
for cell in ("inf", "-inf", "Infinity"):
    bad(48, f"rating {cell}", value(cell), r"labels\.csv, line 3: '-?[Ii]nf\w*' is not a number")
bad(49, "rating nan", value("nan"), r"line 3: 'nan' is not a number")
bad(50, "decimal comma", value('"3,5"'), r"line 3: '3,5' is not a number")
bad(51, "Arabic-Indic digit", value("٣"), r"line 3: '٣' is not a number")
bad(52, "yes among numbers", value("yes"), r"line 3: 'yes'")
bad(52, "True among numbers", value("True"), r"mixes True and False with numbers")
bad(
    55,
    "unknown emotion",
    RATED.replace("Awe,5", "Aww,5"),
    r"line 3: unknown emotion 'Aww' in taxonomy 'emonet40'; did you mean 'Awe'",
)
bad(
    57,
    "emotion of another script",
    RATED.replace("Awe,5", "Аwe,5"),
    r"line 3: unknown emotion 'Аwe' in taxonomy 'emonet40'; did you mean 'Awe'",
)
good(57, "case and spaces", RATED.replace("Awe", "awe"))
bad(58, "an emotion misspelt in a header, so that one is missing", "image,Awe,Angr\na.jpg,1,2\nb.jpg,1,2\n",
    r"unknown emotion 'Angr' .*did you mean 'Anger'")  # fmt: skip
good(59, "extra dimension that was not asked for", "image,Awe,Arousal\na.jpg,1,2\nb.jpg,1,2\n", r"left out: Arousal")
good(60, "the same answer twice", RATED + "b.jpg,r2,Awe,6\n")
bad(61, "another answer of the same rater", RATED + "b.jpg,r2,Awe,2\n",
    r"line 6: image 'b.jpg' has another answer of 'r2' on 'awe' in line 5; keep one")  # fmt: skip
bad(65, "id with a space", RATED.replace("b.jpg,r1", " b.jpg,r1"), r"line 3: image ' b\.jpg' is empty or has spaces")
bad(65, "no id", RATED.replace("b.jpg,r1", ",r1"), r"line 3: image '' is empty")
bad(67, "path out of the folder", RATED.replace("b.jpg", "../../etc/b.jpg"), r"\.\./\.\./etc/b\.jpg")
bad(72, "quote that does not end", RATED.replace("b.jpg,r1", '"b.jpg,r1'), r"labels\.csv, line \d+: not a readable CSV")
good(72, "BOM, CRLF and semicolons", b"\xef\xbb\xbf" + RATED.replace(",", ";").replace("\n", "\r\n").encode())
good(72, "tabs", RATED.replace(",", "\t"))
bad(72, "UTF-16", RATED.encode("utf-16"), r"labels\.csv: not UTF-8 text")
bad(72, "NUL", RATED.replace("r2", "r\x002"), r"labels\.csv")
bad(73, "column missing", RATED.replace("image,", "face,"), r"no column for 'image'; columns found: face")
bad(73, "column twice", "image,Awe,Awe\na.jpg,1,1\nb.jpg,1,1\n", r"column 'Awe' is there twice")
bad(73, "column named that is not there", RATED, r"no column 'foto' .*did you mean|no column 'foto'",
    "--columns=image=foto")  # fmt: skip
bad(74, "last line cut", RATED[:-6], r"line 5: 3 cells, the header has 4.*may be truncated")
bad(76, "code in a dict", 'image,annotations\na.jpg,"{\'Awe\': __import__(\'os\').getpid()}"\nb.jpg,"{\'Awe\': 1}"\n',
    r"line 2.*neither JSON nor a Python literal")  # fmt: skip
bad(
    76, "dict nested 5,000 deep", 'image,annotations\na.jpg,"' + "[" * 5000 + '"\nb.jpg,"{}"\n', r"line 2.*neither JSON"
)
bad(77, "no rows", "image,rater,emotion,rating\n", r"labels\.csv: a header but no rows")
bad(77, "empty file", "", r"labels\.csv: empty")
bad(44, "image without label", RATED.replace("b.jpg", "a.jpg").replace("5", "3").replace("6", "4"),
    r"image without label: 'b\.jpg'")  # fmt: skip
bad(44, "label without image", RATED + "c.jpg,r1,Awe,1\n", r"label without image: 'c\.jpg'")


@row(49, "empty cell is unrated, not zero")
def _(place: Place) -> str | None:
    wrong = taken(packed(place, "image,Awe,Anger\na.jpg,1,\nb.jpg,2,3\n"))
    if wrong:
        return wrong
    ratings = PackedSet.open(place.out).ratings()
    return None if len(ratings.value) == 3 else f"{len(ratings.value)} answers instead of 3"


@row(53, "rating between two levels of an integer scale")
def _(place: Place) -> str | None:
    return taken(packed(place, value("3.5")))  # the released scale is 0..7 with averages allowed; kept as it is


@row(54, "shares in a column of 0 to 7")
def _(place: Place) -> str | None:
    text = "image,rater,emotion,rating\n" + "".join(
        f"{name},r{rater},Awe,{0.1 * rater:.1f}\n" for name in ("a.jpg", "b.jpg") for rater in range(1, 4)
    )
    return taken(packed(place, text), r"no rating is above 1, but the scale goes to 7")


@row(56, "Hopelessness is Helplessness by the alias that the file needs")
def _(place: Place) -> str | None:
    wrong = taken(packed(place, RATED.replace("Awe", "Hopelessness")))
    if wrong:
        return wrong
    ratings = PackedSet.open(place.out).ratings()
    slugs = {ratings.slugs[i] for i in ratings.slug_index}
    return None if slugs == {"helplessness"} else f"slugs {slugs}"


@row(62, "raters called NA, None and null")
def _(place: Place) -> str | None:
    text = RATED.replace("r1", "NA").replace("r2", "null") + "a.jpg,None,Awe,1\n"
    wrong = taken(packed(place, text))
    if wrong:
        return wrong
    raters = set(PackedSet.open(place.out).ratings().raters)
    return None if raters == {"NA", "null", "None"} else f"raters {raters}"


def judged(place: Place, text: str) -> Told:
    path = write(place.folder / "ratings.csv", text)
    return run(["evaluate", "agreement", f"--ratings={path}", f"--out={place.out}", "--num_draws=20",
                "--untouched=zero", "--progress=false"])  # fmt: skip


HQ = "image,annotator,human,annotations\n" + "".join(
    f"{image}.jpg,h{rater},True,\"{{'Awe': {(image * rater) % 8}, 'Anger': {(image + rater) % 8}}}\"\n"
    for image in range(8)
    for rater in range(3)
)


@row(63, "a cell of `human` that is neither True nor False", quick=False)
def _(place: Place) -> str | None:
    return refused(judged(place, HQ.replace("3.jpg,h1,True", "3.jpg,h1,perhaps")), "data",
                   r"column 'human' is 'perhaps'|human.*perhaps", place.out)  # fmt: skip


@row(63, "model rows are no raters", quick=False)
def _(place: Place) -> str | None:
    model = "".join(f"{image}.jpg,Hume Face,False,\"{{'Awe': 1.0, 'Anger': 1.0}}\"\n" for image in range(8))
    wrong = taken(judged(place, HQ + model))
    if wrong:
        return wrong
    found = json.loads((place.out / "agreement.json").read_text())
    return None if found["ratings"]["num_raters"] == 3 else f"raters: {found['ratings']['num_raters']}"


@row(64, "zero-padded ids stay as they are")
def _(place: Place) -> str | None:
    wrong = taken(packed(place, RATED.replace("a.jpg", "00012").replace("b.jpg", "00007"),
                         names=("00012.jpg", "00007.jpg")))  # fmt: skip
    if wrong:
        return wrong
    keys = set(PackedSet.open(place.out).keys)
    return None if keys == {"00012", "00007"} else f"keys {keys}"


@row(65, "ids 1e5 and 0x10 stay text")
def _(place: Place) -> str | None:
    wrong = taken(packed(place, RATED.replace("a.jpg", "1e5").replace("b.jpg", "0x10"), names=("1e5.jpg", "0x10.jpg")))
    if wrong:
        return wrong
    keys = set(PackedSet.open(place.out).keys)
    return None if keys == {"1e5", "0x10"} else f"keys {keys}"


@row(66, "names in other scripts")
def _(place: Place) -> str | None:
    return taken(packed(place, RATED.replace("a.jpg", "ä 顔.jpg").replace("b.jpg", "وجه🙂.jpg"),
                        names=("ä 顔.jpg", "وجه🙂.jpg")))  # fmt: skip


def classed(place: Place, text: str, *words: str) -> Told:
    return packed(place, text, *words, names=tuple(f"{number}.jpg" for number in range(6)))


CLASSED = "image,label,part\n" + "".join(
    f"{n}.jpg,{'Awe' if n % 2 else 'Anger'},{'train' if n < 4 else 'val'}\n" for n in range(6)
)


@row(68, "one image in two splits")
def _(place: Place) -> str | None:
    return refused(classed(place, CLASSED + "1.jpg,Awe,val\n", "--columns=split=part"), "data", r"1\.jpg", place.out)


@row(69, "some images in no split")
def _(place: Place) -> str | None:
    told = classed(place, CLASSED.replace("5.jpg,Awe,val", "5.jpg,Awe,"), "--columns=split=part")
    return taken(told)  # dealt by the shares of --splits


@row(70, "empty split")
def _(place: Place) -> str | None:
    told = classed(place, CLASSED, "--splits=train=0.999,val=0.001")
    return refused(told, "data", r"split 'val' stays empty")


@row(71, "a head without positives is undefined, not zero", quick=False)
def _(place: Place) -> str | None:
    text = HQ.replace("'Awe'", "'Anger0'").replace("'Anger'", "'Awe'").replace("'Anger0'", "'Anger'")
    wrong = taken(judged(place, re.sub(r"'Anger': \d", "'Anger': 0", text)))
    if wrong:
        return wrong
    found = json.loads((place.out / "agreement.json").read_text())
    zeros = json.dumps(found["humans"])
    return None if "null" in zeros else "no figure is undefined"


@row(75, "Parquet cut short")
def _(place: Place) -> str | None:
    path = place.folder / "x.parquet"
    parquet.write_table(arrow.table({"image": ["a", "b"], "Awe": [1.0, 2.0]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    told = run(["pack", path, f"--out={place.out}", "--progress=false"])
    return refused(told, "data", r"x\.parquet", place.out)


@row(75, "Parquet without images")
def _(place: Place) -> str | None:
    path = place.folder / "x.parquet"
    parquet.write_table(arrow.table({"Awe": [[1.0], [2.0]]}), path)
    return refused(run(["pack", path, f"--out={place.out}", "--progress=false"]), "data", r"x\.parquet", place.out)


@row(78, "labels newer than the features: only they are read again", quick=False)
def _(place: Place) -> str | None:
    cache = f"--data.cache_dir={place.folder / 'cache'}"
    wrong = taken(run(place.fit(cache)), "encode ")
    if wrong:
        return wrong
    for path in Path(place.sets["big"]).iterdir():
        os.utime(path, (time.time(), time.time()))
    told = run([*place.fit(cache)[:-1], cache, f"--out={place.folder / 'again'}"])
    return f"encoded again: {told.stderr[:300]}" if "encode " in told.stderr else taken(told)
