"""Rendered faces under one condition at a time: the same persons, expressions and scenes at every level."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import cv2
import numpy as np

from emonet_lightning.robustness.conditions import Factor, Value
from emonet_lightning.synthesis.actions import NUM_ACTIONS
from emonet_lightning.synthesis.expressions import draw_intensities, load_expressions, perform, posture
from emonet_lightning.synthesis.factors import with_factor
from emonet_lightning.synthesis.identity import Identity, sample_identity, sample_scene
from emonet_lightning.synthesis.rater_presets import EMBEDDED
from emonet_lightning.synthesis.raters import draw_raters, rate
from emonet_lightning.synthesis.renderer import FaceParams, encode_jpeg, photograph_face, render_face

Picture = tuple[str, Callable[[], bytes]]
"""A name and what makes the encoded picture."""
_STREAM = 8081
_LEAST = 3
_NUM_RATERS = 8


class Face(NamedTuple):
    """One face, before a condition is set."""

    params: FaceParams
    resting: FaceParams
    """The same person in the same scene, with another posture and no expression."""
    emotion: str
    """Slug of the emotion that it shows above all."""


class Faces:
    """P persons times K emotions; face `p * K + k` shows emotion k above all.

    Args:
        num_persons: P.
        seed: of persons, expressions and scenes.
        size: of the pictures, pixels.
        slugs: emotions that are shown, all of the table of displays by default.
    """

    def __init__(self, num_persons: int, seed: int, size: int, slugs: list[str] | None = None) -> None:
        self.slugs = slugs or load_expressions().slugs
        self.num_persons, self.seed, self.size = num_persons, seed, size
        self.persons = [row // len(self.slugs) for row in range(len(self))]

    def __len__(self) -> int:
        return self.num_persons * len(self.slugs)

    @cached_property
    def _drawn(self) -> list[tuple[Face, np.ndarray]]:
        return [self._draw(row) for row in range(len(self))]

    @property
    def intensities(self) -> np.ndarray:
        """What the faces show, [N, K] of 0..7, columns as `slugs`."""
        columns = [load_expressions().slugs.index(slug) for slug in self.slugs]
        return np.stack([shown for _, shown in self._drawn]).astype(np.float64)[:, columns]

    def face(self, row: int) -> Face:
        """Return one face."""
        return self._drawn[row][0]

    def ratings(self) -> np.ndarray:
        """Return what simulated raters say of all undisturbed faces, [R, N, K]; they see the actions, not pixels."""
        columns = [load_expressions().slugs.index(slug) for slug in self.slugs]
        rng = np.random.default_rng([self.seed, _STREAM, 2])
        raters = draw_raters(EMBEDDED, self.seed, _NUM_RATERS)
        given = [[rate(rater, face.params.actions, rng) for face, _ in self._drawn] for rater in raters]
        return np.array(given, dtype=np.float64)[..., columns]

    def truth(self, factor: Factor) -> np.ndarray:
        """Return what the faces show at each level of a factor, [L, N, K]."""
        if factor.sets != "intensity":
            return np.repeat(self.intensities[None], len(factor.levels), axis=0)
        alone = np.tile(np.eye(len(self.slugs)), (self.num_persons, 1))
        return np.stack([level * alone for level in factor.levels])

    def pictures(self, factor: Factor) -> Iterator[Picture]:
        """Yield all levels of the first face, then of the second; named `FACTOR/LEVEL/ROW`."""
        for row in range(len(self)):
            for level, make in zip(factor.levels, self._levels(row, factor), strict=True):
                yield f"{factor.name}/{level:g}/{row}", make

    def styled(self, style: str, changes: dict[str, Value]) -> Iterator[Picture]:
        """Yield every face with some factors set; named `STYLE/ROW`."""
        for row in range(len(self)):
            yield f"{style}/{row}", self._photograph(_with(self.face(row).params, changes))

    def _levels(self, row: int, factor: Factor) -> list[Callable[[], bytes]]:
        face = self.face(row)
        together = dict(factor.together)
        if factor.sets == "intensity":
            resting = _with(face.resting, together)
            slug = f"intensity_{face.emotion}"
            return [self._photograph(with_factor(resting, slug, level)) for level in factor.levels]
        params = _with(face.params, together)
        if factor.sets in ("resolution", "camera_jpeg_quality"):
            return self._degraded(params, factor)
        return [self._photograph(with_factor(params, factor.sets, level)) for level in factor.levels]

    def _photograph(self, params: FaceParams) -> Callable[[], bytes]:
        return lambda: photograph_face(params, self.size)

    def _degraded(self, params: FaceParams, factor: Factor) -> list[Callable[[], bytes]]:
        """Change what was rendered once."""
        drawn: list[np.ndarray] = []

        def make(level: float) -> bytes:
            if not drawn:
                drawn.append(render_face(params, self.size))
            if factor.sets == "camera_jpeg_quality":
                return encode_jpeg(drawn[0], int(level))
            side = max(1, min(self.size, round(level)))
            small = cv2.resize(drawn[0], (side, side), interpolation=cv2.INTER_AREA)
            return encode_jpeg(small, params.scene.jpeg_quality)

        return [partial(make, level) for level in factor.levels]

    def _draw(self, row: int) -> tuple[Face, np.ndarray]:
        person_number, column = self.persons[row], row % len(self.slugs)
        emotion = load_expressions().slugs.index(self.slugs[column])
        person = self._person(person_number)
        rng = np.random.default_rng([self.seed, _STREAM, 1, person_number, emotion])
        intensities = draw_intensities(emotion, rng, _LEAST)
        actions = perform(intensities, person, rng)
        scene = replace(sample_scene(rng), occlusion=0, occlusion_size=0.0)
        params = FaceParams(person, actions, scene)
        return Face(params, FaceParams(person, posture(rng), scene), self.slugs[column]), intensities

    def _person(self, number: int) -> Identity:
        return sample_identity(np.random.default_rng([self.seed, _STREAM, 0, number]), NUM_ACTIONS)


def _with(params: FaceParams, changes: dict[str, Value]) -> FaceParams:
    for name, value in changes.items():
        params = with_factor(params, name, value)
    return params
