"""EmotionRecognizer: images in, named scores out. Needs trained heads and their encoder, and no training framework.

The one trade-off: batches are not padded to the static size that evaluation uses, because one photo on a CPU would then
cost as much as 64; the last bits of a score may therefore depend on the batch it was computed in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from emonet_lightning.bundle import MANIFEST_FILE, WEIGHTS_FILE, HeadsBundle
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_fingerprint
from emonet_lightning.errors import DataError, EmoNetError, EnvironmentProblem, MissingInputError, UsageError
from emonet_lightning.heads import WIDTHS
from emonet_lightning.image_reading import ImageLike, read_image
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means
from emonet_lightning.transforms import EvalTransform

PAPER_ENCODER = EncoderSpec(name="timm/vit_so400m_patch16_siglip_384.v2_webli", interpolation="bilinear")
"""SigLIP2 so400m patch16 384 with the interpolation of its own processor; what released heads were trained on."""
_WINDOW = 2  # batches that are decoded ahead


def softmax(mean_subtracted: np.ndarray, num_emotions: int) -> np.ndarray:
    """Released post-processing (verified on the released outputs): softmax at temperature 1 over the emotions.

    Args:
        mean_subtracted: [N, K], scores minus neutral means.
        num_emotions: the first columns that take part.

    Returns:
        [N, K] float64, NaN in the extra dimensions.
    """
    values = mean_subtracted[:, :num_emotions].astype(np.float64)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares = np.full(mean_subtracted.shape, np.nan)
    shares[:, :num_emotions] = powers / powers.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True)
class Predictions:
    """Scores [N, K] float32 on the taxonomy's scale, one row per image in the order given."""

    scores: np.ndarray
    taxonomy: Taxonomy
    neutral_means: np.ndarray | None = None
    """Of all rows [K], or of each row's own person [N, K]; see `baselines.personal_means`."""

    @property
    def names(self) -> list[str]:
        """Display names of the columns."""
        return self.taxonomy.names

    @property
    def slugs(self) -> list[str]:
        """File and metric names of the columns."""
        return self.taxonomy.slugs

    @cached_property
    def mean_subtracted(self) -> np.ndarray:
        """Scores minus the mean score of neutral faces [N, K] float64.

        Raises:
            DataError: these heads come without neutral means; raw scores are never passed off as subtracted ones.
        """
        if self.neutral_means is None:
            raise DataError(
                "these heads come without neutral means, so there is no mean-subtracted score or softmax; fit the "
                "means on neutral images, or use the plain scores"
            )
        return self.scores.astype(np.float64) - self.neutral_means

    @cached_property
    def softmax(self) -> np.ndarray:
        """Softmax over the emotions' mean-subtracted scores [N, K]; NaN in the extra dimensions.

        Raises:
            DataError: these heads come without neutral means.
        """
        return softmax(self.mean_subtracted, self.taxonomy.num_emotions)

    def top(
        self, k: int = 5, by: Literal["scores", "mean_subtracted", "softmax"] = "scores"
    ) -> list[list[tuple[str, float]]]:
        """Return for each image its `k` strongest emotions as (name, value), strongest first; no extra dimensions."""
        values = getattr(self, by)[:, : self.taxonomy.num_emotions]
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return [
            [(self.names[column], float(row[column])) for column in columns]
            for row, columns in zip(values, order, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.scores)


class EmotionRecognizer:
    """Heads and their encoder on a device; call it with images.

    >>> recognizer = EmotionRecognizer.load("runs/quickstart/latest")  # doctest: +SKIP
    >>> recognizer("face.jpg").top(3)  # doctest: +SKIP
    """

    def __init__(self, bundle: HeadsBundle, encoder: FrozenEncoder, device: str | None = None) -> None:
        if bundle.heads.in_features != encoder.dim:
            raise DataError(
                f"these heads take {bundle.heads.in_features} features, the encoder gives {encoder.dim}; "
                "use the encoder that they were trained on"
            )
        self.device = _device(device)
        self.bundle = bundle
        self.encoder = encoder.to(self.device)
        self.bundle.heads.to(self.device)
        self.transform = EvalTransform(encoder.preprocess)
        means = bundle.neutral_means
        self.neutral_means = None if means is None else means.double().cpu().numpy()

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: str | None = None,
        encoder: EncoderSpec | None = None,
        weights: str | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> "EmotionRecognizer":
        """Load from a run's folder, exported heads, or a folder of released `model_<slug>_best.pth` files.

        Args:
            folder: where the heads are.
            device: `cpu`, `cuda`, `cuda:1`; default: the GPU if there is one.
            encoder: default: the recorded one, and the paper's for released files, which do not say.
            weights: where the encoder's weight file is now, e.g. one that `fetch encoder` brought.
            taxonomy: columns that the caller relies on; compared with the heads'.

        Raises:
            MissingInputError: no heads in the folder.
            DataError: damaged heads, another taxonomy or order, another encoder than theirs.
            EnvironmentProblem: no such device; or the encoder's weights are not here and there is no network.
        """
        bundle = load_bundle(folder, taxonomy, encoder)
        return cls(bundle, FrozenEncoder.load(encoder_of(bundle, str(folder), encoder, weights)), device)

    def __call__(self, images: ImageLike | Sequence[ImageLike], batch_size: int = 32) -> Predictions:
        """Score one image or a sequence of them.

        Args:
            images: paths, PIL images, encoded bytes or uint8 arrays [H, W, 3] RGB; an array [N, H, W, 3] is N images.
            batch_size: images per forward pass.

        Raises:
            MissingInputError: a path that does not exist.
            DataError: an image that cannot be read, or an array of another type or shape; names it.
        """
        single = isinstance(images, Image.Image | str | Path | bytes) or getattr(images, "ndim", 4) == 3
        listed: Sequence[Any] = [images] if single else list(images)  # type: ignore[arg-type]
        named = ((str(i) if isinstance(i, str | Path) else f"image {n}", i) for n, i in enumerate(listed))
        rows = [scores for _, scores in self.stream(named, batch_size)]
        scores = np.concatenate(rows) if rows else np.empty((0, len(self.bundle.taxonomy)), np.float32)
        return self.predictions(scores)

    def predictions(self, scores: np.ndarray) -> Predictions:
        """Put scores [N, K] together with their names and neutral means."""
        return Predictions(scores, self.bundle.taxonomy, self.neutral_means)

    def stream(
        self,
        images: Iterable[tuple[str, ImageLike | torch.Tensor | Callable[[], bytes | np.ndarray]]],
        batch_size: int = 32,
        on_error: Callable[[str, EmoNetError], None] | None = None,
        num_threads: int = 4,
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Score any number of named images, decoding ahead in threads; yields names and scores [B, K] per batch.

        Args:
            images: (name, image, function that returns one (bytes or pixels), or what `prepare` returned).
            batch_size: images per forward pass.
            on_error: called with the name and error of an unreadable image, which is then left out; None raises it.
            num_threads: threads that decode.
        """
        for names, features in self.stream_features(images, batch_size, on_error, num_threads):
            yield names, self.scores_of(features)

    def scores_of(self, features: torch.Tensor) -> np.ndarray:
        """Return the heads' scores [B, K] of features [B, D]."""
        return self.bundle.scores(features.to(self.device)).cpu().numpy()

    def stream_features(
        self,
        images: Iterable[tuple[str, ImageLike | torch.Tensor | Callable[[], bytes | np.ndarray]]],
        batch_size: int = 32,
        on_error: Callable[[str, EmoNetError], None] | None = None,
        num_threads: int = 4,
    ) -> Iterator[tuple[list[str], torch.Tensor]]:
        """Encode any number of named images; as `stream`, with the frozen encoder's features [B, D] on its device."""
        source = iter(images)
        with ThreadPoolExecutor(max(1, num_threads)) as pool:

            def submit() -> list[tuple[str, Future[np.ndarray]]]:
                return [(name, pool.submit(self._pixels, name, image)) for name, image in islice(source, batch_size)]

            waiting = [submit() for _ in range(_WINDOW)]
            while waiting[0]:
                names, pixels = [], []
                for name, future in waiting.pop(0):
                    try:
                        pixels.append(future.result())
                        names.append(name)
                    except EmoNetError as error:
                        if on_error is None:
                            pool.shutdown(wait=False, cancel_futures=True)
                            raise
                        on_error(name, error)
                waiting.append(submit())
                if names:
                    yield names, self.encoder(torch.from_numpy(np.stack(pixels)).to(self.device))

    def prepare(self, pixels: np.ndarray) -> torch.Tensor:
        """Resize pixels [H, W, 3] uint8 RGB to the encoder's input [3, S, S] uint8, which `stream` takes as it is."""
        return torch.from_numpy(self.transform(pixels if pixels.flags.writeable else pixels.copy()))

    def _pixels(self, name: str, image: Any) -> np.ndarray:
        return (image if isinstance(image, torch.Tensor) else self.prepare(read_image(name, image))).numpy()


def load_bundle(
    folder: Path | str, taxonomy: Taxonomy | None = None, encoder: EncoderSpec | None = None
) -> HeadsBundle:
    """Read heads from a run's folder, exported heads, or released `.pth` files.

    Of a run that has not finished, the heads of its latest stage are read.

    Released files say neither their encoder (default: the paper's) nor their neutral means, which are known of the
    large heads only.

    Raises:
        MissingInputError: the folder holds none of the three.
        DataError: damaged, or of another taxonomy or order.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder; give a run, exported heads or released .pth files")
    if (folder / MANIFEST_FILE).is_file():
        return HeadsBundle.load(folder, taxonomy)
    released = {path.name for path in folder.glob("model_*_best.pth")}
    if not released:
        stages = sorted(folder.glob(f"*/{WEIGHTS_FILE}"), key=lambda path: path.stat().st_mtime_ns)
        if not stages:
            raise MissingInputError(
                f"{folder}: holds no {MANIFEST_FILE} and no model_*_best.pth: no heads were exported here (yet)"
            )
        return HeadsBundle.load(stages[-1].parent, taxonomy)
    if taxonomy is None:
        wide = Taxonomy.load("emonet40", extra_dimensions=True)
        extra = all(f"model_{slug}_best.pth" in released for slug in wide.slugs[wide.num_emotions :])
        taxonomy = wide if extra else Taxonomy.load("emonet40")
    named = {entry.name: getattr(encoder or PAPER_ENCODER, entry.name) for entry in fields(EncoderSpec)}
    bundle = HeadsBundle.load_released(folder, taxonomy, named)
    if bundle.heads.widths == WIDTHS["large"] and taxonomy.name == "emonet40":
        bundle.neutral_means = torch.tensor(released_neutral_means(taxonomy))
        bundle.neutral_origin = {"origin": "released constants (released outputs: raw minus mean-subtracted)"}
    return bundle


def encoder_of(
    bundle: HeadsBundle, where: str, encoder: EncoderSpec | None = None, weights: str | None = None
) -> EncoderSpec:
    """Return the encoder to use with heads: `encoder` or the recorded one, its weight file at `weights` if given.

    Raises:
        DataError: not the encoder that the heads in `where` were trained on.
    """
    known = {entry.name for entry in fields(EncoderSpec)}
    spec = encoder or EncoderSpec(**{name: value for name, value in bundle.encoder.items() if name in known})
    if weights is not None:  # a self-describing file is named by its own path
        spec = replace(spec, name=weights) if spec.name.endswith(".safetensors") else replace(spec, weights=weights)
    bundle.check_encoder(encoder_fingerprint(spec), where)
    return spec


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        if "Invalid device string" in str(error) or "Expected one of" in str(error):
            raise UsageError(f"device '{device}' is not known; write cpu, cuda or cuda:N") from error
        reason = " ".join(str(error).splitlines()[0].split())
        raise EnvironmentProblem(f"device '{device}' cannot be used here ({reason}); use --device cpu") from error
