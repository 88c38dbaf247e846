"""HeadwiseAdamW: torch's fused AdamW on stacked parameters, with a learning rate and weight decay for each head.

A head that saw no label in a step is neither stepped nor decayed, and its bias correction does not advance: exactly
what an optimiser of its own would do. Heads that do the same lie in one slice: as a rule, all of them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch

_CPU_BLOCK = 16  # floats: a vector of AVX-512, and the unit in which the kernel shares work between threads


class _Slices(NamedTuple):
    """What heads with one learning rate and weight decay own, in slices of equal step counts."""

    lr_scale: float
    weight_decay: float
    heads: list[int]
    places: list[tuple[int, slice]]  # (parameter, its heads)
    params: list[torch.Tensor]
    exp_avgs: list[torch.Tensor]
    exp_avg_sqs: list[torch.Tensor]
    steps: list[torch.Tensor]  # of the slice's first head: what the kernel reads
    all_steps: list[torch.Tensor]


class HeadwiseAdamW(torch.optim.Optimizer):
    """AdamW over stacked parameters [K, ...] in one parameter group, as if every head had an optimiser of its own.

    State of each parameter: `exp_avg` and `exp_avg_sq` [K, ...], `step` [K] float32.

    Args:
        stacked: parameters whose first axis is the head.
        lr: learning rate; schedules change it for all heads in proportion.
        weight_decay: decoupled weight decay.
        betas: as in `torch.optim.AdamW`.
        eps: as in `torch.optim.AdamW`.
        lr_scale: factor of each head's learning rate [K]; 0 freezes a head.
        head_weight_decay: each head's own weight decay [K].
    """

    idle: Collection[int] = ()
    """Heads that the next step leaves exactly as they are, since they have no label in it; set before each step."""

    def __init__(
        self,
        stacked: Iterable[torch.nn.Parameter],
        lr: float,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        lr_scale: Sequence[float] | None = None,
        head_weight_decay: Sequence[float] | None = None,
    ) -> None:
        stacked = list(stacked)
        num_heads = stacked[0].shape[0]
        scale = [1.0] * num_heads if lr_scale is None else [float(value) for value in lr_scale]
        decay = (
            [weight_decay] * num_heads if head_weight_decay is None else [float(value) for value in head_weight_decay]
        )
        if len(scale) != num_heads or len(decay) != num_heads:
            raise ValueError(f"lr_scale has {len(scale)} values, head_weight_decay {len(decay)}, for {num_heads} heads")
        # `fused` makes torch restore `step` as float32 on the parameters' device
        known = {"lr": lr, "betas": betas, "eps": eps, "lr_scale": scale, "weight_decay": decay, "fused": True}
        super().__init__(stacked, known)
        self._forget()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # also at the end of load_state_dict
        self._forget()

    def _forget(self) -> None:
        self._plan: list[_Slices] = []
        self._plan_of: Any = None  # what the plan was made for
        self._counts: list[float] = []  # steps of each head, so that no plan waits for the device

    @property
    def _group(self) -> dict[str, Any]:
        return self.param_groups[0]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step all heads that are neither idle nor frozen."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self._group
        params, (beta1, beta2) = group["params"], group["betas"]
        graded = [parameter.grad is not None for parameter in params]
        wanted = (set(self.idle), graded, list(group["lr_scale"]), list(group["weight_decay"]))
        if wanted != self._plan_of:
            # heads that step together stay equally far apart, so a plan holds until who steps changes
            self._plan, self._plan_of = list(self._slices(*wanted)), wanted
        for part in self._plan:
            for head in part.heads:
                self._counts[head] += 1
            grads = [params[index].grad[heads] for index, heads in part.places]
            torch._foreach_add_(part.all_steps, 1)
            torch._fused_adamw_(
                part.params,
                grads,
                part.exp_avgs,
                part.exp_avg_sqs,
                [],
                part.steps,
                lr=float(group["lr"]) * part.lr_scale,
                beta1=beta1,
                beta2=beta2,
                weight_decay=part.weight_decay,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return loss

    def _slices(
        self, idle: set[int], graded: list[bool], lr_scale: list[float], weight_decay: list[float]
    ) -> Iterator[_Slices]:
        """Put heads that move alike together: neighbours with equal step counts are one slice."""
        params = [(i, p) for i, (p, has_grad) in enumerate(zip(self._group["params"], graded, strict=True)) if has_grad]
        if not params:
            return
        for _, parameter in params:
            if not self.state[parameter]:
                zeros = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                steps = torch.zeros(len(parameter), dtype=torch.float32, device=parameter.device)
                self.state[parameter] = {"step": steps, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        self._counts = self._counts or self.state[params[0][1]]["step"].tolist()
        kinds = [
            None if head in idle or not scale else (scale, decay, count)
            for head, (scale, decay, count) in enumerate(zip(lr_scale, weight_decay, self._counts, strict=True))
        ]
        spans: dict[tuple[float, float], list[slice]] = {}
        for kind, run in groupby(range(len(kinds)), key=kinds.__getitem__):
            heads = list(run)
            if kind is not None:
                spans.setdefault(kind[:2], []).append(slice(heads[0], heads[-1] + 1))
        for (scale, decay), parts in spans.items():
            places = [(index, heads) for index, parameter in params for heads in _cut(parameter, parts)]
            everything = self._group["params"]
            owners = [(everything[index], self.state[everything[index]], heads) for index, heads in places]
            yield _Slices(
                scale,
                decay,
                [head for part in parts for head in range(part.start, part.stop)],
                places,
                [parameter[heads] for parameter, _, heads in owners],
                [state["exp_avg"][heads] for _, state, heads in owners],
                [state["exp_avg_sq"][heads] for _, state, heads in owners],
                [state["step"][heads.start] for _, state, heads in owners],
                [state["step"][heads] for _, state, heads in owners],
            )

    def select(self, heads: Sequence[int], stacked: Iterable[torch.nn.Parameter]) -> None:
        """Go on with some heads only.

        Args:
            heads: which, in the order of the new parameters.
            stacked: their parameters, of `EmotionHeads.select`; moments and step counts are taken along.
        """
        group, kept = self._group, list(heads)
        new = list(stacked)
        for old, parameter in zip(group["params"], new, strict=True):
            state = self.state.pop(old, {})
            self.state[parameter] = {name: value[kept] for name, value in state.items()}
        group["params"] = new
        for name in ("lr_scale", "weight_decay"):
            group[name] = [group[name][head] for head in kept]
        self.idle = ()
        self._forget()


def _cut(parameter: torch.Tensor, parts: list[slice]) -> list[slice]:
    """Cut slices into heads where the CPU's kernel would treat a slice's last elements apart, which rounds differently.

    So a head's bits do not depend on which heads are stepped with it.
    """
    if parameter.device.type != "cpu" or parameter[0].numel() % _CPU_BLOCK == 0:
        return parts
    return [slice(head, head + 1) for part in parts for head in range(part.start, part.stop)]


@torch.no_grad()
def clip_per_head(stacked: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
    """Bound each head's own gradient norm, so that one head's outlier does not slow the others.

    The gradient of a head whose norm is not finite becomes zero. The host waits for no device.

    Args:
        stacked: parameters [K, ...] with gradients.
        max_norm: bound; 0 for none.

    Returns:
        Which heads' gradients were finite [K] bool, on the parameters' device.
    """
    gradients = [(p.grad, (-1, *[1] * (p.dim() - 1))) for p in stacked if p.grad is not None]
    norms = _norms(grad for grad, _ in gradients)
    finite = norms < torch.inf
    # on a CPU it costs nothing to look, and to go through all gradients does
    largest = float(norms.max()) if norms.device.type == "cpu" else torch.nan
    if max_norm and not largest <= max_norm:
        divisor = norms.clamp(min=max_norm) / max_norm
        torch._foreach_div_([grad for grad, _ in gradients], [divisor.view(shape) for _, shape in gradients])
    if not largest < torch.inf:
        for grad, shape in gradients:
            grad.masked_fill_(~finite.view(shape), 0.0)
    return finite


def _norms(gradients: Iterable[torch.Tensor]) -> torch.Tensor:
    each = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)
