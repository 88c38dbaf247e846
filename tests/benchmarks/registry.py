"""The rows of the benchmark: number, what is compared, where the code is, and the environment of its process."""

from dataclasses import dataclass, field

# Without these glibc gives large blocks back to the kernel at every step, and a stacked step of the Large heads spends
# 15 % of its time on page faults, which says nothing about the arithmetic (and nothing about a GPU).
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "8589934592", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    number: str
    title: str
    """What is compared with what."""
    function: str
    """`module:function`; the function takes `Settings` and yields each `Line` when it is measured."""
    threads: int = 1
    """Threads of one operator (OMP_NUM_THREADS); one where CPU seconds are compared, because a loop of a thousand
    small operations waits at the barriers of a second thread and would look slower than it is."""
    gpu: bool = False
    """Runs only where there is a GPU."""
    keep_memory: bool = False
    """Both sides run with KEEP_MEMORY; else as users run them."""
    timeout_s: int = 1500
    environment: dict[str, str] = field(default_factory=dict)


ROWS = [
    Row("1", "Dispatched operations of a training step, views left out", "heads_rows:ops_per_step"),
    Row("2", "Outputs and gradients against the loop, float32, dropout 0", "heads_rows:parity"),
    Row("3", "Training step of 40 heads, batch 256", "heads_rows:step_times", keep_memory=True),
    Row("4", "Training step of 40 heads, batch 16", "heads_rows:small_batches", keep_memory=True),
    Row(
        "5",
        "Sparse labels, 2 of 40 a row: masked loop over all heads / pairs",
        "sparse_rows:sparse_labels",
        keep_memory=True,
    ),
    Row(
        "6",
        "Own learning rate and weight decay per head / one uniform AdamW",
        "heads_rows:per_head_options",
        keep_memory=True,
    ),
    Row("7", "Half of the heads finished and compacted away", "heads_rows:finished_heads", keep_memory=True),
    Row("8", "An epoch on images / an epoch on cached features", "cache_rows:cached_epoch"),
    Row("9", "Features as float16 against float32", "cache_rows:precision"),
    Row("10", "PIL + ToTensor + Normalize / our decode and resize", "input_rows:decode_and_resize"),
    # a pass of thousands of images fills its buffers once; repeated passes of a thousand shall not fill them anew
    Row("11", "Loader without resize / bare decode", "input_rows:loader", keep_memory=True),
    Row("12", "Row-collating DataLoader / our batches of cached features", "loop_rows:batch_feed"),
    Row("13", "Lightning fit / bare PyTorch loop of the same steps", "loop_rows:lightning_overhead", keep_memory=True),
    Row("14", "Naive Lightning training / ours, whole runs of 10 epochs", "whole_run:whole_run", timeout_s=2400),
    Row("15", "Agreement: one library call per emotion, pair and draw / ours", "agreement_speed:row"),
    Row("16", "Growth with rows, heads and processes", "growth:growth", keep_memory=True),
    Row("17", "Exactness under faults in training: with it / switched off", "integrity_rows:training_cost"),
    Row("18", "Exactness under faults in packing and encoding", "integrity_of_data_rows:packing_and_encoding"),
    Row(
        "19",
        "Eight configurations stacked / one: a step, a whole run with its encode pass, successive halving",
        "sweep_rows:stacked",
        keep_memory=True,
        timeout_s=2400,
    ),
    Row("G1", "GPU: training step of 40 heads, batch 1024", "gpu_rows:step_times", gpu=True),
    Row("G2", "GPU: SigLIP2 so400m-384, bfloat16, random weights", "gpu_rows:encoder", threads=4, gpu=True),
    Row("G3", "GPU: 203k cached rows, 40 Large heads, 10 epochs", "gpu_rows:cached_run", threads=4, gpu=True),
]


def chosen(numbers: str | None, gpu: bool) -> list[Row]:
    """Return the rows named in `1,3,G1` (all without a GPU if None), GPU rows added on request.

    Raises:
        SystemExit: a row that does not exist.
    """
    if numbers is None:
        return [row for row in ROWS if gpu or not row.gpu]
    wanted = [number.strip().upper() for number in numbers.split(",")]
    unknown = set(wanted) - {row.number for row in ROWS}
    if unknown:
        raise SystemExit(
            f"--rows {numbers}: no row {', '.join(sorted(unknown))}; there are {', '.join(r.number for r in ROWS)}"
        )
    return [row for row in ROWS if row.number in wanted or (gpu and row.gpu)]
