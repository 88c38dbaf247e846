"""EmpathicInsightFace: wires encoder, heads, loss and metrics into a LightningModule; `training` holds its steps.

The encoder is frozen and not a registered sub-module: checkpoints hold the heads (and their optimiser), never it. The
objective is the sum over heads of each head's masked mean over the global batch: every head trains as it would alone.
"""

from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch

from emonet_lightning.batch import EmotionBatch, LabelSource
from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_fingerprint, encoder_record, feature_dim
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.heads import EmotionHeads, resolve_widths
from emonet_lightning.losses import OUTPUT_MAP, Loss, balanced_weights, num_thresholds, to_scores
from emonet_lightning.metrics import ScoreTable, ValScore, named, val_score
from emonet_lightning.objective import HeadOptions, head_options
from emonet_lightning.schedule import check_steps_per_call
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.training import HeadTraining

CHECKPOINT_FORMAT = 3
"""Of a run's checkpoints, whose losses are those of each process."""


class EmpathicInsightFace(HeadTraining):
    """One MLP head per emotion on a frozen vision encoder.

    Args:
        taxonomy: `emonet40`, or the path of a YAML file with your own emotions.
        extra_dimensions: also train the taxonomy's extra dimensions (arousal, valence, ...).
        encoder: the frozen encoder.
        widths: hidden widths of each head: `small` [128, 32], `large` [1024, 512, 256], or a list.
        dropout: rate after each hidden layer, one for all or one a layer (the paper's is unpublished).
        loss: mse, mae, huber, bce or coral (the paper's is unpublished); it fixes the map from output to score.
        huber_delta: where Huber turns linear, levels.
        imbalance: `balanced` weights each emotion's labels above the resting level against the many that are not.
        max_positive_weight: bound of that weight.
        l2_normalise: scale each feature vector to unit length before the heads.
        standardise: subtract each feature's training mean and divide by its deviation; folded into layer 1 on export.
        lr: peak learning rate of AdamW.
        weight_decay: decoupled weight decay.
        adam_eps: of AdamW; 1.0 makes a step nearly proportional to the gradient, as in SGD with momentum.
        warmup_share: share of all steps over which the rate rises linearly.
        final_lr_share: share of the peak at which the cosine ends.
        clip_norm: bound of each head's own gradient norm; 0 for none.
        per_emotion: what some emotions' heads have of their own, by name.
        heads_dtype: precision of the heads' products; weights, losses and optimiser stay float32.
        steps_per_call: optimiser steps in one of Lightning's calls; more than 1 saves its 0.4 ms a step on small heads,
            the results are bit-equal. Calls longer than a second are cut.
        parallel: several processes on cached features: `ddp` shares each step, `replicated` lets every process take
            whole steps by itself, `auto` takes what is estimated to be cheaper.
        init_heads_from: folder of exported heads, or a finished run, to start from.
        zero_init: begin with a last layer of zeros: scores start at the resting level, linear heads as in regression.
        reinit_last_layer: draw the last layer anew when starting from heads with another map to scores.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    positive_weight: torch.Tensor

    def __init__(
        self,
        taxonomy: str = "emonet40",
        extra_dimensions: bool = False,
        encoder: EncoderSpec = EncoderSpec(),
        widths: str | list[int] = "small",
        dropout: float | list[float] = 0.1,
        loss: Loss = "mse",
        huber_delta: float = 1.0,
        imbalance: Literal["none", "balanced"] = "none",
        max_positive_weight: float = 10.0,
        l2_normalise: bool = True,
        standardise: bool = True,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        adam_eps: float = 1e-8,
        warmup_share: float = 0.05,
        final_lr_share: float = 0.0,
        clip_norm: float = 1.0,
        per_emotion: dict[str, HeadOptions] | None = None,
        heads_dtype: Literal["float32", "bfloat16"] = "float32",
        steps_per_call: int = 1,
        parallel: Literal["auto", "ddp", "replicated"] = "auto",
        init_heads_from: str | None = None,
        zero_init: bool = False,
        reinit_last_layer: bool = False,
    ) -> None:
        super().__init__()
        self.encoder_spec = EncoderSpec(**encoder) if isinstance(encoder, dict) else encoder
        # primitives only: a dataclass among the hyper-parameters would break loading with weights_only
        self.save_hyperparameters(ignore=["encoder", "per_emotion"])
        self.save_hyperparameters({"encoder": asdict(self.encoder_spec)})
        self.taxonomy = Taxonomy.load(taxonomy, extra_dimensions)
        self.save_hyperparameters({"per_emotion": head_options(per_emotion or {}, self.taxonomy)})
        self.loss = loss
        self.output_map = OUTPUT_MAP[loss]
        dimensions = self.taxonomy.dimensions
        self.register_buffer("low", torch.tensor([d.low for d in dimensions]), persistent=False)
        self.register_buffer("high", torch.tensor([d.high for d in dimensions]), persistent=False)
        features = feature_dim(self.encoder_spec)
        biases = num_thresholds(loss, self.low, self.high)
        self.heads = EmotionHeads(
            len(dimensions), features, resolve_widths(widths), dropout, biases, compute_dtype=heads_dtype
        )
        if zero_init:
            self.heads.zero_last_layer()
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_std", torch.ones(features))
        self.register_buffer("positive_weight", torch.ones(2, len(dimensions)), persistent=False)
        self.train_loss = torch.zeros(2, len(dimensions))  # no buffer: DDP makes those of all processes the first one's
        self.scores_seen = ScoreTable(len(dimensions))
        self.last_val: ValScore | None = None
        self._encoder: list[FrozenEncoder] = []  # in a list: not a sub-module, so never in a checkpoint

    # -- forward -----------------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder, loaded at first use: runs on cached features never need it."""
        if not self._encoder:
            self._encoder.append(FrozenEncoder.load(self.encoder_spec))
        return self._encoder[0].to(self.device)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the heads take [B, D] float32, of pooled features [B, D] or images [B, 3, S, S] uint8."""
        # through float16 as the cache does it, so that both ways of reading images see equal features
        features = self.encoder.encode(inputs).half() if inputs.ndim == 4 else inputs
        features = features.float()
        if self.hparams["l2_normalise"]:
            features = torch.nn.functional.normalize(features)
        return (features - self.feature_mean) / self.feature_std

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map pooled features [B, D] or images [B, 3, S, S] uint8 to raw head outputs [B, K]."""
        return self.heads(self.features(inputs))

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs as in `forward` to scores on the taxonomy's scale [B, K]."""
        return to_scores(self(inputs), self.output_map, self.low, self.high, self.heads.ordered_thresholds())

    # -- set-up ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take feature statistics, label weights and initial heads, before the first step of a run."""
        data: LabelSource | None = getattr(self.trainer, "datamodule", None)
        if stage != "fit" or data is None:
            return
        if not getattr(self.trainer, "fast_dev_run", False):
            check_steps_per_call(self.hparams["steps_per_call"], vars(self.trainer))
        self.prepare(data)

    def prepare(self, data: LabelSource) -> None:
        """Take feature statistics, label weights and initial heads for training on this data."""
        if self.hparams["standardise"]:
            mean, std = data.feature_statistics(self.hparams["l2_normalise"])
            self.feature_mean.copy_(mean)
            self.feature_std.copy_(std)
        if self.hparams["imbalance"] == "balanced":
            share = torch.from_numpy(data.train_labels().positive_share(self.taxonomy)).to(self.positive_weight)
            self.positive_weight.copy_(balanced_weights(share, self.hparams["max_positive_weight"]))
        if where := self.hparams["init_heads_from"]:
            self.load_bundle(HeadsBundle.load(where), where, self.hparams["reinit_last_layer"])

    def load_bundle(self, bundle: HeadsBundle, where: str, reinit_last_layer: bool = False) -> None:
        """Start from exported heads; the function they compute is kept, whatever the standardisation.

        Raises:
            DataError: heads of another encoder, shape or feature scaling.
            UsageError: another map from output to score, and the last layer is not drawn anew.
        """
        self.taxonomy.check_digest(bundle.taxonomy.digest, where)
        bundle.check_encoder(encoder_fingerprint(self.encoder_spec), where)
        shape = (bundle.heads.in_features, list(bundle.heads.widths), bundle.l2_normalise)
        own = (self.heads.in_features, list(self.heads.widths), self.hparams["l2_normalise"])
        if shape != own:
            raise DataError(f"{where}: heads (features, widths, l2_normalise) {shape} do not fit this model's {own}")
        if bundle.output_map != self.output_map and not reinit_last_layer:
            raise UsageError(
                f"{where}: these heads' scores are a '{bundle.output_map}' of their outputs, loss '{self.loss}' takes "
                f"'{self.output_map}'; set model.reinit_last_layer: true, or keep the loss"
            )
        state = {name: value for name, value in bundle.heads.state_dict().items() if name != "thresholds"}
        if bundle.output_map == "coral" == self.output_map:
            state["thresholds"] = bundle.heads.state_dict()["thresholds"]
        self.heads.load_state_dict(state, strict=False)
        if bool((self.feature_std != 1).any()):
            self.heads.fold_standardisation(self.feature_mean, self.feature_std, inverse=True)
        if reinit_last_layer:
            self.heads.reinit_last_layer()

    def use_bundle(self, bundle: HeadsBundle, where: str) -> None:
        """Evaluate exported heads, as they are: on features without this run's standardisation."""
        self.feature_mean.zero_()
        self.feature_std.fill_(1.0)
        self.load_bundle(bundle, where)

    def to_bundle(self, state: dict[str, torch.Tensor] | None = None, **training: Any) -> HeadsBundle:
        """Return the heads (or those of `state`) as a bundle that takes un-standardised features."""
        source = self.heads.state_dict() if state is None else state
        biases = self.heads.thresholds.shape[1] if self.heads.thresholds is not None else 0
        shape = (self.heads.num_heads, self.heads.in_features, self.heads.widths, self.heads.dropout, biases)
        heads = EmotionHeads(*shape)
        heads.load_state_dict({name: value.detach().cpu() for name, value in source.items()})
        heads.fold_standardisation(self.feature_mean.cpu(), self.feature_std.cpu())
        encoder = encoder_record(self.encoder_spec)
        known = {"loss": self.loss, "standardised": bool(self.hparams["standardise"]), **training}
        known["heads_dtype"] = self.hparams["heads_dtype"]
        return HeadsBundle(heads, self.taxonomy, encoder, self.output_map, self.hparams["l2_normalise"], training=known)

    # -- evaluation --------------------------------------------------------------------------------------------------

    def validation_step(self, batches: list[EmotionBatch], batch_idx: int) -> None:
        """Collect scores by row, block by block: a network's last bit depends on the batch size."""
        for batch in batches:
            self.scores_seen.update(batch.key, self.scores(batch.inputs))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log `val/score` over emotions and per emotion; every process computes the same."""
        data = self._data
        assert data is not None
        values = self.judge(data)
        # for the progress bar and for callbacks
        score = torch.tensor(values["val/score"], dtype=torch.float64)
        self.log("val/score", score, prog_bar=True, logger=False)
        self.publish(values)

    def judge(self, data: LabelSource) -> dict[str, float]:
        """Return the figures of the scores collected since the last call; `last_val` holds them as well."""
        rows, scores = self.take_scores()
        resting = self.low.clamp(min=0.0).cpu().numpy()
        result = val_score(scores, data.truth(rows), data.score_metric, resting, self.taxonomy.num_emotions)
        self.last_val = result
        values = {"val/score": result.mean, "val/num_constant_heads": float(result.constant.sum())}
        return {**values, **named("val/score", result.per_head, self.taxonomy.slugs)}

    def take_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows [N] ascending and scores [N, K] float64 collected since the last call, on every process."""
        result = self.scores_seen.compute()
        self.scores_seen.reset()
        return result

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record whose heads these are."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["emonet_lightning"] = {
            "format": CHECKPOINT_FORMAT,
            "taxonomy": self.taxonomy.digest,
            "encoder": encoder_fingerprint(self.encoder_spec),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another taxonomy order or encoder."""
        recorded = checkpoint.get("emonet_lightning")
        if recorded is None:
            raise DataError("checkpoint: not one of emonet_lightning; start from exported heads (init_heads_from)")
        if recorded.get("format") != CHECKPOINT_FORMAT:
            raise DataError("checkpoint: written by another release; finish the run with that one, or train anew")
        self.taxonomy.check_digest(recorded["taxonomy"], "checkpoint")
        own = encoder_fingerprint(self.encoder_spec)
        if recorded["encoder"] != own:
            raise DataError(
                f"checkpoint: written with encoder {recorded['encoder'][:12]}, this run's is {own[:12]}; "
                "use the same encoder, weights, dtype and preprocessing"
            )
        _check_state(checkpoint["state_dict"], self.state_dict())
        super().on_load_checkpoint(checkpoint)


def _check_state(found: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    """Refuse weights that do not fit, by name: PyTorch's own error is a page."""
    for name in sorted(found.keys() | own.keys()):
        if name not in found or name not in own:
            where = "is missing" if name not in found else "is not part of this model"
            raise DataError(f"checkpoint: weight '{name}' {where}; go on with the options that it was trained with")
        if found[name].shape != own[name].shape:
            shapes = f"{list(found[name].shape)}, this model's is {list(own[name].shape)}"
            raise DataError(f"checkpoint: weight '{name}' has shape {shapes}; go on with the options of its run")
