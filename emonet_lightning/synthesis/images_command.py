"""The command `synthesize images`: a design of prompts becomes a packed set of images."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.table import Table

from emonet_lightning import slurm
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import fingerprint, read_json
from emonet_lightning.local_paths import expand_home
from emonet_lightning.machine import torch_device
from emonet_lightning.messages import say
from emonet_lightning.packing.commands import split_shares
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.splits import check_shares
from emonet_lightning.synthesis.blocks import GeneratedImages, Kept
from emonet_lightning.synthesis.gates import Gates
from emonet_lightning.synthesis.pipelines import (
    Generator,
    PipelineSource,
    Sampling,
    call_options,
    find_pipeline,
    find_scheduler,
    versions,
)
from emonet_lightning.synthesis.prompts import Prompts, read_prompts
from emonet_lightning.synthesis.text_to_image import REPORT, Draw, Run, generate
from emonet_lightning.taxonomy import Taxonomy


def images_command(
    design: str,
    model: str,
    out: str,
    revision: str | None = None,
    sampling: Sampling = Sampling(),
    gates: Gates = Gates(),
    batch_size: PositiveInt = 8,
    device: str = "auto",
    rank: int | None = None,
    world_size: int | None = None,
    format: Literal["jpg", "png"] = "jpg",
    quality: PositiveInt = 95,
    taxonomy: str = "emonet40",
    splits: dict[str, float] | str | None = None,
    licence: str = "unknown",
    progress: bool = True,
) -> None:
    """Generate an image of each prompt with a pipeline of diffusers, and pack them as a set with the prompted labels.

    A call that was stopped or killed continues where it was, and ends with the same bytes. Several processes (`rank` of
    `world_size`, or the tasks of a Slurm array) share the images if they see the same folder; the one that makes the
    last of them finishes the set. Weights are read from safetensors only. What was dropped is in
    `OUT/generation/report.json` and `dropped.jsonl`.

    Args:
        design: JSON lines that `synthesize design` made, or your own with `id` and `prompt`.
        model: folder of a pipeline, or its name on the hub (OWNER/NAME), fetched if it is not in the cache.
        out: folder of the packed set.
        revision: commit, tag or branch of a pipeline on the hub; recorded as the commit.
        sampling: steps, guidance, scheduler, size, negative prompt and precision.
        gates: what an image must pass; what is dropped is made again with another seed, up to `attempts` times.
        batch_size: images made at once; seeds do not depend on it, the last bits of an image may.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        rank: which of the processes that share the work this is; default: of a Slurm array, the task's place in it.
        world_size: how many processes share the work; default: of a Slurm array, its number of tasks.
        format: of the images.
        quality: of a JPEG, 1 to 100.
        taxonomy: `emonet40`, or a YAML file of your own emotions: the one the design was made with.
        splits: share of each split, as `--splits train=0.9,val=0.1`; all `train` by default. Images of one prompt stay
            in one split.
        licence: of the images, kept in the manifest; that of the pipeline may say.
        progress: show a progress bar and what was found.

    Raises:
        UsageError: an option that does not fit, or a folder that holds something else.
        MissingInputError: no such file or folder.
        DataError: the design or the pipeline is damaged, or no image passed the gates.
        EnvironmentProblem: diffusers, the pipeline, or a device is missing here; says how to have it.
    """
    if quality > 100:
        raise UsageError(f"--quality {quality}: must be 1 to 100")
    rank, world_size, _ = slurm.array_share(rank, world_size)
    gates.check()
    columns, shares = Taxonomy.load(taxonomy), split_shares(splits)
    check_shares(shares or {"train": 1.0})
    prompts = read_prompts(Path(design))
    _check_emotions(prompts, columns)
    pipeline = find_pipeline(model, revision)
    scheduler = find_scheduler(sampling.scheduler) if sampling.scheduler else pipeline.scheduler
    options = call_options(pipeline, sampling)
    place = torch_device(device)
    recorded = _recorded(pipeline, scheduler, options, sampling)
    plan: dict[str, Any] = {
        "design": prompts.digest, "prompts": len(prompts.records), "taxonomy": columns.digest, **recorded,
        "batch_size": batch_size, "format": format, "quality": quality, "splits": shares, "gates": gates.recorded(),
        "device": place.type, "made_with": versions(),
    }  # fmt: skip
    folder = expand_home(out)
    run = Run(prompts, folder, columns, gates, plan, batch_size, format, quality, shares, rank, world_size, progress)
    digest = fingerprint({key: value for key, value in plan.items() if key != "made_with"})

    def load() -> Draw:
        generator = Generator(pipeline, sampling, place)
        texts = list(dict.fromkeys(record["prompt"] for record in prompts.records))
        if cut := generator.num_cut(texts):
            say(f"{design}: {cut} of {len(texts)} prompts are longer than the pipeline reads; their ends are ignored")
        return generator

    def source(kept: list[Kept]) -> GeneratedImages:
        highest = {dimension.slug: dimension.high for dimension in columns.dimensions}
        return GeneratedImages(kept, prompts.records, recorded, highest, Path(design).stem, licence, digest)

    with slurm.requeued():
        packed = generate(run, load, source)
    if packed is None:
        print(f"{out}: share {rank} of {world_size} is done; the set is finished by whoever makes the last share")
    elif progress:
        _tell(packed, folder)


def _check_emotions(prompts: Prompts, taxonomy: Taxonomy) -> None:
    for record in prompts.records:
        slug = record.get("prompted")
        if slug is not None and slug not in taxonomy.slugs:
            raise DataError(
                f"{prompts.path}: prompt '{record['id']}': '{slug}' is no emotion of taxonomy '{taxonomy.name}'; give "
                "--taxonomy as the design was made with"
            )


def _recorded(
    pipeline: PipelineSource, scheduler: str, options: dict[str, Any], sampling: Sampling
) -> dict[str, str | int | float]:
    """What is the same for all images, as each one's JSON names it."""
    named = {
        "steps": options.get("num_inference_steps"), "guidance": options.get("guidance_scale"),
        "negative_prompt": sampling.negative_prompt, "width": sampling.width, "height": sampling.height,
    }  # fmt: skip
    return {
        "model": Path(pipeline.name).name if Path(pipeline.name).is_dir() else pipeline.name,
        "revision": pipeline.revision,
        "pipeline": pipeline.class_name,
        "scheduler": scheduler,
        "dtype": asdict(sampling)["dtype"],
        **{name: value for name, value in named.items() if value is not None},
    }


def _tell(packed: PackedSet, folder: Path) -> None:
    from emonet_lightning.packing.claiming import GENERATION
    from emonet_lightning.packing.commands import summary

    found = read_json(folder / GENERATION / REPORT)
    console = Console(soft_wrap=True)
    console.print(summary(packed))
    table = Table("prompts", "images made", "kept", "after another attempt", "prompts without image", "dropped images")
    table.add_row(
        *(f"{found[key]:,}" for key in ("prompts", "images_made", "kept", "kept_after_another_attempt")),
        f"{found['prompts_without_image']:,}",
        ", ".join(f"{count:,} {reason}" for reason, count in found["dropped_images"].items()) or "none",
    )
    console.print(table)
    if found["not_looked_at"]:
        console.print(f"not looked at: {', '.join(found['not_looked_at'])}", highlight=False)
