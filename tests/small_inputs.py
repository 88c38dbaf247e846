"""Small input files for the tests of readers."""

import json
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
from toy_faces import encoded

from emonet_lightning.packing.shards import Source

IMAGE = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])


def write_parquet(path: Path, columns: dict, class_names: dict | None = None, row_group_size: int = 4) -> Path:
    arrays = {
        name: arrow.array(values, IMAGE) if values and isinstance(values[0], dict) and "bytes" in values[0] else values
        for name, values in columns.items()
    }
    table = arrow.table(arrays)
    features = {name: {"names": names, "_type": "ClassLabel"} for name, names in (class_names or {}).items()}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=row_group_size)
    return path


def images(count: int, named: bool = True) -> list[dict]:
    return [{"bytes": encoded(row), "path": f"{row:05d}.jpg" if named else None} for row in range(count)]


def binary_parquet(path: Path, count: int = 10) -> Path:
    """The layout of the released BINARY set."""
    label = [{"human-1": {"Hopelessness": True}}, {"human-4": {"Hopelessness": True, "Affection": False}}]
    return write_parquet(
        path,
        {
            "path": images(count),
            "prompt": ["close-up photo"] * count,
            "age": [0, 1] * (count // 2),
            "gender": [0] * count,
            "emotion": [1] * count,
            "subset": [0] * count,
            "label": [repr(label)] * count,
        },
        {"age": ["20", "30"], "gender": ["man"], "emotion": ["Affection", "Hopelessness"], "subset": ["binary"]},
    )


def face_folder(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(number))
    return folder


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def by_key(source: Source) -> dict:
    return {sample.key: sample.ratings for sample in (source[row] for row in range(len(source)))}
