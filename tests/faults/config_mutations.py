"""Mutations of configurations, each known to leave a valid one or to make an invalid one."""

import contextlib
import copy
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

NAN, INF = float("nan"), float("inf")
NO_NUMBER = ("fast", [1], {"a": 1})
SHARE = (0.0, 0.25, 1.0), (-0.1, 1.5, NAN, INF, None, *NO_NUMBER)
OPEN_SHARE = (0.1, 0.5, 1.0), (0.0, -1, 1.01, NAN, None, *NO_NUMBER)
BOOL = (True, False), ("perhaps", 3, None, [True], {"a": True})
POSITIVE = (0.001, 1, 3.5), (0, -1, NAN, INF, -INF, None, *NO_NUMBER)
COUNT = (0, 1, 7), (-1, 1.5, NAN, INF, None, *NO_NUMBER)
AT_LEAST_ONE = (1, 8, 64), (0, -1, 2.5, NAN, INF, None, *NO_NUMBER)
SEED = (0, 7, 2**32 - 1), (-1, 2**32, 2**70, 1.5, "x", [1], {"a": 1})
VALUES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "seed_everything": SEED,
    "num_draws": AT_LEAST_ONE,
    "checkpoint_every": ((0, 1.5, 100), (-1, NAN, INF, None, *NO_NUMBER)),
    "max_stuck_restarts": COUNT,
    "best_heads.patience": COUNT,
    "model.extra_dimensions": ((False,), BOOL[1]),
    "model.l2_normalise": ((), BOOL[1]),
    "model.standardise": ((False,), BOOL[1]),
    "model.zero_init": BOOL,
    "model.loss": (("mse", "mae", "huber"), ("msee", "L2", 3, None, ["mse"], {"a": 1}, "")),
    "model.imbalance": (("none", "balanced"), ("balance", 1, None, [])),
    "model.heads_dtype": (("float32", "bfloat16"), ("float16x", 32, None)),
    "model.parallel": (("auto", "ddp", "replicated"), ("dp", 1, None)),
    "model.huber_delta": POSITIVE,
    "model.lr": ((1e-5, 0.01, "1e-4", 1), (0, -1e-3, 1e9, NAN, INF, None, "1e-3x", [0.1], {"a": 1}, "null ")),
    "model.weight_decay": ((0, 0.01, 1), (-0.01, NAN, INF, None, *NO_NUMBER)),
    "model.adam_eps": ((1e-8, 1.0), (0, -1, NAN, None, *NO_NUMBER)),
    "model.dropout": ((0, 0.5, 0.99), (1, 1.5, -0.1, NAN, INF, None, "some", {"a": 1}, ["a"], [0.1, 2])),
    "model.warmup_share": SHARE,
    "model.final_lr_share": SHARE,
    "model.clip_norm": ((0, 0.5, 10), (-1, NAN, INF, None, *NO_NUMBER)),
    "model.max_positive_weight": ((1, 5, 100.5), (0, -1, NAN, INF, None, *NO_NUMBER)),
    "model.steps_per_call": ((1, 4), (0, -3, 1.5, NAN, None, *NO_NUMBER)),
    "model.taxonomy": ((), ("emonet41", "http://127.0.0.1:1/t.yaml", 3, None, ["emonet40"], "/no/such.yaml")),
    "model.encoder.dtype": (("float32", "bfloat16"), ("float31", 32, None, ["float32"])),
    "model.encoder.size": ((), (0, -8, 1.5, NAN, "big", [8])),
    "model.encoder.crop_pct": ((0.9,), (0, -1, 1.5, NAN, "x")),
    "model.encoder.interpolation": (("bilinear", "bicubic"), ("nearest!", 3, ["bicubic"])),
    "model.encoder.mean": (([0.5, 0.5, 0.5],), ([0.5, NAN, 0.5], "x", [-1, 0, 0], 0.5)),
    "model.encoder.std": (([0.5, 0.5, 0.5],), ([0.5, 0, 0.5], [0.5, -1, 0.5], "x", 0.5)),
    "model.encoder.name": ((), ("timm/no_such_model", "embeded", 3, None, "http://127.0.0.1:1/e.safetensors")),
    "model.encoder.sha256": ((), ("0" * 64, 3, "xyz")),
    "model.init_heads_from": ((), ("/no/such/run", "s3://bucket/run", 3, ["a"])),
    "ckpt_path": ((), ("/no/such.ckpt", "http://127.0.0.1:1/a.ckpt", 3, ["a"])),
    "export": (([], ["released"]), ("released", ["onnxx"], [3], {"a": 1}, None)),
    "trainer.max_epochs": ((1, 20), (0, -1, -2, 1.5, NAN, INF, "ten", [1], {"a": 1})),
    "trainer.devices": ((1, "auto"), (0, -2, 1.5, NAN, "some", {"a": 1}, None)),
    "trainer.num_nodes": ((1,), (0, -1, 1.5, "x", None)),
    "trainer.accelerator": (("cpu", "auto"), ("cpuu", 3, None, ["cpu"])),
    "trainer.precision": (("32-true",), ("16-mixed", "31", [32], "x")),
    "trainer.strategy": (("auto",), ("ddpp", 3, None, ["auto"])),
    "trainer.limit_train_batches": ((2,), (-1, "x", [1], NAN)),
    "trainer.log_every_n_steps": ((50,), (-1, "x", [1], 1.5)),
    "trainer.check_val_every_n_epoch": ((1, 2), (0, -1, "x", 1.5)),
    "trainer.gradient_clip_val": ((), (1.0, "x", -1)),
    "trainer.accumulate_grad_batches": ((1,), (2, 0, -1, "x", None)),
    "trainer.enable_progress_bar": ((True, False), (3, "perhaps", [True])),
    "trainer.max_time": (("00:01:00:00",), ("soon", [1])),
    "data.init_args.batch_size": ((1, 32, 1024), (0, -1, 2.5, NAN, INF, None, *NO_NUMBER)),
    "data.init_args.num_workers": ((0, 2), (-1, 1.5, NAN, None, *NO_NUMBER)),
    "data.init_args.num_threads": ((1, 4, None), (0, -1, 1.5, *NO_NUMBER)),
    "data.init_args.views": ((1,), (0, -1, 3, 1.5, None, *NO_NUMBER)),
    "data.init_args.mode": ((), ("cache", 3, None, ["cached"])),
    "data.init_args.sampling": (("rows",), ("row", 3, None)),
    "data.init_args.features_on": (("auto", "memory"), ("gpu", 3, None)),
    "data.init_args.train_share": OPEN_SHARE,
    "data.init_args.num_folds": ((0,), (-1, 1.5, None, *NO_NUMBER)),
    "data.init_args.fold_seed": ((0, 3), (-1, 1.5, None, 2**40, *NO_NUMBER)),
    "data.init_args.val_share": ((), (1.0, -0.5, NAN, None, *NO_NUMBER)),
    "data.init_args.path": ((), ("/no/such/set", "http://127.0.0.1:1/set", "pipe:cat x", 3, None, ["a"], "embedded:x")),
    "data.init_args.train_split": ((), ("no_such", 3, None, [])),
    "data.init_args.cache_dir": ((None,), ("https://127.0.0.1:1/c", 3, ["a"])),
}
"""Options with values that fit, whatever the others are, and values that no run can have."""
CLASSES = (
    "os.system", "builtins.eval", "pickle.loads", "torch.hub.load", "torch.load", "subprocess.Popen",
    "evil_module.Heads", "emonet_lightning.cli.main", "shutil.rmtree", "importlib.import_module", "webbrowser.open",
    "NoSuchClass", "", 3, "a b",
)  # fmt: skip
PLACES = ("trainer.callbacks", "trainer.logger", "trainer.profiler", "trainer.strategy", "data", "test_data")
TEXT: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "key twice": lambda drawn, text: text + b"\nseed_everything: 1\nseed_everything: 2\n",
    "section twice": lambda drawn, text: text + b"\nmodel: {}\nmodel: {}\n",
    "nested key twice": lambda drawn, text: text + b"\nbest_heads:\n  patience: 1\n  patience: 2\n",
    "tab": lambda drawn, text: text + b"\nbest_heads:\n\tpatience: 1\n",
    "NUL": lambda drawn, text: _inserted(drawn, text, b"\0"),
    "control character": lambda drawn, text: _inserted(drawn, text, bytes([drawn.choice([1, 7, 8, 27, 127])])),
    "not UTF-8": lambda drawn, text: _inserted(drawn, text, drawn.choice([b"\xff", b"\xc3(", b"\xe9 "])),
    "byte order mark": lambda drawn, text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda drawn, text: text.decode().encode("utf-16"),
    "python tag": lambda drawn, text: text + b"\nneutral: !!python/object/apply:os.system ['touch CANARY']\n",
    "python name": lambda drawn, text: text + b"\nneutral: !!python/name:os.system\n",
    "own tag": lambda drawn, text: text + b"\nneutral: !run x\n",
    "alias bomb": lambda drawn, text: text + _bomb(drawn.randint(6, 12)),
    "depth": lambda drawn, text: text + b"\nneutral: " + b"[" * drawn.choice([100, 5000]) + b"\n",
    "size": lambda drawn, text: text + b"#" + b"x" * 2_000_000,
    "second document": lambda drawn, text: text + b"\n---\nmodel: {}\n",
    "unclosed": lambda drawn, text: (
        text + drawn.choice([b"\nneutral: [a\n", b"\nneutral: 'a\n", b"\nneutral: {a: 1\n"])
    ),
    "alias to nothing": lambda drawn, text: text + b"\nneutral: *nothing\n",
    "empty": lambda drawn, text: drawn.choice([b"", b"# nothing\n", b"null\n", b"[]\n", b"text\n", b"3\n"]),
}
"""Changes of the text, each of which makes it invalid."""


