"""What a rater sees: labelling configurations of Label Studio, one per kind of question.

Built as XML by the standard library, so a name with `&` or `<` stays a name. Tasks fill in the variables (`$image`,
`$ask`, ...); nothing else about a sample reaches the rater.
"""

import html
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from emonet_lightning.errors import UsageError
from emonet_lightning.taxonomy import Dimension, Taxonomy

ANSWER, AGREED = "answer", "agreed"
"""Names of the choice in a yes/no question or a pair, and in the consent."""
YES, NO, LEFT, RIGHT = "yes", "no", "left", "right"
MAX_LINES = 5
"""Of each side of a pair, as in the released study."""
OTHER = "Emotions"
"""Group of emotions that belong to no family."""

_STYLE = """
.lsf-sidepanels__wrapper, .lsf-toolbar { display: none !important; }
.lsf-sidepanels, .lsf-sidepanels__content { padding-right: 0 !important; margin-right: 0 !important;
  max-width: none !important; width: 100% !important; }
.emonet-row { display: flex; gap: 24px; align-items: flex-start; }
.emonet-face { flex: 1 1 0; min-width: 0; position: sticky; top: 0; }
.emonet-ask { flex: 1 1 0; min-width: 0; }
.emonet-middle { flex: 2 1 0; min-width: 0; }
.emonet-side { flex: 1 1 0; min-width: 0; min-height: 420px; padding: 12px; text-align: center;
  overflow-wrap: break-word; border: 1px solid #c8c8d4; border-radius: 8px; }
.emonet-keywords { margin: 8px 0 24px; }
.emonet-keywords .lsf-htx-richtext { font-size: 20px; line-height: 1.6; }
.emonet-row .lsf-choices { display: flex; gap: 16px; }
.emonet-middle .lsf-choices { justify-content: center; }
.emonet-middle .lsf-object { display: flex; justify-content: center; }
.emonet-ask .ant-collapse-header { font-size: 18px; font-weight: 600; }
.emonet-row .lsf-choice__item { border: 2px solid #4c5fa9; border-radius: 10px; padding: 10px 28px; font-size: 22px; }
.emonet-row .lsf-choice__item label { font-size: 22px; }
.emonet-slider { padding: 4px 0 10px; border-bottom: 1px solid #e4e4ec; }
.emonet-slider .lsf-number input { width: 85%; }
.emonet-slider .lsf-number output { font-size: 20px; font-weight: 600; margin-left: 14px !important; }
.emonet-slider .lsf-number input[value="UNTOUCHED"] { opacity: 0.35; }
.emonet-slider .lsf-number input[value="UNTOUCHED"] + output { visibility: hidden; }
"""


def yes_no_config() -> str:
    """Return the configuration of a yes/no question: a large face, the keywords, keys y and n."""
    root = _root()
    row = _view(root, "emonet-row")
    _image(_view(row, "emonet-face"))
    side = _view(row, "emonet-ask")
    SubElement(side, "Header", value="Does this face show", size="5")
    SubElement(side, "Header", value="$ask", size="2")
    SubElement(_view(side, "emonet-keywords"), "Text", name="keywords", value="$keywords")
    _choices(side, ANSWER, "image", {YES: "y", NO: "n"})
    return _text(root)


