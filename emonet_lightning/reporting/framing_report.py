"""Whether classes are told without the face, in words: for the report of a transfer to real faces and its terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from emonet_lightning.evaluation.framing import BOX, COUNTED, PHOTO, PLACE, SURROUNDINGS
from emonet_lightning.reporting.markdown import estimate, interval, number, table
from emonet_lightning.reporting.transfer_report import p_value

FRAMING_NAMES = {
    PLACE: "not the face: eyes' place in the photo",
    SURROUNDINGS: "not the face: surroundings",
    BOX: "size of the face's box (not counted)",
    PHOTO: "size of the photo (not counted)",
}
"""Probe -> its name in tables and figures."""


def framing_line(content: Mapping[str, Any]) -> str:
    """Return what the check of framing found, as one line without markup.

    Args:
        content: what transfer.json holds of a transfer to real faces.
    """
    found = content["framing"]
    probes = {name: found["probes"][name] for name in COUNTED if found["probes"][name]}
    told = {
        name: f"{FRAMING_NAMES[name].removeprefix('not the face: ')} {_beside_chance(probes[name])}" for name in probes
    }
    cut = content["faces"]["cut"]
    if not probes:
        return (
            f"framing is not checked: a face was found in {found['num_faces']} of {content['images']['num_images']} "
            "images, too few"
        )
    if found["framing"]:
        where = "around the face, also in the crops" if cut else "in framing or background"
        which = "; ".join(told[name] for name in found["framing"])
        remedy = "" if cut else "; see --faces largest"
        return (
            f"classes differ {where}: what is not the face tells them ({which}); "
            f"the probe's {number(content['headline']['probe']['value'])} is no measure of expression alone{remedy}"
        )
    rest = (
        f"{told[SURROUNDINGS]} is not above chance"
        if SURROUNDINGS in told
        else "surroundings cannot be looked at, faces reach everywhere"
    )
    if found["photos"]:
        return f"classes differ in the framing of the photos ({told[PLACE]}), which crops do not show; in these, {rest}"
    shown = "in the photos" if cut else "in the images"
    return f"no difference in framing is found between the classes: {shown}, {told.get(PLACE, '-')} and {rest}"


def framing_sections(content: Mapping[str, Any]) -> Iterable[str]:
    """Yield the parts of the report that say whether classes are told without the face."""
    found, line = content["framing"], framing_line(content)
    yield (
        "The same kind of probe, on the same folds, on what is not the face. Where it tells the classes, a probe on "
        "the features may have learnt that in place of the expression."
    )
    yield f"**{line[0].upper()}{line[1:]}.**"
    level = f"{content['bootstrap']['level']:.0%}"
    rows = []
    for name, probe in found["probes"].items():
        if probe is None:
            rows.append([FRAMING_NAMES[name], "-", "-", "cannot be looked at", "-", "-"])
            continue
        by_chance = probe["chance"]
        rows.append(
            [
                FRAMING_NAMES[name],
                str(probe["num_numbers"]),
                str(probe["n"]),
                estimate(probe),
                f"{number(by_chance['value'])} {interval(by_chance)}",
                p_value(by_chance["p"]),
            ]
        )
    header = ["probe", "numbers it sees", "images", f"accuracy [{level}]", f"shuffled labels [{level} of them]", "p"]
    yield table(header, rows)


def _beside_chance(probe: Mapping[str, Any]) -> str:
    return f"{estimate(probe)}, shuffled labels {number(probe['chance']['value'])}"
