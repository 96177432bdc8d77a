"""Training on sequences: a loss at every bar, one step a bar, within a budget that is written down."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from models.forecast import QUANTILE_LEVELS, Cancelled, Progress
from models.heads import CausalNetwork, forecast_losses


@dataclass(frozen=True)
class TrainingConfig:
    """How much is learned at each fit, and how.

    Attributes
    ----------
    sequence, burn_in : int
        Bars of one training sequence, and how many of its first bars only fill the memory and are not scored.
    batch : int
        Sequences in one step.
    steps_per_epoch : int
        Steps between two looks at the validation rows in the first fit.
    epochs_first, epochs_after : int
        Most epochs of the first fit, and of each later fit, which starts from the weights of the one before.
    steps_after : int
        Steps of an epoch of later fits.
    learning_rate_first, learning_rate_after : float
        Peak rates; reached after ``warm_up_steps`` and lowered to a tenth along a cosine.
    warm_up_steps : int
        Steps in which the rate rises from nothing; at most a third of all.
    weight_decay : float
        AdamW's pull of the matrices towards zero.
    gradient_limit : float
        Largest norm of the gradient; a longer one is shortened.
    averaging : float in [0, 1)
        Decay per step of the running average of the weights. The average is what is validated and kept.
    patience : int
        Epochs without a better validation loss after which training stops.
    recent_bars, recent_share : int, float in [0, 1]
        In later fits this share of the sequences ends within the newest ``recent_bars``; the others are drawn from all
        of the training rows, so that what was learned is not forgotten.
    """

    sequence: int = 256
    burn_in: int = 64
    batch: int = 16
    steps_per_epoch: int = 16
    epochs_first: int = 6
    epochs_after: int = 1
    steps_after: int = 6
    learning_rate_first: float = 5e-4
    learning_rate_after: float = 3e-4
    warm_up_steps: int = 6
    weight_decay: float = 0.05
    gradient_limit: float = 1.0
    averaging: float = 0.95
    patience: int = 3
    recent_bars: int = 2160
    recent_share: float = 0.5


class Rows(NamedTuple):
    """Bars to learn from or to judge by."""

    features: np.ndarray  # (T, N, F) all bars, unscaled
    target: np.ndarray  # (R, N, H) float32 of the bars start ... start + R, NaN where not known by the last of them
    start: int  # index of the first of these bars in ``features``


class Judged(NamedTuple):
    """What a network said of the validation rows while it was trusted fully, and what came."""

    quantile: Tensor  # (N, R, H, Q)
    logit: Tensor  # (N, R, H)
    target: Tensor  # (N, R, H), NaN where unknown


CHUNK = 128
"""Bars that are shown to a network at a time when it forecasts many."""

STEP_BARS = 64
"""The same in training: attention over a window is worked out as a square, of which more bars at once waste more."""

BASE_BARS = 8192
"""The base rate is taken from about this many bars at most, evenly spread: a later fit must not take long."""

Scale = Callable[[np.ndarray], np.ndarray]
"""Turns features (..., F) into inputs: float32, no NaN."""


def fit_network(
    network: CausalNetwork,
    scale: Scale,
    train: Rows,
    valid: Rows,
    config: TrainingConfig,
    is_first: bool,
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    """Teach a network; leave in it the averaged weights of its best epoch.

    Parameters
    ----------
    network : module
        Takes (B, T, F) and a memory, gives quantiles (B, T, H, Q), logits (B, T, H) and the new memory.
    scale : callable
        Features to inputs.
    train, valid : Rows
        What is learned from, and what decides when to stop. Without a known target in ``valid`` every epoch is run.
    config : TrainingConfig
    is_first : bool
        Whether the network knows nothing yet. If it does, the weights it came with are kept unless an epoch is better.
    seed : int
        Decides the draw of the sequences and the dropout; on one processor the same seed gives the same weights.
    progress : Progress
        Called after every few steps.

    Returns
    -------
    dict
        ``train_pinball_loss``, ``train_log_loss`` (mean of the last epoch), ``valid_pinball_loss``, ``valid_log_loss``
        (as kept, after ``QuantileHead.set_trust``; absent without validation targets), ``epochs``, ``seconds``.

    Raises
    ------
    Cancelled
        When ``progress`` returned False. The network has the weights it came with.
    ModelError
        When the loss was not a number, or there is nothing to learn from. The weights are those it came with.
    """
    began = time.monotonic()
    before = copy.deepcopy(network.state_dict())
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            losses = _Training(network, scale, train, valid, config, is_first, seed).run(progress)
    except (Cancelled, ModelError):
        network.cpu().load_state_dict(before)
        raise
    return {**losses, "seconds": time.monotonic() - began}


class _Training:
    """One fit: the network that steps, its running average, and the best average so far."""

    def __init__(
        self,
        network: CausalNetwork,
        scale: Scale,
        train: Rows,
        valid: Rows,
        config: TrainingConfig,
        is_first: bool,
        seed: int,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network.head.set_base(*_base_rate(train.target))
        if is_first:
            network.head.start_as_base()
        self.network, self.average = network.to(self.device), copy.deepcopy(network).to(self.device)
        self.scale, self.train, self.valid, self.config, self.is_first = scale, train, valid, config, is_first
        self.rng = np.random.default_rng(seed)
        self.length = min(config.sequence, len(train.target))
        self.scored_from = min(config.burn_in, self.length // 4)
        self.choices = _choices(train.target, self.length, self.scored_from)
        self.n_epochs = config.epochs_first if is_first else config.epochs_after
        self.epoch_steps = config.steps_per_epoch if is_first else config.steps_after
        self.n_steps = self.n_epochs * self.epoch_steps
        rate = config.learning_rate_first if is_first else config.learning_rate_after
        self.optimizer = torch.optim.AdamW(_groups(network, config.weight_decay), lr=rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.step_no = 0

    def run(self, progress: Progress) -> dict[str, float]:
        """Run epochs until the validation loss stops falling; put the best average into the network."""
        train_losses = np.full(2, np.nan)
        best, best_said = (None, None) if self.is_first else self._judge()
        best_weights = None if self.is_first else copy.deepcopy(self.average.state_dict())
        worse, epoch = 0, 0
        while epoch < self.n_epochs and worse < self.config.patience:
            train_losses = self._epoch(progress, best)
            epoch += 1
            now, said = self._judge()
            if now is None or best is None or now.sum() < best.sum():
                best, best_said, best_weights, worse = now, said, copy.deepcopy(self.average.state_dict()), 0
            else:
                worse += 1
        if best_weights is not None:
            self.network.load_state_dict(best_weights)
        if best_said is not None:
            best = self._calibrate(*best_said)
        self.network.cpu().eval()
        named = dict(zip(("train_pinball_loss", "train_log_loss"), map(float, train_losses), strict=True))
        if best is not None:
            named |= dict(zip(("valid_pinball_loss", "valid_log_loss"), map(float, best), strict=True))
        return {**named, "epochs": float(epoch)}

    def _epoch(self, progress: Progress, best: np.ndarray | None) -> np.ndarray:
        self.network.train()
        done = []
        for inputs, target in self._batches():
            done.append(self._step(inputs, target))
            if self.step_no % 4 == 0 or self.step_no == self.n_steps:
                newest = {"train_pinball_loss": float(done[-1][0]), "train_log_loss": float(done[-1][1])}
                if best is not None:
                    newest |= {"valid_pinball_loss": float(best[0]), "valid_log_loss": float(best[1])}
                if not progress(self.step_no / self.n_steps, newest):
                    raise Cancelled
        return np.mean(done, axis=0)

    def _step(self, inputs: Tensor, target: Tensor) -> np.ndarray:
        # without its cache: weights cast while gradients are off would be used again where they are on
        with torch.autocast("cuda", torch.bfloat16, self.device.type == "cuda", cache_enabled=False):
            quantile, logit = self._shown(inputs)
        losses = torch.stack(forecast_losses(quantile.float(), logit.float(), target[:, self.scored_from :]))
        if not torch.isfinite(losses).all():
            raise ModelError(
                f"training stopped at step {self.step_no + 1} of {self.n_steps}: the loss is not a number. Nothing was "
                "kept. Look for infinite values in the features or the targets, or lower the learning rate."
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_limit)
        self.optimizer.step()
        self.schedule.step()
        self.step_no += 1
        self._average()
        return losses.detach().cpu().numpy()

    @torch.no_grad()
    def _average(self) -> None:
        # Young averages forget faster: a fixed decay would hold on to the untrained start.
        decay = min(self.config.averaging, (1 + self.step_no) / (10 + self.step_no))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1.0 - decay)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        offsets = np.arange(self.length)
        for _ in range(self.epoch_steps):
            start, symbol = self._draw()
            rows = start[:, None] + offsets  # (B, T)
            inputs = self.scale(self.train.features[self.train.start + rows, symbol[:, None]])
            yield self._tensor(inputs), self._tensor(self.train.target[rows, symbol[:, None]])

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        starts, symbols = self.choices
        picked = self.rng.integers(len(starts), size=self.config.batch)
        newest_start = max(0, len(self.train.target) - max(self.config.recent_bars, self.length))
        recent = int(np.searchsorted(starts, newest_start))
        if not self.is_first and recent < len(starts):
            n_recent = round(self.config.batch * self.config.recent_share)
            picked[:n_recent] = self.rng.integers(recent, len(starts), size=n_recent)
        return starts[picked], symbols[picked]

    def _shown(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is said of the scored bars; those before them fill the memory, and nothing is learned there."""
        memory = None
        if self.scored_from:
            with torch.no_grad():
                memory = self.network(inputs[:, : self.scored_from])[2]
        quantiles, logits = [], []
        for part in inputs[:, self.scored_from :].split(STEP_BARS, 1):
            quantile, logit, memory = self.network(part, memory)
            quantiles.append(quantile)
            logits.append(logit)
        return torch.cat(quantiles, 1), torch.cat(logits, 1)

    def _judge(self) -> tuple[np.ndarray | None, Judged | None]:
        """Return (pinball, log loss) of the average on the validation rows, and what was said of them.

        None without a known target there.
        """
        if not np.isfinite(self.valid.target).any():
            return None, None
        first = max(0, self.valid.start - self.config.sequence)  # bars before them fill the memory
        features = self.valid.features[first : self.valid.start + len(self.valid.target)]
        said = run_network(self.average.eval(), self.scale, features, self.valid.start - first, self.device)
        judged = Judged(*said, self._tensor(self.valid.target.swapaxes(0, 1)))
        return np.array([float(loss) for loss in forecast_losses(*judged)]), judged

    def _calibrate(self, quantile: Tensor, logit: Tensor, target: Tensor) -> np.ndarray:
        """Let the network say only what the validation rows bear out; return its losses on them."""
        self.network.head.set_trust(quantile, logit, target)
        with torch.inference_mode():
            losses = forecast_losses(*self.network.head.tempered(quantile, logit), target)
        return np.array([float(loss) for loss in losses])

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, min(self.config.warm_up_steps, self.n_steps // 3)))
        return warm * (0.55 + 0.45 * math.cos(math.pi * step / max(1, self.n_steps)))


@torch.inference_mode()
def run_network(
    network: nn.Module, scale: Scale, features: np.ndarray, n_skipped: int = 0, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Show a network consecutive bars in chunks, carrying its memory: what a stream does, many bars at a time.

    Parameters
    ----------
    network : module
        In evaluation mode.
    scale : callable
        Features to inputs.
    features : (T, N, F), unscaled
    n_skipped : int
        Bars at the beginning that only fill the memory.
    device : torch.device, optional
        Where the network is; the CPU unless told otherwise.

    Returns
    -------
    (quantile (N, T - n_skipped, H, Q) sigma units, logit (N, T - n_skipped, H))
    """
    memory, quantiles, logits = None, [], []
    for start in range(0, len(features), CHUNK):
        inputs = torch.from_numpy(scale(features[start : start + CHUNK])).transpose(0, 1)  # (N, t, F)
        quantile, logit, memory = network(inputs.to(device or torch.device("cpu")), memory)
        quantiles.append(quantile[:, max(0, n_skipped - start) :])
        logits.append(logit[:, max(0, n_skipped - start) :])
    return torch.cat(quantiles, 1), torch.cat(logits, 1)


def _choices(target: np.ndarray, length: int, scored_from: int) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and symbols of the sequences with a known target in their last scored bars, by rising start."""
    n_starts = len(target) - length + 1
    if n_starts < 1:
        raise ModelError("there are no training rows: give the model more bars")
    known = np.isfinite(target).any(axis=2)  # (R, N)
    count = np.concatenate([np.zeros((1, known.shape[1]), dtype=np.int64), np.cumsum(known, axis=0)])
    ends = np.arange(n_starts) + length
    enough = count[ends] - count[ends - length + scored_from] > 0
    starts, symbols = np.nonzero(enough)
    if not len(starts):
        raise ModelError("no target of the training rows is known: give the model more bars, or bars with fewer gaps")
    return starts, symbols


def _base_rate(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return quantiles (H, Q) of the known targets, and the share above zero (H,), of evenly spread bars."""
    flat = target[:: max(1, len(target) // BASE_BARS)].reshape(-1, target.shape[-1])
    count = np.isfinite(flat).sum(axis=0)
    if not count.all():
        raise ModelError("no training target is known for some horizon: give the model more bars")
    prob_up = ((flat > 0).sum(axis=0) + 1.0) / (count + 2.0)  # inside (0, 1) even where all went one way
    return np.nanquantile(flat, QUANTILE_LEVELS, axis=0).T, prob_up


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Biases, gains and the per-age bias are not pulled to zero: only matrices are."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
