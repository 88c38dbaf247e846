"""Faces drawn for the prompts of a design: each prompt's emotion, age and gender on a person of its own."""

import numpy as np

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.io import fingerprint
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.synthesis.actions import NUM_ACTIONS
from emonet_lightning.synthesis.expressions import draw_intensities, load_expressions, perform
from emonet_lightning.synthesis.faces import code_digest
from emonet_lightning.synthesis.factors import describe_factors
from emonet_lightning.synthesis.identity import sample_identity, sample_scene
from emonet_lightning.synthesis.prompts import Prompts
from emonet_lightning.synthesis.raters import label_by_machine
from emonet_lightning.synthesis.renderer import IMAGE_SIZE, FaceParams, photograph_face

_MASCULINE = {"man": 0.85, "woman": 0.15, "non-binary person": 0.5}
_AGES = (20.0, 80.0)
_LEAST = 3  # intensity of what was asked for


class DesignedFaces:
    """Source for packing. Ethnicity is not drawn: skin and hair colours are chance, whatever a prompt says.

    Args:
        prompts: of a design, read back.
        labelled: with the simulated machine's labels, as BIG; else without any, as faces that experts will see.
        size: of the images in pixels.
        name: of the set.
    """

    kind: Kind = "dense"
    licence = "MIT"

    def __init__(self, prompts: Prompts, labelled: bool, size: int = IMAGE_SIZE, name: str = "designed") -> None:
        slugs = load_expressions().slugs
        for record in prompts.records:
            if record.get("prompted") not in slugs:
                raise DataError(
                    f"{prompts.path}: prompt '{record['id']}' asks for '{record.get('prompted')}', which is not drawn; "
                    f"{nearest(str(record.get('prompted')), slugs)}"
                )
        self.prompts = prompts
        self.labelled = labelled
        self.size = size
        self.name = name

    def __len__(self) -> int:
        return len(self.prompts.records)

    def __getitem__(self, index: int) -> RawSample:
        """Render the face of prompt `index`."""
        record = self.prompts.records[index]
        params, intensities, rng = self._face(index)
        ratings = {}
        if self.labelled:
            levels = label_by_machine(params.actions, rng)
            named = zip(load_expressions().slugs, levels.tolist(), strict=True)
            ratings = {"machine": {slug: float(level) for slug, level in named if level > 0}}
        return RawSample(
            key=record["id"],
            image=photograph_face(params, self.size),
            ratings=ratings,
            prompted=record["prompted"],
            group=record["id"],
            meta={**record, "generator": "rendered", **describe_factors(params, intensities)},
        )

    def intensities(self) -> np.ndarray:
        """Return what all faces show, [N, K] of 0..7, without rendering them."""
        return np.stack([self._face(index)[1] for index in range(len(self))]).astype(np.float64)

    def params(self, index: int) -> FaceParams:
        """Return what the face of prompt `index` is rendered from."""
        return self._face(index)[0]

    def fingerprint(self) -> str:
        """Digest of the prompts and of the renderer's code."""
        return fingerprint([self.prompts.digest, self.labelled, self.size, code_digest()])

    def _face(self, index: int) -> tuple[FaceParams, np.ndarray, np.random.Generator]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has faces 0..{len(self) - 1}, not {index}")
        record = self.prompts.records[index]
        rng = np.random.default_rng(record["seed"])
        age, masculine = _age(record.get("age")), _MASCULINE.get(str(record.get("gender")))
        person = sample_identity(rng, NUM_ACTIONS, age=age, masculine=masculine)
        intensities = draw_intensities(load_expressions().slugs.index(record["prompted"]), rng, _LEAST)
        actions = perform(intensities, person, rng)
        return FaceParams(person, actions, sample_scene(rng)), intensities, rng


def _age(years: str | float | None) -> float | None:
    """Return the renderer's age, 0 young to 1 old; None, drawn at random, where the design says nothing of it."""
    try:
        value = float(years) if years is not None else None
    except ValueError:
        return None
    return None if value is None else float(np.clip((value - _AGES[0]) / (_AGES[1] - _AGES[0]), 0, 1))
