"""The command `doctor`: can `fit` run here, and what would surprise its user.

Each check looks and never changes anything; nothing is imported before its version is known to be harmless.
"""

import base64
import contextlib
import importlib
import netrc
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib import metadata
from json import dumps

from emonet_lightning.errors import EmoNetError, EnvironmentProblem
from emonet_lightning.machine import Finding, check_cores, check_devices, check_disks, check_slurm, one_line
from emonet_lightning.redaction import redact

MALWARE = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}
IMPORTS = {
    "torch": "torch",
    "torchvision": "torchvision",
    "lightning": "lightning",
    "pytorch-lightning": "pytorch_lightning",
    "timm": "timm",
    "open_clip_torch": "open_clip",
    "torchmetrics": "torchmetrics",
    "wandb": "wandb",
    "albumentations": "albumentations",
    "webdataset": "webdataset",
    "numpy": "numpy",
    "huggingface_hub": "huggingface_hub",
}
OPTIONAL = {"pytorch-lightning"}


def doctor_command(json: bool = False, cache_dir: str | None = None, timeout: float = 3.0) -> None:
    """Report whether `fit` can run on this machine, and how.

    Args:
        json: print JSON instead of a table.
        cache_dir: folder of the embedding cache, if not below the working folder.
        timeout: seconds to wait for the hub.

    Raises:
        EnvironmentProblem: something that `fit` needs is missing (exit 78).
    """
    findings = examine(cache_dir, timeout)
    failed = [finding for finding in findings if finding.status == "fail"]
    if json:
        print(dumps({"fit": not failed, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        _print_table(findings)
    if failed:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise EnvironmentProblem(f"{first.check}: {first.value}{more}; {first.remedy}")


def examine(cache_dir: str | None = None, timeout: float = 3.0) -> list[Finding]:
    """Run all checks; a check that itself breaks is reported as a warning, and no finding holds a secret."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _check_packages,
        check_devices,
        check_cores,
        lambda: check_disks(cache_dir),
        lambda: _check_hub(timeout),
        _check_wandb,
        check_slurm,
        _check_embedded_encoder,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check())
        except Exception as error:  # a report with a gap is better than none
            name = getattr(check, "__name__", "check").removeprefix("_").removeprefix("check_")
            findings.append(Finding(name, "warning", f"could not be examined: {one_line(error)}"))
    # here and not in each check: the hub's address may hold a password, and errors repeat it
    return [replace(found, value=redact(found.value), remedy=redact(found.remedy)) for found in findings]


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    style = {"ok": "green", "note": "dim", "warning": "yellow", "fail": "bold red"}
    table = Table(box=None, pad_edge=False)
    for column in ("check", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        status = f"[{style[finding.status]}]{finding.status}[/]"
        table.add_row(finding.check, status, finding.value.replace("[", r"\["), finding.remedy.replace("[", r"\["))
    Console().print(table)


def _check_packages() -> Iterator[Finding]:
    import platform

    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    yield Finding("python", "ok", platform.python_version())
    floors = _floors()
    for package, module in IMPORTS.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package in OPTIONAL:
                continue
            yield Finding(package, "fail", "not installed", "pip install emonet-lightning")
            continue
        if version in MALWARE.get(package, ()):
            yield Finding(
                package,
                "fail",
                f"{version} is malware published under this name",
                f"pip uninstall {package}, install {package}>=2.6.4, and change every secret this machine has seen",
            )
            continue
        if package in floors and not _satisfies(version, floors[package]):
            yield Finding(package, "fail", f"{version}, needed {floors[package]}", "pip install -U emonet-lightning")
            continue
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken build raises anything
            yield Finding(package, "fail", *_explain_import_error(version, error))
        else:
            yield Finding(package, "ok", version)


def _floors() -> dict[str, str]:
    """Version limits that this package's own metadata states."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        found = (
            re.match(r"([\w.-]+)(?:\[[^\]]*\])?\s*([<>=!~][^;]*)", r)
            for r in metadata.requires("emonet-lightning") or []
        )
        return {match[1]: match[2].strip() for match in found if match}
    return {}


def _satisfies(version: str, limits: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(limits).contains(version, prereleases=True)


def _explain_import_error(version: str, error: Exception) -> tuple[str, str]:
    message = one_line(error)
    if "torchvision::nms does not exist" in message:
        torch_version, vision_version = (metadata.version(package) for package in ("torch", "torchvision"))
        return (
            f"{version} does not import: torch {torch_version} and torchvision {vision_version} are different builds "
            "(one for the CPU, one for CUDA): operator torchvision::nms does not exist",
            "install both from one index: pip install --force-reinstall torch torchvision",
        )
    return (
        f"{version} does not import: {message}",
        "pip install --force-reinstall it, in a fresh environment if need be",
    )


def _check_hub(timeout: float) -> Iterator[Finding]:
    from emonet_lightning.hub import hub_endpoint, probe_hub

    endpoint = hub_endpoint()
    reason = probe_hub(endpoint, timeout)
    if reason is None:
        yield Finding("hub", "ok", f"{endpoint} answers")
    else:
        remedy = "the embedded encoder needs none; others: `fetch` on a node with a network, then encoder.weights FILE"
        yield Finding("hub", "note", f"offline: {endpoint} ({reason})", remedy)


def _check_wandb() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        yield Finding("wandb", "ok", f"WANDB_MODE={mode}")
    elif os.environ.get("WANDB_API_KEY") or _netrc_knows("api.wandb.ai"):
        yield Finding("wandb", "ok", "an account's key is set")
    else:
        yield Finding("wandb", "note", "no account: log offline", "WANDB_MODE=offline, later `wandb sync`")


def _netrc_knows(host: str) -> bool:
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False


def _check_embedded_encoder() -> Iterator[Finding]:
    from emonet_lightning.encoder_files import embedded_path, read_encoder_header
    from emonet_lightning.io import sha256_file

    try:
        header = read_encoder_header(embedded_path())
    except EmoNetError as error:
        yield Finding("embedded encoder", "fail", one_line(error), "pip install --force-reinstall emonet-lightning")
        return
    digest = sha256_file(embedded_path())
    installed = _installed_digest("emonet_lightning/assets/encoder.safetensors")
    if installed not in (None, digest):
        value = f"content is not what was installed (sha256 {digest[:12]}, recorded {str(installed)[:12]})"
        yield Finding("embedded encoder", "fail", value, "pip install --force-reinstall emonet-lightning")
        return
    yield Finding("embedded encoder", "ok", f"{header['architecture']}, sha256 {digest[:12]}")


def _installed_digest(name: str) -> str | None:
    """Hex sha256 that the installer recorded of a file; None in a development install, which records none."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("emonet-lightning") or []:
            if file.as_posix() == name and file.hash is not None and file.hash.mode == "sha256":
                return base64.urlsafe_b64decode(file.hash.value + "==").hex()
    return None
