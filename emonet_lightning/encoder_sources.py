"""Which encoder a name means: library, architecture, preprocessing and where its weights are, without loading them.

The trap this file exists for: both libraries carry the same SigLIP towers with different default preprocessing (timm's
config crops to 0.9, open_clip squashes and falls back to CLIP's mean and std for local files). Here SigLIP is always
squashed and every field is explicit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from emonet_lightning.encoder_files import embedded_path, read_encoder_header
from emonet_lightning.errors import DataError, MissingInputError, UsageError, nearest
from emonet_lightning.transforms import INTERPOLATIONS, RESIZE_RULES, PreprocessSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
RESIZE_PLACES = ("host", "device")
_LOADING = re.compile(r"pretrained|checkpoint|cache_dir|path|_cfg|^hf_|^timm_|^features_only$")
"""Options of the libraries' constructors that make them read files or ask a hub."""


@dataclass(frozen=True)
class EncoderSpec:
    """The frozen encoder.

    The paper's is SigLIP2 so400m patch16 384 (1152-d): `timm/vit_so400m_patch16_siglip_384.v2_webli` or
    `open_clip/ViT-SO400M-16-SigLIP2-384:webli`. Both libraries resize it bicubic, which is the default here; the
    processor published with the weights resizes bilinear (`interpolation: bilinear`).
    """

    name: str = "embedded"
    """`embedded`, `timm/NAME`, `open_clip/NAME:TAG`, or the path of a self-describing .safetensors file."""
    weights: str | None = None
    """Local weight file for a timm or open_clip name; without it the library's pretrained weights are fetched."""
    sha256: str | None = None
    """What the weight file's digest must be."""
    revision: str | None = None
    """Commit of the hub repository that the weights are fetched from."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the library's constructor, e.g. `pad_type: same`."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass: `float32`, `bfloat16` or `float16`; features are always returned as float32."""
    compile: bool = False
    """Let torch.compile fuse the network where it encodes on CUDA; part of the features' identity, as dtype is."""
    resize_on: Literal["host", "device"] = "host"
    """`device`: the encode pass resizes images of the set's usual size on the encoder's device, in float32, within 2
    grey levels of `host`; spares a quarter of the decoding threads' work. Part of the features' identity."""
    size: int | None = None
    """Input side in pixels, if not the library's."""
    interpolation: Literal["bilinear", "bicubic"] | None = None
    """`bilinear` or `bicubic`, if not the library's."""
    resize: Literal["squash", "crop"] | None = None
    """`squash` or `crop`, if not the library's."""
    crop_pct: float | None = None
    """Share of the shorter side that `crop` keeps, if not the library's."""
    mean: list[float] | None = None
    """Per-channel mean on the 0..1 scale, if not the library's."""
    std: list[float] | None = None
    """Per-channel standard deviation on the 0..1 scale, if not the library's."""


@dataclass(frozen=True)
class EncoderSource:
    """A resolved encoder name."""

    library: str
    """`timm` or `open_clip`."""
    architecture: str
    """The library's model name, without tag."""
    tag: str | None
    """Which pretrained weights of that architecture."""
    options: dict[str, Any]
    """Arguments of the library's constructor."""
    preprocess: PreprocessSpec
    """Input pixels."""
    weights: Path | None
    """Local weight file; None if they come from the hub."""

    @property
    def name(self) -> str:
        """The full name, e.g. `timm/test_vit3.r160_in1k`."""
        tag = "" if self.tag is None else ("." if self.library == "timm" else ":") + self.tag
        return f"{self.library}/{self.architecture}{tag}"


