"""HeadwiseAdamW: torch's fused AdamW on stacked parameters, with a learning rate and weight decay for each head.

A head that saw no label in a step is neither stepped nor decayed, and its bias correction does not advance: exactly
what an optimiser of its own would do. Heads that do the same lie in one slice: as a rule, all of them.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, cast

import torch

_CPU_BLOCK = 16  # floats: a vector of AVX-512, and the unit in which the kernel shares work between threads


class _Part(NamedTuple):
    """What heads with one learning rate and weight decay own, in pieces of equal step counts."""

    lr_scale: float
    weight_decay: float
    places: list[tuple[int, int]]  # (parameter, piece of it)
    params: list[torch.Tensor]
    exp_avgs: list[torch.Tensor]
    exp_avg_sqs: list[torch.Tensor]
    steps: list[torch.Tensor]


class _Plan(NamedTuple):
    """How a step goes through the parameters; heads that step together stay equally far apart, so that it lasts."""

    heads: list[int]
    """Those that step."""
    sizes: list[tuple[torch.nn.Parameter, list[int]]]
    """The parameters that have gradients, and the pieces into which each is cut."""
    counters: list[torch.Tensor]
    """Step counts of the heads that step."""
    parts: list[_Part]


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
        self._plan: _Plan | None = None
        self._plan_of: Any = None  # what the plan was made for
        self._counts: list[float] = []  # steps of each head, so that no plan waits for the device

    @property
    def _group(self) -> dict[str, Any]:
        return self.param_groups[0]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step all heads that are neither idle nor frozen."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self._group
        graded = [parameter.grad is not None for parameter in group["params"]]
        wanted = (set(self.idle), graded, list(group["lr_scale"]), list(group["weight_decay"]))
        if self._plan is None or wanted != self._plan_of:
            self._plan, self._plan_of = self._make_plan(*wanted), wanted
        plan, (beta1, beta2) = self._plan, group["betas"]
        if not plan.parts:
            return loss
        for head in plan.heads:
            self._counts[head] += 1
        torch._foreach_add_(plan.counters, 1)
        pieces = [cast(torch.Tensor, parameter.grad).split(sizes) for parameter, sizes in plan.sizes]
        for part in plan.parts:
            torch._fused_adamw_(
                part.params,
                [pieces[parameter][piece] for parameter, piece in part.places],
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

    def _make_plan(self, idle: set[int], graded: list[bool], lr_scale: list[float], weight_decay: list[float]) -> _Plan:
        """Put heads that move alike together: neighbours with equal step counts are one piece."""
        params = [p for p, has_gradient in zip(self._group["params"], graded, strict=True) if has_gradient]
        for parameter in params:
            if not self.state[parameter]:
                zeros = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                steps = torch.zeros(len(parameter), dtype=torch.float32, device=parameter.device)
                self.state[parameter] = {"step": steps, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        if params and not self._counts:
            self._counts = self.state[params[0]]["step"].tolist()
        moves = [head not in idle and scale != 0 for head, scale in enumerate(lr_scale)]
        alike = list(zip(moves, lr_scale, weight_decay, self._counts, strict=True)) if params else []
        lengths = [(kind, len(list(run))) for kind, run in groupby(alike)]
        owned: dict[tuple[float, float], list[tuple[int, int, tuple[torch.Tensor, ...]]]] = {}
        sizes = []
        for index, parameter in enumerate(params):
            cut = [(kind, size) for kind, length in lengths for size in _cut(parameter, length)]
            sizes.append((parameter, [size for _, size in cut]))
            state = self.state[parameter]
            tensors = (parameter.detach(), state["exp_avg"], state["exp_avg_sq"], state["step"])
            split = zip(*(tensor.split(sizes[-1][1]) for tensor in tensors), strict=True)
            for place, ((kind, _), views) in enumerate(zip(cut, split, strict=True)):
                if kind[0]:
                    owned.setdefault(kind[1:3], []).append((index, place, views))
        parts = []
        for (scale, decay), pieces in owned.items():
            places = [(index, place) for index, place, _ in pieces]
            values, averages, squares, counts = (list(column) for column in zip(*(v for *_, v in pieces), strict=True))
            # the kernel reads one count: that of a piece's first head
            parts.append(_Part(scale, decay, places, values, averages, squares, [count[0] for count in counts]))
        heads = [head for head, moving in enumerate(moves) if moving]
        spans = [(kind, len(list(run))) for kind, run in groupby(moves)]
        counters = [
            steps
            for parameter in params
            for (moving, _), steps in zip(
                spans, self.state[parameter]["step"].split([length for _, length in spans]), strict=True
            )
            if moving
        ]
        return _Plan(heads, sizes, counters, parts)

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


def _cut(parameter: torch.Tensor, length: int) -> list[int]:
    """Cut a piece into heads where the CPU's kernel would treat its last elements apart, which rounds differently.

    So a head's bits do not depend on which heads are stepped with it.
    """
    if parameter.device.type != "cpu" or parameter[0].numel() % _CPU_BLOCK == 0:
        return [length]
    return [1] * length


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
