"""No call in the package can run what stands in a file, or give text to a shell."""

import ast
from pathlib import Path

import pytest

import emonet_lightning

ROOT = Path(emonet_lightning.__file__).parent
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__"}
NAMED = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "torch.hub.load", "yaml.load_all",
    "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all", "pandas.eval", "pd.eval", "pd.read_pickle",
    "pandas.read_pickle", "runpy.run_path", "torch.jit.load", "torch.package.PackageImporter", "shutil.unpack_archive",
}  # fmt: skip
METHODS = {"extractall", "extract", "query"}
LOADERS = {"_Loader"}
"""The one subclass of the safe loader that `yaml_files` has."""


def dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def keywords(call):
    return {word.arg: word.value for word in call.keywords}


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def faults(source):
    """What a source text does that it must not, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [(node.lineno, name) for name in names if name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), keywords(node)
        if name in CALLS or name in NAMED:
            found.append((node.lineno, name))
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            found.append((node.lineno, node.func.attr))
        if name == "torch.load" and not is_constant(given.get("weights_only"), True):
            found.append((node.lineno, "torch.load without weights_only=True"))
        if given.get("weights_only") is not None and not is_constant(given["weights_only"], True):
            found.append((node.lineno, "weights_only that is not True"))
        if name.endswith("load_state_dict") and name.startswith("timm.") and "weights_only" not in given:
            found.append((node.lineno, "timm's load_state_dict without weights_only=True"))
        if "allow_pickle" in given and not is_constant(given["allow_pickle"], False):
            found.append((node.lineno, "allow_pickle"))
        if "shell" in given and not is_constant(given["shell"], False):
            found.append((node.lineno, "shell"))
        if name == "yaml.load" and dotted(given.get("Loader")) not in LOADERS:
            found.append((node.lineno, "yaml.load without a safe loader"))
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_no_call_runs_what_stands_in_a_file(path):
    assert faults(path.read_text()) == []


def test_yaml_is_read_in_one_place():
    readers = [
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and dotted(node.func) in ("yaml.load", "yaml.safe_load", "yaml.compose")
    ]
    assert readers == ["yaml_files.py"]


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "import pickle",
        "from pickle import loads",
        "eval(text)",
        "exec(text)",
        "archive.extractall()",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "os.system(text)",
        "timm.models.load_state_dict(path)",
        "LitModel.load_from_checkpoint(path, weights_only=False)",
        "torch.hub.load(a, b)",
    ],
)
def test_what_is_forbidden_is_found(source):
    assert faults(source)