def resolve(spec: EncoderSpec) -> EncoderSource:
    """Return what an encoder spec means; reads no weights.

    Raises:
        UsageError: unknown name or option; the nearest names are offered.
        MissingInputError: a local file does not exist.
        DataError: a local file does not describe itself.
    """
    if spec.dtype not in DTYPES:
        raise UsageError(f"encoder dtype '{spec.dtype}' is unknown; {nearest(spec.dtype, DTYPES)}")
    if spec.resize_on not in RESIZE_PLACES:
        raise UsageError(f"encoder resize_on '{spec.resize_on}' is unknown; {nearest(spec.resize_on, RESIZE_PLACES)}")
    library, _, rest = spec.name.partition("/")
    if spec.name == "embedded" or Path(spec.name).suffix == ".safetensors":
        if spec.weights is not None:
            raise UsageError(f"encoder '{spec.name}' has its own weights; leave encoder.weights out or name a library")
        source = _from_file(embedded_path() if spec.name == "embedded" else Path(spec.name))
    elif library == "timm" and rest:
        source = _from_timm(rest)
    elif library == "open_clip" and rest:
        source = _from_open_clip(rest)
    else:
        raise UsageError(
            f"encoder '{spec.name}' is unknown; write embedded, timm/NAME, open_clip/NAME:TAG or a .safetensors path"
        )
    if spec.weights is not None:
        if not Path(spec.weights).is_file():
            raise MissingInputError(f"{spec.weights}: no such weight file for encoder '{spec.name}'")
        source = replace(source, weights=Path(spec.weights))
    for options, where in ((source.options, spec.name), (spec.options, f"encoder '{spec.name}'")):
        _check_options(options, where)
    source = replace(source, options={**source.options, **_resized(source, spec), **spec.options})
    return replace(source, preprocess=_overridden(source, spec))


def _check_options(options: Any, where: str) -> None:
    """Refuse options with which a library would read files of its own choice, by itself, or ask a hub.

    Raises:
        DataError: names the option.
    """
    if not isinstance(options, dict):
        raise DataError(f"{where}: options must be a mapping of names to values, not {type(options).__name__}")
    for name, value in options.items():
        if not isinstance(name, str) or _LOADING.search(name):
            raise DataError(f"{where}: option '{name}' lets the library load files by itself; give weights instead")
        values = value if isinstance(value, list | tuple) else [value]
        if not all(inner is None or isinstance(inner, bool | int | float | str) for inner in values):
            raise DataError(f"{where}: option '{name}' must be a number, a word, or a list of them")


def _resized(source: EncoderSource, spec: EncoderSpec) -> dict[str, Any]:
    """A transformer with learnt positions is told its new input size, and its grid of positions is interpolated."""
    if source.library != "timm" or spec.size in (None, source.preprocess.size):
        return {}
    import timm

    config = timm.get_pretrained_cfg(source.architecture)
    return {"img_size": spec.size} if config is not None and config.fixed_input_size else {}


def _overridden(source: EncoderSource, spec: EncoderSpec) -> PreprocessSpec:
    names = ("size", "interpolation", "resize", "crop_pct", "mean", "std")
    given = {name: getattr(spec, name) for name in names if getattr(spec, name) is not None}
    if isinstance(source.options.get("img_size"), int):
        given.setdefault("size", source.options["img_size"])
    try:
        return _checked(replace(source.preprocess, **given), f"encoder '{spec.name}'")
    except (TypeError, ValueError) as error:
        raise UsageError(f"encoder '{spec.name}': preprocessing {given} is not understood ({error})") from error


def _checked(spec: PreprocessSpec, where: str) -> PreprocessSpec:
    for value, choices, what in (
        (spec.interpolation, INTERPOLATIONS, "interpolation"),
        (spec.resize, RESIZE_RULES, "resize"),
    ):
        if value not in choices:
            raise UsageError(f"{where}: {what} '{value}' is not supported; choose from {', '.join(choices)}")
    if len(spec.mean) != 3 or len(spec.std) != 3 or min(spec.std) <= 0:
        raise UsageError(f"{where}: mean and std need three numbers each, std above 0")
    if spec.size < 1 or not 0 < spec.crop_pct <= 1:
        raise UsageError(f"{where}: size must be positive and crop_pct in (0, 1]")
    crop_pct = 1.0 if spec.resize == "squash" else float(spec.crop_pct)
    return replace(spec, size=int(spec.size), crop_pct=crop_pct, mean=_triple(spec.mean), std=_triple(spec.std))


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _from_file(path: Path) -> EncoderSource:
    header = read_encoder_header(path)
    library, _, name = str(header["architecture"]).rpartition("/")
    try:
        preprocess = PreprocessSpec(**header["preprocess"])
    except TypeError as error:
        raise DataError(f"{path}: its header's preprocess is not understood ({error})") from error
    if library not in ("", "timm", "open_clip"):
        raise DataError(f"{path}: its header names library '{library}'; timm and open_clip are known")
    if not _is_known(library, name):  # `hf-hub:NAME` would be asked for on the network
        raise DataError(f"{path}: its header names architecture '{name}', which {library or 'timm'} does not have")
    return EncoderSource(library or "timm", name, None, header.get("options", {}), preprocess, path)


