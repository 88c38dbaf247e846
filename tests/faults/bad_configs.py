"""Bad configurations: rows 79 to 98."""

import yaml
from bad_inputs import Place, refused, row, run, taken


def option(
    number: int, title: str, word: str | tuple[str, ...], says: str, kind: str = "usage", quick: bool = True
) -> None:
    """Enter an option of `fit` that has to be refused."""

    @row(number, title, quick)
    def _(place: Place) -> str | None:
        return refused(run(place.fit(*([word] if isinstance(word, str) else word))), kind, says, place.out)


def config(number: int, title: str, text: str | bytes, says: str, kind: str = "data", quick: bool = True) -> None:
    """Enter a configuration file that has to be refused."""

    @row(number, title, quick)
    def _(place: Place) -> str | None:
        path = place.folder / "mine.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return refused(run([*place.fit(), f"--config={path}"]), kind, says, place.out)


def either(number: int, title: str, text: str, says: str) -> None:
    """Enter a configuration file that has to be refused as usage or as data."""

    @row(number, title)
    def _(place: Place) -> str | None:
        path = place.folder / "mine.yaml"
        path.write_text(text)
        told = run([*place.fit(), f"--config={path}"])
        return refused(told, "data" if told.code == 65 else "usage", says, place.out)


option(79, "unknown embedded set", "--data.path=embedded:x", r"data\.path: .embedded:x. is not an embedded set")
option(79, "embedded neutral set that is not there", "--neutral=embedded:x", r"neutral: .embedded:x. is not")
UNKNOWN_SPLIT = ("--data.path=embedded:big", "--data.train_split=trian")
option(79, "unknown split of an embedded set", UNKNOWN_SPLIT, r"data\.train_split: .*'train'")
option(79, "training on a sealed embedded set", "--data.path=embedded:hq", r"data\.path: .embedded:hq. is sealed")
option(79, "typo in a key", "--model.widhts=[8]", r"unknown option 'model\.widhts'; did you mean .*'model\.widths'")
either(79, "typo in a file", "model:\n  learning_rat: 0.1\n", r"unknown option 'model\.learning_rat'|learning_rat")
config(80, "key twice", "model:\n  lr: 0.01\nmodel:\n  lr: 10.0\n", r"mine\.yaml.*model.*(twice|duplicate).*1.*3")
config(80, "nested key twice", "model:\n  lr: 0.01\n  lr: 10.0\n", r"mine\.yaml.*lr.*(twice|duplicate).*2.*3")
for value in (".nan", ".inf", "0", "-1", "null", "fast"):
    either(81, f"lr {value}", f"model:\n  lr: {value}\n", r"model\.lr")
for value in ("[0]", "[8, -3]", "[1.5]", "huge"):
    option(82, f"widths {value}", f"--model.widths={value}", r"widths")
for value in ("0", "-1", "1.5", "many"):
    option(83, f"batch size {value}", f"--data.batch_size={value}", r"batch_size")
option(85, "text for a number", "--trainer.max_epochs=ten", r"max_epochs")
option(85, "list for a number", "--model.dropout=[a]", r"model\.dropout")
option(85, "dropout above 1", "--model.dropout=1.5", r"dropout")
option(85, "dropout not a number", "--model.dropout=.nan", r"dropout")
option(85, "mapping for a list", "--model.widths={a: 1}", r"widths")
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
config(86, "alias bomb", BOMB + "model:\n  widths: *a8\n", r"mine\.yaml")
config(86, "10,000 levels deep", "model: " + "[" * 10_000 + "]" * 10_000 + "\n", r"mine\.yaml")
config(86, "50 MB", "model:\n  lr: 0.1\n#" + "x" * 50_000_000 + "\n", r"mine\.yaml.*(MB|MiB|bytes)", quick=False)
config(87, "tab", "model:\n\tlr: 0.1\n", r"mine\.yaml.*not YAML|tab")
config(87, "BOM and UTF-16", "model:\n  lr: 0.1\n".encode("utf-16"), r"mine\.yaml")
config(87, "NUL", "model:\n  lr: 0.1\n\0", r"mine\.yaml")
config(87, "not UTF-8", b"model:\n  taxonomy: \xff\xfe\n", r"mine\.yaml.*UTF-8")
config(88, "object that is made on reading", "model: !!python/object/apply:os.getpid []\n", r"mine\.yaml")
either(89, "class of any module", "trainer:\n  callbacks:\n    - class_path: antigravity.Fly\n", r"antigravity")
either(89, "function of os", "trainer:\n  callbacks:\n    - class_path: os.getpid\n", r"os\.getpid")
either(90, "unknown interpolation", "model:\n  lr: ${model.nothing}\n", r"model\.nothing|nothing")
either(90, "environment variable", "model:\n  taxonomy: ${HOME}\n", r"HOME")


