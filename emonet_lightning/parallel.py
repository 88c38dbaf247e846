"""Several processes, one set of heads: share each step (DDP), or let every process take whole steps by itself.

On cached features a step of stacked heads can be shorter than adding up its gradients (294 MB for 40 large heads). Then
every process trains all heads on the whole batch, without a word to the others: as fast as one device, to the same
bits; the encode pass, validation and sweep trials are what several devices share. Which of the two is cheaper is
estimated from sizes and round figures of hardware, not measured: the choice must be the same when a run goes on.
"""

import os
from typing import Any, NamedTuple

import torch
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from lightning.pytorch.trainer.states import TrainerFn

from emonet_lightning.errors import EnvironmentProblem, UsageError
from emonet_lightning.messages import say
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.processes import WatchedLauncher, check_alike, code_fingerprint, watch_parent

# attainable, not peak. CUDA: H100/H200 class, NVLink inside a node, a 200 Gb/s network between nodes.
_FLOPS = {"cuda": {"float32": 40e12, "bfloat16": 400e12}, "cpu": {"float32": 60e9, "bfloat16": 110e9}}
"""Of a GPU, or of one CPU core."""
_MEMORY = {"cuda": 3e12, "cpu": 10e9}
"""Bytes a second that AdamW streams."""
_LINK = {"cuda": 150e9, "cpu": 1e9}
"""Bytes a second of an all-reduce within a node."""
_NETWORK = 15e9
_LATENCY = {"cuda": 1e-4, "cpu": 2e-3}
_ADAMW_BYTES = 28
"""Read and written per parameter: weight, gradient, two moments."""


class StepCost(NamedTuple):
    """Estimated seconds of one optimiser step."""

    alone: float
    """On one device, the whole batch."""
    shared: float
    """On all devices, with the sum of the gradients."""

    @property
    def replicated(self) -> bool:
        """Whether each process should take whole steps by itself."""
        return self.alone <= self.shared


def step_cost(
    num_parameters: int, num_rows: int, world_size: int, num_nodes: int, device: str, dtype: str, cores: int = 1
) -> StepCost:
    """Estimate a step of heads on cached features.

    Args:
        num_parameters: of all heads.
        num_rows: of the global batch.
        world_size: processes.
        num_nodes: machines that they are on.
        device: `cuda`, or anything else for a CPU.
        dtype: of the heads' products.
        cores: that a process has on a CPU.
    """
    kind = "cuda" if device == "cuda" else "cpu"
    rate = _FLOPS[kind][dtype] * (1 if kind == "cuda" else cores)
    compute = 6.0 * num_parameters * num_rows / rate  # forward, and backward for weights and activations
    adamw = _ADAMW_BYTES * num_parameters / _MEMORY[kind]
    link = min(_LINK[kind], _NETWORK) if num_nodes > 1 else _LINK[kind]
    summing = 2 * (world_size - 1) / world_size * 4 * num_parameters / link + _LATENCY[kind]
    return StepCost(compute + adamw, compute / world_size + adamw + summing)


class HeadsDDP(DDPStrategy):
    """DDP that leaves the heads unwrapped where every process trains them alone."""

    fingerprints: dict[str, str]
    """What all processes must have in common, known before they meet; the command line sets it."""

    def setup_environment(self) -> None:
        """Meet the other processes; refuse one that runs other code or another configuration."""
        watch_parent()
        try:
            super().setup_environment()
        except torch.distributed.DistNetworkError as error:
            address, port = (os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
            reason = " ".join(str(error).split())[-160:]
            raise EnvironmentProblem(
                f"the processes cannot meet at {address}, port {port} ({reason}); set MASTER_PORT to a free port"
            ) from error
        check_alike(code=code_fingerprint(), **getattr(self, "fingerprints", {}))

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if self._start_method == "popen":
            assert self.cluster_environment is not None
            self._launcher = WatchedLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    @property
    def replicated(self) -> bool:
        """Whether every process trains the whole batch by itself; known once model and data are connected."""
        module = self.lightning_module
        if not isinstance(module, EmpathicInsightFace) or module.trainer.state.fn != TrainerFn.FITTING:
            return False
        data: Any = getattr(module.trainer, "datamodule", None)
        if data is None or data.mode != "cached":
            return False  # the encoder in every step is what they share
        if module.hparams["parallel"] != "auto":
            return bool(module.hparams["parallel"] == "replicated")
        return self._cost(module, data.batch_size).replicated

    def _cost(self, module: EmpathicInsightFace, batch_size: int) -> StepCost:
        parameters = sum(parameter.numel() for parameter in module.heads.parameters())
        return step_cost(
            parameters,
            batch_size,
            self.world_size,
            self.num_nodes,
            self.root_device.type,
            module.hparams["heads_dtype"],
            torch.get_num_threads(),
        )

    def configure_ddp(self) -> None:
        """Wrap the model, or only make all processes start from the same weights."""
        module = self.lightning_module
        data: Any = getattr(module.trainer, "datamodule", None) if module is not None else None
        if isinstance(module, EmpathicInsightFace) and data is not None and data.mode == "cached":
            cost = self._cost(module, data.batch_size)
            does = "each takes whole steps by itself" if self.replicated else "they share each step (DDP)"
            say(
                f"parallel: {self.world_size} processes, {does}; estimated {1e3 * cost.alone:.2g} ms a step on one "
                f"device, {1e3 * cost.shared:.2g} ms shared (model.parallel: {module.hparams['parallel']})"
            )
        if not self.replicated:
            super().configure_ddp()
            return
        assert module is not None
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)


def check_strategy(strategy: Any) -> None:
    """Refuse strategies of Lightning's that know nothing of what the processes must have in common.

    Args:
        strategy: `trainer.strategy`, a name or a class and its options.

    Raises:
        UsageError: any but auto and ddp.
    """
    if strategy not in (None, "auto", "ddp"):
        raise UsageError(
            f"trainer.strategy: {str(strategy)[:80]}: only auto and ddp make sure that all processes train "
            "the same; use ddp (heads fit on one device, so there is nothing to shard)"
        )


def register() -> None:
    """Let `trainer.strategy: ddp`, and what Lightning chooses for several devices, be `HeadsDDP`."""
    StrategyRegistry.register("ddp", HeadsDDP, override=True, description="DDP, or whole steps in every process")
