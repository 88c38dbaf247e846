"""Three sets of rendered faces with the structure of EmoNet-Face BIG, BINARY and HQ, as sources for packing.

Every sample is a pure function of (set, seed, index), so any number of processes can make them in any order. Persons
are drawn per set and never shared; ratings come from simulated observers of the rendered actions.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from emonet_lightning.errors import UsageError, nearest
from emonet_lightning.io import fingerprint, sha256_bytes
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.ratings.sequential import due_rounds
from emonet_lightning.synthesis import raters as observers
from emonet_lightning.synthesis.actions import NUM_ACTIONS
from emonet_lightning.synthesis.expressions import draw_intensities, load_expressions, perform
from emonet_lightning.synthesis.factors import describe_factors
from emonet_lightning.synthesis.identity import Identity, sample_identity, sample_scene
from emonet_lightning.synthesis.rater_presets import EMBEDDED
from emonet_lightning.synthesis.renderer import IMAGE_SIZE, MAX_SIZE, MIN_SIZE, FaceParams, photograph_face

SetName = Literal["big", "binary", "hq"]

_STREAM = {"big": 1, "binary": 2, "hq": 3}
_KIND: dict[str, Kind] = {"big": "dense", "binary": "binary", "hq": "rated"}
_COUNT = {"big": 4000, "binary": 1500, "hq": 500}
_FACES_PER_PERSON = {"big": 4, "binary": 3, "hq": 2}
_TARGET_RATERS = (0, 1, 3, 5)
_CONTRAST_RATERS = (2, 3, 4, 6)
_MODULES = (
    "actions", "canvas", "coverings", "curves", "expressions", "faces", "factors", "features", "geometry", "hair",
    "identity", "lighting", "rater_presets", "raters", "renderer", "skin",
)  # fmt: skip
_FILES = ("synthesis/expressions.yaml", "taxonomies/released_contrast_pairs.yaml", "ratings/sequential.py")
"""With the modules, all that decides about a sample."""


class RenderedFaces:
    """A set of rendered faces; see `emonet_lightning.packing.samples.Source`.

    - `big`: 4,000 faces, labelled 0..7 by a simulated machine, at most 5 emotions above 0.
    - `binary`: 1,500 faces; the prompted emotion is asked until a no, at most 3 times; its contrast once.
    - `hq`: 500 faces, 4 of 8 experts rate all emotions 0..7.
    """

    licence = "MIT"

    def __init__(self, which: SetName, count: int | None = None, seed: int = 0, size: int = IMAGE_SIZE) -> None:
        """Describe the set; nothing is rendered yet.

        Args:
            which: `big`, `binary` or `hq`.
            count: number of faces; the set's own by default.
            seed: another seed gives other persons, faces and raters.
            size: width and height in pixels, 64..512.

        Raises:
            UsageError: unknown set, or a size outside 64..512.
        """
        if which not in _STREAM:
            raise UsageError(f"rendered set '{which}' does not exist; {nearest(which, _STREAM)}")
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise UsageError(f"rendered faces of {size} pixels: choose a size of {MIN_SIZE} to {MAX_SIZE}")
        if count is not None and count < 1:
            raise UsageError(f"{count} rendered faces: ask for 1 or more")
        self.which = which
        self.kind: Kind = _KIND[which]
        self.name = f"rendered-{which}"
        self.count = _COUNT[which] if count is None else count
        self.seed = seed
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RawSample:
        """Render and rate face `index`; raises IndexError outside 0..len-1."""
        params, prompted, rng, intensities = self._face(index)
        slugs = load_expressions().slugs
        return RawSample(
            key=f"{self.which}-{index:05d}",
            image=photograph_face(params, self.size),
            ratings=self._rate(params.actions, prompted, rng),
            prompted=slugs[prompted],
            group=f"{self.which}-person-{self._person_number(index):05d}",
            meta={
                "generator": "rendered",
                "seed": self.seed,
                "index": index,
                "size": self.size,
                **describe_factors(params, intensities),
            },
        )

    def ratings(self, index: int) -> dict[str, dict[str, float]]:
        """Return the ratings of face `index` without rendering it."""
        params, prompted, rng, _ = self._face(index)
        return self._rate(params.actions, prompted, rng)

    def params(self, index: int) -> FaceParams:
        """Return what face `index` is rendered from."""
        return self._face(index)[0]

    def fingerprint(self) -> str:
        """Digest of the arguments and of the renderer's code: equal digests mean equal samples."""
        return fingerprint([self.which, self.count, self.seed, self.size, code_digest()])

    def _person_number(self, index: int) -> int:
        return index // _FACES_PER_PERSON[self.which]

    def _person(self, index: int) -> Identity:
        rng = np.random.default_rng([self.seed, _STREAM[self.which], 1, self._person_number(index)])
        return sample_identity(rng, NUM_ACTIONS)

    def _face(self, index: int) -> tuple[FaceParams, int, np.random.Generator, np.ndarray]:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has faces 0..{self.count - 1}, not {index}")
        stream = _STREAM[self.which]
        num_emotions = len(load_expressions().slugs)
        order = np.random.default_rng([self.seed, stream, 2, index // num_emotions]).permutation(num_emotions)
        prompted = int(order[index % num_emotions])
        rng = np.random.default_rng([self.seed, stream, 3, index])
        person = self._person(index)
        low = 3 if self.which == "big" else 4
        intensities = draw_intensities(prompted, rng, low)
        actions = perform(intensities, person, rng)
        return FaceParams(person, actions, sample_scene(rng)), prompted, rng, intensities

    def _rate(self, actions: np.ndarray, prompted: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
        if self.which == "big":
            return {"machine": _named(observers.label_by_machine(actions, rng))}
        return self._rate_binary(actions, prompted, rng) if self.which == "binary" else self._rate_hq(actions, rng)

    def _rate_binary(self, actions: np.ndarray, prompted: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
        table = load_expressions()
        experts = observers.draw_raters(EMBEDDED, self.seed, 7)
        contrast = int(table.contrast[prompted])
        ratings: dict[str, dict[str, float]] = {}
        turn, votes = rng.permutation(_TARGET_RATERS), list[bool]()
        while due_rounds(votes) > len(votes):
            expert = experts[turn[len(votes)]]
            votes.append(observers.says_yes(expert, prompted, actions, rng, asked=expert.asked))
            ratings.setdefault(expert.name, {})[table.slugs[prompted]] = float(votes[-1])
        number = int(rng.choice(_CONTRAST_RATERS))
        yes = observers.says_yes(experts[number], contrast, actions, rng)
        ratings.setdefault(experts[number].name, {})[table.slugs[contrast]] = float(yes)
        return ratings

    def _rate_hq(self, actions: np.ndarray, rng: np.random.Generator) -> dict[str, dict[str, float]]:
        experts = observers.draw_raters(EMBEDDED, self.seed, 8)
        chosen = sorted(rng.choice(len(experts), size=4, replace=False))
        return {experts[number].name: _named(observers.rate(experts[number], actions, rng)) for number in chosen}


def _named(levels: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Name the levels above 0; an emotion that is not named was rated 0."""
    return {slug: float(level) for slug, level in zip(load_expressions().slugs, levels, strict=True) if level > 0}


@cache
def code_digest() -> str:
    """Digest of all that decides how a face is drawn and what simulated observers say of it."""
    package = resources.files("emonet_lightning")
    files = [package / "synthesis" / f"{name}.py" for name in _MODULES] + [package / name for name in _FILES]
    return sha256_bytes(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files))