def _is_known(library: str, name: str) -> bool:
    """Whether an installed library has an architecture, by its plain name."""
    if ":" in name:
        return False
    if library == "open_clip":
        import open_clip

        return open_clip.get_model_config(name) is not None
    import timm

    return bool(timm.is_model(name.partition(".")[0]))


def _from_timm(name: str) -> EncoderSource:
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UsageError(f"encoder 'timm/{name}' is unknown; {nearest(architecture, timm.list_models())}")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        tagged = timm.list_pretrained(f"{architecture}.*")
        raise UsageError(f"encoder 'timm/{name}': no weights of that tag; {nearest(name, tagged)}") from None
    if config is None or config.input_size[-1] != config.input_size[-2]:
        raise UsageError(f"encoder 'timm/{name}': takes no square images; choose another")
    siglip = "siglip" in architecture
    preprocess = PreprocessSpec(
        size=config.input_size[-1],
        interpolation=config.interpolation,
        resize="squash" if siglip or config.crop_mode == "squash" else "crop",
        crop_pct=config.crop_pct,
        mean=_triple(config.mean),
        std=_triple(config.std),
    )
    return EncoderSource("timm", architecture, tag or None, {}, preprocess, None)


def _from_open_clip(name: str) -> EncoderSource:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    architecture, _, tag = name.partition(":")
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise UsageError(f"encoder 'open_clip/{name}' is unknown; {nearest(architecture, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        raise UsageError(f"encoder 'open_clip/{name}': no weights of that tag; {nearest(tag, tags)}")
    # without a tag the weights are local, and preprocessing is that of any tag of this architecture
    published = get_pretrained_cfg(architecture, tag or (tags[0] if tags else ""))
    siglip = "siglip" in architecture.lower()
    neutral = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash"} if siglip else {}
    settings = {"interpolation": "bicubic", "resize_mode": "shortest"} | neutral | published
    if "mean" not in settings:
        from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

        settings |= {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    size = config["vision_cfg"]["image_size"]
    preprocess = PreprocessSpec(
        size=size if isinstance(size, int) else size[0],
        interpolation=settings["interpolation"],
        resize={"shortest": "crop", "squash": "squash"}.get(settings["resize_mode"], settings["resize_mode"]),
        mean=_triple(settings["mean"]),
        std=_triple(settings["std"]),
    )
    options = {"quick_gelu": True} if published.get("quick_gelu") or config.get("quick_gelu") else {}
    return EncoderSource("open_clip", architecture, tag or None, options, preprocess, None)


def build_module(source: EncoderSource) -> nn.Module:
    """Return the encoder's module with the library's initial values, pooled output [B, D], no classifier.

    Raises:
        UsageError: an option that the library does not take, or an architecture that it does not know.
    """
    try:
        if source.library == "timm":
            import timm

            return timm.create_model(source.architecture, pretrained=False, **({"num_classes": 0} | source.options))
        import open_clip
        from open_clip.model import _build_vision_tower  # the whole model would also build the text tower

        config = open_clip.get_model_config(source.architecture)
        options = dict(source.options)
        quick_gelu = bool(options.pop("quick_gelu", False))
        vision = {**config["vision_cfg"], "timm_model_pretrained": False, **options}
        return _build_vision_tower(config["embed_dim"], vision, quick_gelu=quick_gelu)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise UsageError(f"encoder '{source.name}' cannot be built with options {source.options} ({detail})") from error