def slider_config(taxonomy: Taxonomy) -> str:
    """Return the configuration of ratings: a slider per emotion over its levels, in families that fold.

    Label Studio's slider without a default rests in the middle, where a click leaves nothing, and with one it exports
    that for whoever touched nothing. So a slider rests one step below its lowest level, which no rater can mean.

    Raises:
        UsageError: levels that no slider of whole numbers has.
    """
    root = _root(untouched(taxonomy.dimensions[0]))
    row = _view(root, "emonet-row")
    _image(_view(row, "emonet-face"))
    side = _view(row, "emonet-ask")
    families: dict[str, list[int]] = {}
    for column, dimension in enumerate(taxonomy.dimensions):
        families.setdefault(dimension.family or OTHER, []).append(column)
    low, high = taxonomy.dimensions[0].low, taxonomy.dimensions[0].high
    SubElement(
        side, "Header", size="5", value=f"From {low:g} (not at all) to {high:g} (as strong as can be); what you do not "
        "see, leave untouched"
    )  # fmt: skip
    folds = SubElement(side, "Collapse", accordion="false", open="true" if len(families) == 1 else "false")
    for family, columns in families.items():
        panel = SubElement(folds, "Panel", value=family)
        for column in columns:
            dimension = taxonomy.dimensions[column]
            if not (float(dimension.low).is_integer() and float(dimension.high).is_integer()):
                raise UsageError(
                    f"taxonomy '{taxonomy.name}': levels {dimension.low:g} to {dimension.high:g} of "
                    f"'{dimension.name}' are no whole numbers; sliders need such levels"
                )
            block = _view(panel, "emonet-slider")
            SubElement(block, "Header", value=dimension.name, size="5")
            if dimension.keywords:
                SubElement(block, "Text", name=f"keywords_{column}", value=keywords_of(dimension.keywords))
            SubElement(
                block,
                "Number",
                name=slider_name(dimension.slug),
                toName="image",
                min=str(untouched(dimension)),
                defaultValue=str(untouched(dimension)),
                max=f"{dimension.high:g}",
                step="1",
                slider="true",
            )
    return _text(root)


def pair_config() -> str:
    """Return the configuration of a pair: both lists beside the face, the first lines largest, one must be chosen."""
    root = _root()
    row = _view(root, "emonet-row")
    for side in (LEFT, RIGHT):
        if side == RIGHT:
            middle = _view(row, "emonet-middle")
            _image(middle)
            _choices(middle, ANSWER, "image", {LEFT: "f", RIGHT: "j"})
        box = _view(row, "emonet-side")
        for rank in range(1, MAX_LINES + 1):
            SubElement(box, "Header", value=f"${side}{rank}", size=str(min(rank + 2, 5)))
    return _text(root)


def consent_config() -> str:
    """Return the configuration of the consent: its text, and one box that must be ticked."""
    root = _root()
    SubElement(root, "HyperText", name="text", value="$text")
    choices = SubElement(
        root, "Choices", name=AGREED, toName="text", choice="multiple", required="true",
        requiredMessage="Tick the box to agree; or close this page, and nothing is stored."
    )  # fmt: skip
    SubElement(choices, "Choice", value=YES, alias=YES, html=html.escape("I have read this and agree to take part"))
    return _text(root)


def slider_name(slug: str) -> str:
    """Return the name of an emotion's slider in configuration and export."""
    return f"rating_{slug}"


def breakable(name: str) -> str:
    """Return a name that may be broken after a slash, which browsers do not do."""
    return name.replace("/", "/\u200b")


def keywords_of(keywords: tuple[str, ...]) -> str:
    """Return keywords as a rater reads them, each once."""
    return ", ".join(dict.fromkeys(keywords))


def untouched(dimension: Dimension) -> int:
    """Return where a slider rests, and what Label Studio exports for it, as long as nobody touches it."""
    return int(dimension.low) - 1


def _root(resting: int = -1) -> Element:
    root = Element("View")
    SubElement(root, "Style").text = _STYLE.replace("UNTOUCHED", str(resting))
    return root


def _view(parent: Element, name: str) -> Element:
    return SubElement(parent, "View", className=name)


def _image(parent: Element) -> None:
    SubElement(parent, "Image", name="image", value="$image", zoom="true", zoomControl="false", width="100%")


def _choices(parent: Element, name: str, to: str, keys: dict[str, str]) -> None:
    choices = SubElement(
        parent, "Choices", name=name, toName=to, choice="single-radio", showInline="true", required="true",
        requiredMessage="Choose one."
    )  # fmt: skip
    for value, key in keys.items():
        SubElement(choices, "Choice", value=value, hotkey=key)


def _text(root: Element) -> str:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