class Mutant(NamedTuple):
    """A changed configuration.

    Args:
        text: of the file.
        valid: whether it has to be taken.
        what: was done to it.
    """

    text: bytes
    valid: bool
    what: str


def mutate(original: str, drawn: random.Random) -> Mutant:
    """Return a mutant of a configuration's text; two thirds of them are invalid."""
    content = _nested(yaml.safe_load(original))
    for stage in content.get("stages", ()):
        stage["overrides"] = _nested(stage["overrides"])
    done = []
    for _ in range(drawn.randint(0, 2)):
        done.append(_set(content, drawn, good=True))
    if drawn.random() < 1 / 3:
        return Mutant(_written(content, drawn), True, "; ".join(done) or "as it is")
    kinds = {"value": 12, "typo": 4, "class": 3, "text": 5, "reference": 2, "section": 2, "stages": 2, "lacking": 1}
    kind = drawn.choices(list(kinds), list(kinds.values()))[0]
    if kind == "text":
        name = drawn.choice(list(TEXT))
        return Mutant(TEXT[name](drawn, _written(content, drawn, plain=True)), False, name)
    made = {"value": lambda c, d: _set(c, d, good=False), "typo": _typo, "class": _class, "reference": _reference,
            "section": _section, "stages": _stages, "lacking": _lacking}[kind]  # fmt: skip
    done.append(made(content, drawn))
    return Mutant(_written(content, drawn), False, "; ".join(done))


