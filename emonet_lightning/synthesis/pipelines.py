"""Diffusion pipelines: found without the network where they are on this machine, loaded without running their code.

`diffusers` is imported by these functions only: it takes seconds, and no other command needs it.
"""

import contextlib
import importlib
import inspect
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from emonet_lightning.errors import DataError, EnvironmentProblem, MissingInputError, UsageError, nearest
from emonet_lightning.hub import hub_endpoint, probe_hub
from emonet_lightning.io import fingerprint, read_json, sha256_file
from emonet_lightning.local_paths import expand_home
from emonet_lightning.machine import one_line
from emonet_lightning.redaction import redact

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LIBRARIES = ("diffusers", "transformers")
_PROBE_SECONDS = 3.0
_NO_LIMIT = 10**6
"""Tokens from which on a tokenizer's limit is none: libraries write a very large number."""


@dataclass(frozen=True)
class Sampling:
    """How a pipeline is run; None takes the pipeline's own default."""

    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    width: int | None = None
    height: int | None = None
    negative_prompt: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline that lies on this machine, and what it says of itself; its weights are not read yet."""

    name: str
    """As it was asked for."""
    folder: Path
    revision: str
    """Commit of the hub, or digest of all files of a local folder."""
    class_name: str
    scheduler: str


def find_pipeline(name: str, revision: str | None = None) -> PipelineSource:
    """Find a pipeline: a local folder, or a name of the hub, in its cache on this machine or on the network.

    Raises:
        MissingInputError: no such folder, and no name of the hub.
        EnvironmentProblem: it is not here and there is no network; says how to fetch it. Or `diffusers` is missing.
        UsageError: a revision of a folder.
        DataError: the folder holds no pipeline of `diffusers`.
    """
    path = expand_home(name)
    if path.is_dir():
        if revision is not None:
            raise UsageError(f"--revision {revision}: '{name}' is a folder; only a name of the hub has revisions")
        return _described(name, path, None)
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise MissingInputError(f"--model {name}: no such folder, and no name of the hub (OWNER/NAME)")
    folder = _from_hub(name, revision)
    return _described(name, folder, folder.name)


def _from_hub(name: str, revision: str | None) -> Path:
    diffusers = _diffusers()
    options: dict[str, Any] = {"revision": revision, "use_safetensors": True}
    with contextlib.suppress(Exception):  # of a kind of the library's: it is not here, or not whole
        return Path(diffusers.DiffusionPipeline.download(name, local_files_only=True, **options))
    endpoint = hub_endpoint()
    reason = probe_hub(endpoint, _PROBE_SECONDS)
    at = f" --revision {revision}" if revision else ""
    remedy = f"where there is a network run `hf download {name}{at} --local-dir DIR`, then give --model DIR"
    if reason is not None:
        raise EnvironmentProblem(
            f"pipeline '{name}' is not on this machine, and {redact(endpoint)} is not reachable ({reason}); {remedy}"
        )
    try:
        return Path(diffusers.DiffusionPipeline.download(name, **options))
    except Exception as error:
        raise EnvironmentProblem(f"pipeline '{name}': not fetched ({redact(one_line(error))}); {remedy}") from error


def _described(name: str, folder: Path, revision: str | None) -> PipelineSource:
    """Read what a pipeline is made of; refuses what would run code that lies in the folder."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise DataError(f"{folder}: holds no model_index.json; name the folder of a pipeline of diffusers")
    index = read_json(path)
    class_name = index.get("_class_name") if isinstance(index, dict) else None
    diffusers = _diffusers()
    found = getattr(diffusers, class_name, None) if isinstance(class_name, str) else None
    if not inspect.isclass(found) or not issubclass(found, diffusers.DiffusionPipeline):
        raise DataError(f"{path}: {class_name!r} is no pipeline of diffusers {diffusers.__version__}")
    if "prompt" not in inspect.signature(found.__call__).parameters:
        raise DataError(f"{path}: {class_name} takes no prompt; choose a pipeline that makes images of text")
    own = found.__module__.split(".")[-2]  # a part that the pipeline's own module in the library defines
    for part, kind in index.items():
        if not part.startswith("_") and isinstance(kind, list) and kind[0] not in (None, *_LIBRARIES, own):
            raise DataError(f"{path}: part '{part}' is of '{kind[0]}'; only parts of {_LIBRARIES} are loaded")
    scheduler = str((index.get("scheduler") or ["", ""])[1])
    return PipelineSource(name, folder, revision or _folder_digest(folder), str(class_name), scheduler)


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return fingerprint([[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files])


def call_options(source: PipelineSource, sampling: Sampling) -> dict[str, Any]:
    """Return the arguments of the pipeline's call, with its own defaults filled in for steps and guidance.

    Raises:
        UsageError: an option that this pipeline does not take, or a value that is none.
    """
    for option, low in (("steps", 1), ("width", 8), ("height", 8)):
        value = getattr(sampling, option)
        if value is not None and value < low:
            raise UsageError(f"--sampling.{option} {value}: must be {low} or more")
    if (sampling.width is None) != (sampling.height is None):  # pipelines then take neither
        raise UsageError("give both --sampling.width and --sampling.height, or neither")
    known = inspect.signature(getattr(_diffusers(), source.class_name).__call__).parameters
    given: dict[str, Any] = {
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance,
        "width": sampling.width,
        "height": sampling.height,
        "negative_prompt": sampling.negative_prompt,
    }
    for argument in given:
        if given[argument] is not None and argument not in known:
            raise UsageError(f"{source.class_name} takes no {argument}; leave that option out")
    for argument in ("num_inference_steps", "guidance_scale"):
        if given[argument] is None and argument in known:
            given[argument] = known[argument].default
    return {argument: value for argument, value in given.items() if value is not None}


class Generator:
    """A loaded pipeline: prompts and seeds in, images out."""

    def __init__(self, source: PipelineSource, sampling: Sampling, device: torch.device) -> None:
        """Load the weights.

        Raises:
            DataError: they are damaged, or no safetensors.
            UsageError: a scheduler that there is not.
        """
        diffusers = _diffusers()
        _quieten()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*torch_dtype.*", FutureWarning)  # its new name is not known to all
                pipeline = getattr(diffusers, source.class_name).from_pretrained(
                    source.folder,
                    torch_dtype=getattr(torch, sampling.dtype),
                    use_safetensors=True,
                    local_files_only=True,
                )
        except Exception as error:  # both libraries raise what they like
            raise DataError(
                f"{source.folder}: cannot be loaded ({one_line(error)}); fetch the pipeline again"
            ) from error
        if sampling.scheduler is not None:
            kind = getattr(diffusers, find_scheduler(sampling.scheduler))
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline.to(device)
        self._options = call_options(source, sampling)
        self._device = device

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray]:
        """Make an image of each prompt.

        Args:
            prompts: texts [B].
            seeds: of each image's noise [B]: drawn on the CPU, so it is the same on every device and in every batch.

        Returns:
            Images, uint8 [H, W, 3] each.

        Raises:
            EnvironmentProblem: the device's memory is too small.
        """
        options = dict(self._options)
        if "negative_prompt" in options:
            options["negative_prompt"] = [options["negative_prompt"]] * len(prompts)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        try:
            with torch.inference_mode():
                images = self._pipeline(list(prompts), generator=generators, **options).images
        except torch.cuda.OutOfMemoryError as error:
            raise EnvironmentProblem(
                f"{self._device}: out of memory; lower --batch_size, --sampling.width and .height"
            ) from error
        except ValueError as error:  # a size that the network does not take
            raise UsageError(f"{type(self._pipeline).__name__}: {one_line(error)}") from error
        asked = (options.get("width"), options.get("height"))
        if asked[0] is not None and images[0].size != asked:  # rounded to what the network takes
            width, height = images[0].size
            raise UsageError(
                f"{type(self._pipeline).__name__} makes {width} x {height} pixels where {asked[0]} x {asked[1]} are "
                f"asked for; give --sampling.width {width} --sampling.height {height}"
            )
        return [np.asarray(image.convert("RGB")) for image in images]

    def num_cut(self, prompts: Sequence[str]) -> int:
        """Return how many prompts are longer than the longest of the pipeline's text encoders reads."""
        tokenizers = [getattr(self._pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
        limits = [(int(t.model_max_length), t) for t in tokenizers if t is not None]
        if not limits or max(limit for limit, _ in limits) > _NO_LIMIT:
            return 0
        limit, tokenizer = max(limits, key=lambda entry: entry[0])
        return sum(len(found) > limit for found in tokenizer(list(prompts), verbose=False).input_ids)


def find_scheduler(name: str) -> str:
    """Return the name of a scheduler's class.

    Raises:
        UsageError: there is none of that name; offers the nearest.
    """
    known = [found for found in dir(_diffusers()) if found.endswith("Scheduler") and not found.startswith("Flax")]
    if name not in known:
        raise UsageError(f"--sampling.scheduler {name}: unknown; {nearest(name, known)}")
    return name


def _quieten() -> None:
    """No bars and notes of two libraries between ours; their errors are raised."""
    for name in ("diffusers", "transformers"):
        logging = importlib.import_module(f"{name}.utils").logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that images depend on."""
    return {name: str(importlib.import_module(name).__version__) for name in ("torch", "diffusers", "transformers")}


def _diffusers() -> Any:
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    with _needed():
        return importlib.import_module("diffusers")


@contextlib.contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise EnvironmentProblem(
            f"diffusers cannot be imported ({one_line(error)}); install it: pip install 'emonet_lightning[generate]'"
        ) from error
