"""Writing a sweep's report: `ablation.json`, `ablation.md` and figures, all from one content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emonet_lightning.io import atomic_write, make_folder, write_json
from emonet_lightning.sweeping.report_text import ablation_text

CONTENT_FILE, REPORT_FILE = "ablation.json", "ablation.md"


def write_ablation(out: Path, found: Mapping[str, Any], name: str) -> list[Path]:
    """Write the report of a sweep; equal content gives equal bytes.

    Args:
        out: folder; created where there is none.
        found: of `findings`.
        name: of the sweep.

    Returns:
        Paths written, `ablation.md` first.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import drawing  # here: matplotlib loads slowly
    from emonet_lightning.sweeping import report_figures

    make_folder(out / "figures")
    drawn = {"pareto": report_figures.pareto(found)}
    if found["differences"]:
        drawn["differences"] = report_figures.differences(found)
    if found["curves"]:
        drawn["curves"] = report_figures.curves(found)
    if found["scaling"]:
        drawn["scaling"] = report_figures.scaling(found)
    paths = [path for key, figure in drawn.items() for path in drawing.save(figure, out / "figures", key)]
    write_json(out / CONTENT_FILE, found)
    atomic_write(out / REPORT_FILE, ablation_text(found, name))
    return [out / REPORT_FILE, out / CONTENT_FILE, *paths]