def _nested(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        place = found
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = {**place[last], **value} if isinstance(place.get(last), dict) else value
    return found


def _target(content: dict[str, Any], drawn: random.Random) -> tuple[dict[str, Any], str]:
    """Where a value is the one that counts: a stage's overrides, or the whole file."""
    if "stages" in content:
        stage = drawn.choice(content["stages"])
        return stage["overrides"], f"stage {stage['name']}: "
    return content, ""


def _put(place: dict[str, Any], option: str, value: Any) -> None:
    *parents, last = option.split(".")
    for parent in parents:
        if not isinstance(place.get(parent), dict):
            place[parent] = {}
        place = place[parent]
    place[last] = value


def _set(content: dict[str, Any], drawn: random.Random, good: bool) -> str:
    place, where = _target(content, drawn)
    options = [key for key, values in VALUES.items() if values[0 if good else 1]]
    alone = "model" not in content  # a file that is laid over a run's own
    unread = "data.init_args.train_split"  # by a test
    options = [key for key in options if not alone or (key.startswith("data.") and key != unread)]
    options = [key for key in options if key.partition(".")[0] != "data" or "data" in place]
    option = drawn.choice(options)
    value = drawn.choice(VALUES[option][0 if good else 1])
    if good and option.startswith("model.encoder."):  # one in all stages
        place, where = content, ""
    _put(place, option, copy.deepcopy(value))
    return f"{where}{option} = {value!r}"


def _typo(content: dict[str, Any], drawn: random.Random) -> str:
    place, where = _target(content, drawn)
    paths = [option.split(".") for option in VALUES if option.startswith("data." if "model" not in content else "")]
    *parents, last = drawn.choice([path for path in paths if path[0] != "data" or "data" in place])
    at = drawn.randrange(len(last))
    wrong = drawn.choice(
        [last[:at] + last[at + 1 :], last[:at] + last[at] + last[at:], last[:at] + "q" + last[at + 1 :]]
    )
    wrong = wrong if wrong != last and len(wrong) > 1 else f"{last}x"
    _put(place, ".".join([*parents, wrong]), 1)
    return f"{where}{'.'.join([*parents, wrong])}"


def _class(content: dict[str, Any], drawn: random.Random) -> str:
    place, where = _target(content, drawn)
    option = drawn.choice(PLACES if "model" in content else ("data",))
    name = drawn.choice(CLASSES)
    value = {"class_path": name, "init_args": {"command": "touch CANARY"}}
    place_of = place.setdefault("trainer", {}) if option.startswith("trainer.") else place
    place_of[option.removeprefix("trainer.")] = [value] if option.endswith("callbacks") else value
    return f"{where}{option}: {name!r}"


def _reference(content: dict[str, Any], drawn: random.Random) -> str:
    place, where = _target(content, drawn)
    unknown = ("${nothing}", "${oc.env:EMONET_NO_SUCH_VARIABLE}", "${run:x}", "${model.nothing}", "${", "${oc.env:}")
    value = drawn.choice(unknown)
    option = drawn.choice(["model.lr", "model.taxonomy", "neutral"] if "model" in content else ["data.init_args.path"])
    _put(place, option, value)
    return f"{where}{option} = {value}"


def _section(content: dict[str, Any], drawn: random.Random) -> str:
    place, where = _target(content, drawn)
    section = drawn.choice(["model", "trainer", "best_heads"] if "model" in content else ["data"])
    place[section] = (
        drawn.choice([None, 3, "text", [1]]) if section != "data" else drawn.choice([3, [1], "NoSuchClass"])
    )
    return f"{where}{section} = {place[section]!r}"


def _stages(content: dict[str, Any], drawn: random.Random) -> str:
    overrides: dict[str, Any] = {"model": {"lr": 0.1}}
    wrong = [
        3, [], "pretrain", [3], [{"name": "a", "overrides": overrides}] * 2, [{"overrides": overrides}],
        {"a": overrides}, [{"name": "../a", "overrides": overrides}], [{"name": "a/b", "overrides": overrides}],
        [{"name": 3}], [{"name": "a", "override": overrides}], [{"name": "a", "overrides": [1]}],
        [{"name": "", "overrides": {}}],
        [{"name": "a\nb", "overrides": overrides}], [{"name": ".a", "overrides": overrides}], None,
    ]  # fmt: skip
    content["stages"] = drawn.choice(wrong)
    return f"stages = {content['stages']!r}"


def _lacking(content: dict[str, Any], drawn: random.Random) -> str:
    place, where = _target(content, drawn)
    if "data" in place:
        del place["data"]["init_args"]["path"]
        return f"{where}without data.path"
    return _typo(content, drawn)


def _written(content: dict[str, Any], drawn: random.Random, plain: bool = False) -> bytes:
    """The content as text, in one of the ways to write it."""
    if plain:
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    how = drawn.randrange(5)
    if how == 0:
        with contextlib.suppress(ValueError):  # JSON has no infinities
            return json.dumps(content, indent=drawn.choice([None, 2]), allow_nan=False).encode()
    if how == 1:  # sections in another order
        content = dict(drawn.sample(list(content.items()), len(content)))
    text = yaml.safe_dump(content, sort_keys=how == 2, default_flow_style=how == 3, width=drawn.choice([40, 120]))
    if how == 4:
        text = "".join(
            f"{line}\n\n  # a comment\n" if drawn.random() < 0.2 else f"{line}\n" for line in text.splitlines()
        )
    return text.encode()


def _inserted(drawn: random.Random, text: bytes, inserted: bytes) -> bytes:
    at = drawn.randrange(len(text))
    return text[:at] + inserted + text[at:]


def _bomb(levels: int) -> bytes:
    lines = ["", "b0: &b0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join([*lines, ""]).encode()
