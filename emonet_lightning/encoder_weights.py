"""Weights into an encoder: a local file, or the library's pretrained ones."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emonet_lightning.encoder_sources import EncoderSource, EncoderSpec
from emonet_lightning.errors import DataError, EnvironmentProblem, MissingInputError
from emonet_lightning.fetch import encoder_source
from emonet_lightning.hub import hub_endpoint, hub_errors, probe_hub

_PROBE_SECONDS = 3.0


def locate_weights(source: EncoderSource, spec: EncoderSpec) -> Path:
    """Return the local path of an encoder's weights, fetching the library's pretrained ones where none were given.

    Raises:
        UsageError: nothing is published for that name.
        EnvironmentProblem: not here and no network; the message holds the command to run where there is one.
    """
    if source.weights is not None:
        return source.weights
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    wanted = encoder_source(source.name)
    revision = spec.revision or wanted.revision or "main"
    for filename in wanted.weights:
        cached = try_to_load_from_cache(wanted.repo_id, filename, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    endpoint = hub_endpoint()
    reason = probe_hub(endpoint, _PROBE_SECONDS)  # huggingface_hub itself retries for 46 s
    if reason is not None:
        pinned = f" --revision {spec.revision}" if spec.revision else ""
        raise EnvironmentProblem(
            f"encoder '{source.name}': its weights are not on this machine and {endpoint} is not reachable ({reason}); "
            f"where there is a network run: python -m emonet_lightning fetch encoder {source.name} --dir DIR{pinned}; "
            f"then add here: --model.encoder.weights DIR/{wanted.weights[0]}"
        )
    with hub_errors(wanted, revision, endpoint):
        for filename in wanted.weights:
            try:
                return Path(hf_hub_download(wanted.repo_id, filename, revision=revision, endpoint=endpoint))
            except EntryNotFoundError:
                continue
    raise MissingInputError(f"{wanted.repo_id}@{revision}: holds none of {', '.join(wanted.weights)}")


def load_weights(module: nn.Module, source: EncoderSource, path: Path) -> None:
    """Load a weight file into a module, all keys and shapes checked.

    Raises:
        DataError: not a weight file, or of another architecture; names one key.
    """
    try:
        import timm

        state: dict[str, torch.Tensor] = dict(timm.models.load_state_dict(str(path), weights_only=True))
    except Exception as error:  # the libraries raise untyped errors on damaged files
        raise DataError(f"{path}: not readable as weights ({_one_line(error)})") from error
    state = _timm_state(module, state) if source.library == "timm" else _visual_state(state)
    expected = module.state_dict()
    missing = [name for name in expected if name not in state]
    surplus = [name for name in state if name not in expected]
    wrong = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    for names, fault in ((missing, "is missing"), (wrong, "has another shape"), (surplus, "is not part of it")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise DataError(
                f"{path}: not weights of encoder '{source.name}' with options {source.options}: "
                f"'{names[0]}'{more} {fault}"
            )
    module.load_state_dict(state)


def _timm_state(module: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is not None:  # timm's own translation of foreign layouts and position grids
        try:
            state = convert(state, module)
        except TypeError:
            state = convert(state)
    classifiers = module.pretrained_cfg.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
    prefixes = tuple(name.split(".")[0] + "." for name in classifiers)
    expected = module.state_dict()
    return {name: value for name, value in state.items() if name in expected or not name.startswith(prefixes)}


def _visual_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    towers = {name: value for name, value in state.items() if name.startswith("visual.")}
    return {name.removeprefix("visual."): value for name, value in towers.items()} if towers else state


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
