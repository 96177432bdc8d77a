"""From a panel to what learners take: inputs, and targets in units of the volatility that was known."""

from __future__ import annotations

import numpy as np

from models.features import batch_features
from models.forecast import HORIZONS, Learnable, Panel
from models.labels import forward_log_returns, ts_known_after


def learnable(panel: Panel) -> Learnable:
    """Return the panel's inputs and targets.

    Parameters
    ----------
    panel : Panel

    Returns
    -------
    Learnable
        target = log return over each of HORIZONS / (sigma * sqrt(horizon)); NaN where sigma warms up, where a close is
        unknown, where bars are missing from the clock and beyond the end. Features are not scaled and not filled:
        ``models.tabular.Scaler`` learns that from training rows.

    Notes
    -----
    Known at: features and sigma at each bar's close, targets at ``ts_known``.
    """
    features, sigma = batch_features(panel)
    scale = sigma[:, :, None] * np.sqrt(np.array(HORIZONS, dtype=np.float64))
    target = forward_log_returns(panel) / scale
    return Learnable(panel, features, sigma, target, ts_known_after(panel.ts_close, HORIZONS))
