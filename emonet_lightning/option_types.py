"""Which options of a run may be null, by the types of what takes them."""

import functools
import types
import typing

from lightning.pytorch import Trainer

from emonet_lightning.callbacks import BestHeads
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.data.parts import Part
from emonet_lightning.encoder_sources import EncoderSpec
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.transforms import Augmentation

_SECTIONS = {"model": EmpathicInsightFace, "trainer": Trainer, "best_heads": BestHeads, "model.encoder": EncoderSpec}
_INSIDE = {"parts": Part, "augmentation": Augmentation}
_ALONE = {"num_draws", "checkpoint_every", "max_stuck_restarts", "export", "figures"}


def needs_value(field: str) -> bool:
    """Whether an option, by its dotted field, has a type that null is no value of."""
    section, _, name = field.rpartition(".")
    if section in _SECTIONS:
        return not _takes_null(_SECTIONS[section], name)
    if section in ("data.init_args", "test_data.init_args"):
        return any(not _takes_null(cls, name) for cls in (FaceDataModule, Part))
    for inside, cls in _INSIDE.items():
        if section.partition("[")[0].endswith(f"init_args.{inside}"):
            return not _takes_null(cls, name)
    return field in _ALONE


@functools.cache
def _takes_null(cls: type, name: str) -> bool:
    hint = typing.get_type_hints(vars(cls)["__init__"]).get(name)
    if hint is None or hint is typing.Any:
        return True
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return is_union and type(None) in typing.get_args(hint)
