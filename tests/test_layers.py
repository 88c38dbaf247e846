"""The house: imports point one way, no drawer of odds and ends, no file that takes more than one sitting."""

import ast
from functools import cache
from pathlib import Path

import pytest

import emonet_lightning

ROOT = Path(emonet_lightning.__file__).parent
PACKAGE = "emonet_lightning"
LAYERS = [
    {
        "errors",
        "bad_samples",
        "batch",
        "fail_points",
        "io",
        "hashing_stream",
        "fork_server",
        "interruption",
        "taxonomy",
        "messages",
        "machine",
        "schedule",
        "image_files",
    }
    | {"processes", "progress", "run_identity", "local_paths", "redaction", "slurm", "yaml_files"}
    | {"wandb_offline", "wandb_sender", "folder_lock"},
    {"ratings"},
    {
        "decoding",
        "faces",
        "transforms",
        "head_layers",
        "head_pairs",
        "heads",
        "losses",
        "metrics",
        "optimizer",
        "evaluation",
    },
    {"encoder_files", "encoder_sources", "encoder_weights", "encoders", "fetch", "hub", "bundle"},
    {"packing"},
    {"data", "module", "recognizer", "synthesis"},
    {"attempts", "callbacks", "checkpoints", "sample_ledger", "predict", "reporting", "export", "doctor"},
    {"saving", "stopping"},
    {
        "run_cli",
        "wandb_mirror",
        "mirror_command",
        "option_types",
        "option_values",
        "parser_messages",
        "parser_settings",
        "composition",
        "judging",
        "resuming",
        "stages",
        "sweeping",
        "tracking",
    },
    {"cli", "__main__"},
]
"""Lowest first; a part imports from its own layer and from those below. One not named here stands where its highest
import stands, so nothing can be brought up through it."""


def modules():
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.rglob("*.py"))
    }


MODULES = modules()


@cache
def imports_of(path, only_at_import=False):
    """Names of the modules that a file imports, everywhere in it or only while it is being imported."""
    found, todo = set(), [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            assert node.module
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        if not (only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)
    return frozenset(found)


def own(names):
    """The project's modules among imported names, without the package's name."""
    cut = {name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")}
    return {name for name in cut if name in MODULES}


@cache
def imported_by(name):
    """The project's modules that are imported while `name` is."""
    return own(imports_of(MODULES[name], only_at_import=True))


@cache
def layer(name):
    for number, parts in enumerate(LAYERS):
        if name.split(".")[0] in parts:
            return number
    return max((layer(other) for other in imported_by(name)), default=0)


@cache
def closure(name):
    """All of the project's modules that importing `name` imports, itself included."""
    seen, todo = set(), [name]
    while todo:
        current = todo.pop()
        if current not in seen and current in MODULES:
            seen.add(current)
            todo += imported_by(current)
            todo += [current.rpartition(".")[0]] if "." in current else []
    return frozenset(seen)


NAMES = [name for name in MODULES if name not in (PACKAGE, "__init__")]


def test_imports_form_no_circle():
    for name in NAMES:
        for other in imported_by(name):
            assert name not in closure(other), f"{name} and {other} import each other"


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name):
    for other in imported_by(name):
        assert layer(other) <= layer(name), f"{name} imports {other}, which stands above it"


def test_module_and_data_never_import_each_other():
    for name, path in MODULES.items():
        imported = own(imports_of(path))
        if name == "module":
            assert not {other for other in imported if other.split(".")[0] == "data"}
        if name.split(".")[0] in ("data", "packing"):
            assert not {"module", "callbacks"} & imported, name


FREE = ("annotation", "evaluation", "ratings", "reporting")
WITHOUT_LIGHTNING = [name for name in NAMES if name.startswith(FREE)] + ["predict", "recognizer", "bundle"]


@pytest.mark.parametrize("name", WITHOUT_LIGHTNING)
def test_judging_and_using_heads_needs_no_lightning(name):
    for module in closure(name):
        foreign = {imported.split(".")[0] for imported in imports_of(MODULES[module], only_at_import=True)}
        assert not foreign & {"lightning", "pytorch_lightning", "torchmetrics"}, f"{name} -> {module}"


def test_the_rules_of_agreement_need_numpy_alone():
    foreign = {name.split(".")[0] for module in closure("evaluation.agreement") for name in imports_of(MODULES[module])}
    assert "torch" not in foreign
    assert "numpy" in foreign


def test_nothing_is_called_after_nothing():
    banned = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
    parts = {part for path in ROOT.rglob("*") for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not parts & banned


def test_every_file_fits_one_sitting():
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 300}
    assert not long, long


def test_no_work_is_done_by_importing_the_package():
    heavy = {"torch", "lightning", "timm", "numpy"}
    names = imports_of(ROOT / "__init__.py", only_at_import=True) | imports_of(ROOT / "cli.py", only_at_import=True)
    assert not {name.split(".")[0] for name in names} & heavy