@row(91, "two ways of going on")
def _(place: Place) -> str | None:
    path = place.folder / "x.ckpt"
    path.touch()
    told = run(place.fit(f"--ckpt_path={path}", "--resume=required"))
    return refused(told, "usage", r"--ckpt_path .* names where to go on from, --resume looks for it", place.out)


option(
    92,
    "unknown encoder",
    "--model.encoder.name=timm/vit_so400m_patch99",
    r"timm/vit_so400m_patch99.*did you mean|no .*model",
)
option(92, "encoder without library", "--model.encoder.name=siglip", r"siglip")
option(94, "more devices than there are", "--trainer.accelerator=gpu", r"accelerator|GPU|gpu|CUDA")
option(
    95,
    "stop by a figure that is never logged",
    '--trainer.callbacks=[{"class_path": "EarlyStopping", "init_args": {"monitor": "val/nothing"}}]',
    r"val/nothing",
)
option(
    95,
    "stop by a figure of test data",
    '--trainer.callbacks=[{"class_path": "EarlyStopping", "init_args": {"monitor": "test/spearman"}}]',
    r"'test/spearman' is a figure of test data",
)
option(96, "mixed precision", "--trainer.precision=16-mixed", r"precision")
option(98, "set that is a file", "--data.path=/etc/hostname", r"/etc/hostname", kind="missing")
option(98, "set that is not there", "--data.path=/nowhere/set", r"/nowhere/set: no such folder", kind="missing")


@row(84, "batch that processes do not divide", quick=False)
def _(place: Place) -> str | None:
    from bad_inputs import run_apart

    words = place.fit("--data.batch_size=33", "--trainer.devices=2", "--trainer.strategy=ddp", "--model.parallel=ddp")
    told = run_apart(words, fresh=True)
    return refused(told, "usage", r"33 is the global batch, 2 processes do not divide it; use 32 or 34", place.out)


@row(93, "path relative to the working folder", quick=False)
def _(place: Place) -> str | None:
    """Paths are those of the working folder, wherever a configuration lies, as with every command of a shell."""
    path = place.folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"data": {"class_path": "SyntheticFaces", "init_args": {"path": "set"}}}))
    told = run([word for word in [*place.fit(), f"--config={path}"] if not word.startswith("--data")])
    return refused(told, "missing", r"set: no such folder", place.out)


@row(97, "sealed test set as training data")
def _(place: Place) -> str | None:
    words = [word for word in place.fit() if not word.startswith("--data")]
    told = run([*words, "--data=SyntheticFaces", f"--data.path={place.sets['hq']}"])
    return refused(told, "usage" if told.code == 2 else "data", r"seal|test", place.out)


@row(98, "configuration that is a folder")
def _(place: Place) -> str | None:
    return refused(run([*place.fit(), f"--config={place.folder}"]), "missing", r"is a folder|configuration", place.out)


@row(98, "empty configuration")
def _(place: Place) -> str | None:
    path = place.folder / "mine.yaml"
    path.write_text("")
    return refused(run([*place.fit(), f"--config={path}"]), "data", r"mine\.yaml", place.out)


@row(79, "unknown command")
def _(place: Place) -> str | None:
    return refused(run(["fitt"]), "usage", r"unknown command 'fitt'; did you mean 'fit'")


@row(98, "stopped run that goes on in a folder of another run", quick=False)
def _(place: Place) -> str | None:
    wrong = taken(run(place.fit()))
    if wrong:
        return wrong
    told = run(place.fit("--model.lr=0.5"))
    return refused(told, "usage", r"holds a run with model\.lr")
