"""The commands: where each one's function is, and what it says of itself in the overview."""

from typing import NamedTuple


class Command(NamedTuple):
    """A tool command: where its function is, and which of its arguments are positional."""

    target: str
    positional: tuple[str, ...]
    summary: str


INTERRUPTIBLE = {
    "fit", "validate", "test", "predict", "pack", "verify", "embed", "pretrain-encoder", "sweep", "synthesize",
    "annotate", "demo",
}  # fmt: skip
"""Commands that look between two items whether they were asked to stop; the others answer Ctrl-C as Python does."""
RUNS = {
    "fit": "train: encode once, train the heads, test, export; without arguments the embedded default",
    "validate": "val/score of a run's best heads on its validation rows",
    "test": "judge a run's best heads against every rater of a test set",
}
COMMANDS = {
    "predict": Command("emonet_lightning.predict:predict_command", ("input",), "score images: CSV, Parquet or JSONL"),
    "pack": Command(
        "emonet_lightning.packing.commands:pack_command",
        ("input",),
        "make WebDataset shards from images and annotations",
    ),
    "verify": Command(
        "emonet_lightning.packing.commands:verify_command",
        ("path",),
        "read a packed set back, whole; --leaks: images that two sets, or a set's splits, share",
    ),
    "embed": Command("emonet_lightning.data.embed_command:embed_command", ("path",), "encode a packed set once"),
    "export": Command("emonet_lightning.export:export_command", (), "write heads: safetensors, released .pth, ONNX"),
    "fetch": Command(
        "emonet_lightning.fetch:fetch_command", ("what", "name"), "download an encoder, data or heads, pinned"
    ),
    "mirror": Command("emonet_lightning.mirror_command:mirror_command", ("run",), "make one W&B run of a run's files"),
    "doctor": Command("emonet_lightning.doctor:doctor_command", (), "what this machine can run, and what it lacks"),
    "evaluate agreement": Command(
        "emonet_lightning.evaluation.agreement_command:agreement_command",
        (),
        "systems beside human raters: agreement, intervals, tables, figures",
    ),
    "evaluate votes": Command(
        "emonet_lightning.evaluation.votes_command:votes_command",
        (),
        "yes/no votes: outcomes, contrast pairs, targets of each consensus rule",
    ),
    "evaluate transfer": Command(
        "emonet_lightning.evaluation.transfer_command:transfer_command",
        (),
        "scores, or real faces through encoder and heads, against another dataset's classes",
    ),
    "evaluate confusion": Command(
        "emonet_lightning.evaluation.confusion_command:confusion_command",
        (),
        "which emotions a system cannot tell apart, beside the raters",
    ),
    "evaluate audit": Command(
        "emonet_lightning.evaluation.audit_command:audit_command",
        (),
        "agreement and calibration by group of images (ethnicity, age, gender, any), gaps with intervals",
    ),
    "evaluate robustness": Command(
        "emonet_lightning.robustness.command:robustness_command",
        (),
        "one condition of the picture at a time: pose, light, blur, intensity, corruptions",
    ),
    "evaluate generators": Command(
        "emonet_lightning.robustness.generators_command:generators_command",
        (),
        "train on one generator, test on another; heads that rely on artefacts",
    ),
    "sweep run": Command(
        "emonet_lightning.sweeping.commands:sweep_run_command",
        ("file",),
        "run a W&B sweep file without a server: grid, random, bayes, hyperband",
    ),
    "sweep status": Command(
        "emonet_lightning.sweeping.commands:sweep_status_command", ("folder",), "how far a sweep is, and its best trial"
    ),
    "sweep report": Command(
        "emonet_lightning.sweeping.report_command:sweep_report_command",
        ("folder",),
        "ablations of a sweep: paired differences with intervals, cost, curves",
    ),
    "sweep select": Command(
        "emonet_lightning.sweeping.select_command:sweep_select_command",
        ("folder",),
        "the best heads of a sweep, per emotion or per trial, for one test",
    ),
    "synthesize design": Command(
        "emonet_lightning.synthesis.design_command:design_command",
        (),
        "prompts balanced over emotion, ethnicity, age, gender and wording, with a report of the balance",
    ),
    "synthesize images": Command(
        "emonet_lightning.synthesis.images_command:images_command",
        ("design",),
        "generate the images of a design with a diffusion pipeline, as a packed set",
    ),
    "synthesize faces": Command(
        "emonet_lightning.synthesis.commands:faces_command", (), "render faces and pack them, any number and size"
    ),
    "synthesize sheets": Command(
        "emonet_lightning.reporting.face_sheets:sheets_command",
        (),
        "contact sheets of rendered faces: emotions, identity, pose, light, camera",
    ),
    "synthesize experts": Command(
        "emonet_lightning.synthesis.experts_command:experts_command",
        (),
        "simulated experts on a known truth: ratings, votes, what was planted",
    ),
    "annotate campaign": Command(
        "emonet_lightning.annotation.commands:campaign_command",
        ("input",),
        "put questions about a packed set before raters, in Label Studio",
    ),
    "annotate advance": Command(
        "emonet_lightning.annotation.commands:advance_command", ("folder",), "put each yes before its next rater"
    ),
    "annotate status": Command(
        "emonet_lightning.annotation.commands:status_command", ("folder",), "how far raters are, and how they agree"
    ),
    "annotate export": Command(
        "emonet_lightning.annotation.commands:export_command", ("folder",), "answers as tables for evaluate and pack"
    ),
    "preference design": Command(
        "emonet_lightning.annotation.preference_commands:design_command",
        (),
        "pairs of a blind study of what people prefer, experts or systems, and its sealed key",
    ),
    "preference simulate": Command(
        "emonet_lightning.annotation.preference_trials:simulate_command",
        (),
        "simulated judges answer a study",
    ),
    "preference analyse": Command(
        "emonet_lightning.annotation.preference_commands:analyse_command",
        ("answers",),
        "preferred in p % of comparisons, with intervals, by emotion and judge",
    ),
    "preference power": Command(
        "emonet_lightning.annotation.preference_trials:power_command",
        (),
        "how many comparisons a study needs",
    ),
    "demo": Command(
        "emonet_lightning.demo.command:demo_command", (), "the whole chain at small size, and one page about it"
    ),
    "pretrain-encoder": Command(
        "emonet_lightning.synthesis.pretrain_encoder:pretrain_encoder_command",
        (),
        "train the embedded encoder anew on rendered faces",
    ),
}
