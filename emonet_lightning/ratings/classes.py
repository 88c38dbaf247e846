"""Class labels as ratings: a class names an emotion, or none."""

from emonet_lightning.errors import DataError
from emonet_lightning.taxonomy import Taxonomy


def class_emotions(names: list[str], taxonomy: Taxonomy, classes: dict[str, str], where: str) -> dict[str, str | None]:
    """Map class names to slugs: by `classes`, else by the taxonomy; None where no emotion is shown.

    Raises:
        DataError: a class that is no emotion; offers the nearest and the option.
    """
    result: dict[str, str | None] = {}
    for name in names:
        if name == "":
            raise DataError(f"{where}: an image without class; fill the column, or leave the image out")
        target = classes.get(name, name)
        if target.lower() == "none":
            result[name] = None
            continue
        try:
            result[name] = taxonomy.slugs[taxonomy.index(target.replace("_", " "), where)]
        except DataError:
            try:
                result[name] = taxonomy.slugs[taxonomy.index(target, where)]
            except DataError as error:
                raise DataError(f"{error}; or map the class with --classes.{name}=EMOTION (or none)") from None
    if all(slug is None for slug in result.values()):
        raise DataError(f"{where}: no class names an emotion")
    return result


def class_answers(name: str, emotions: dict[str, str | None], taxonomy: Taxonomy) -> dict[str, float]:
    """Return the ratings of one class: its emotion at the highest level, all other classes' emotions at 0."""
    own = emotions[name]
    high = {dimension.slug: dimension.high for dimension in taxonomy.dimensions}
    return {
        slug: high[slug] if slug == own else 0.0 for slug in sorted({s for s in emotions.values() if s is not None})
    }
