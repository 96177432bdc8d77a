"""The loss of a book in the worst of stated shocks: two of the market as a whole, and days that have happened."""

from __future__ import annotations

from engine.core.compiling import kernel_part
from engine.core.netting import basis_loss, netted_with
from engine.core.state import CLUSTER, State
from engine.core.tail_days import is_young
from engine.domain import F8, Params

_UNKNOWN = 1e9  # a beta that is not known


def check_shocks(shocks: F8, n_symbols: int) -> None:
    """Refuse a table that compiled code would read past. Raises ValueError."""
    if shocks.ndim != 2 or (len(shocks) and shocks.shape[1] != n_symbols + 1):
        raise ValueError(
            f"params.shocks has shape {shocks.shape}, expected (S, {n_symbols + 1}): make it anew with "
            "past_shocks(symbols) when symbols change"
        )


@kernel_part
def _shared_with(n_symbols: int, state: State, i: int, params: Params) -> float:
    """Return the covariance of symbol ``i`` with the sum of those that are known."""
    shared = 0.0
    for j in range(n_symbols):
        if not is_young(state, j, params):
            shared += state.covariance[i, j]
    return shared


@kernel_part
def _market_shock_loss(n_symbols: int, state: State, weight: F8, params: Params) -> float:
    """Return the loss in the worse of two shocks of the market, each with every symbol's own move on top, fraction.

    Symbol i moves by beta_i times the market's shock, and by ``stress_own`` against the position. The market is the
    mean of the symbols that are known; beta_i = cov(i, market) / var(market). A young symbol moves by the whole shock,
    always against the position. Spot and the short perpetual held against it share beta (the mean of theirs) and own
    move, so that their net weight counts; the smaller leg pays for the perpetual's highest premium.
    """
    market, known = 0.0, 0.0
    for i in range(n_symbols):
        if not is_young(state, i, params):
            known += 1.0
            for j in range(n_symbols):
                if not is_young(state, j, params):
                    market += state.covariance[i, j]
    with_market, against, gross, basis = 0.0, 0.0, 0.0, 0.0
    limits = params.risk[0]
    for i in range(n_symbols):
        leg = netted_with(state, i, params) if market > 0.0 else i
        if is_young(state, i, params) or not market > 0.0:
            gross += abs(weight[i])
            against += abs(weight[i])
        elif leg == i:
            gross += abs(weight[i])
            with_market += weight[i] * _shared_with(n_symbols, state, i, params) * known / market
        elif leg >= 0:
            net, hedged = weight[i] + weight[leg], 0.0
            if weight[leg] > 0.0 and weight[i] < 0.0:
                hedged = min(weight[leg], -weight[i])
            gross += abs(weight[i]) + abs(weight[leg]) - 2.0 * hedged
            perpetual_px, spot_px = state.last_px[i], state.last_px[leg]
            basis += hedged * basis_loss(
                perpetual_px, spot_px, limits["basis_gap"], limits["stress_rise"], limits["stress_fall"]
            )
            shared = _shared_with(n_symbols, state, i, params) + _shared_with(n_symbols, state, leg, params)
            with_market += net * 0.5 * shared * known / market
    fall = limits["stress_fall"] * (against + with_market)
    rise = limits["stress_rise"] * (against - with_market)
    return max(fall, rise, 0.0) + limits["stress_own"] * gross + basis


@kernel_part
def _market_variance(n_symbols: int, state: State, params: Params) -> float:
    """Return the sum of all covariances between symbols that are known: their number squared times the market's."""
    total = 0.0
    for i in range(n_symbols):
        if not is_young(state, i, params):
            total += _shared_with(n_symbols, state, i, params)
    return total


@kernel_part
def _write_betas(n_symbols: int, state: State, weight: F8, params: Params) -> None:
    """Write every held symbol's beta to the market into the scratch column; infinite while it is not known."""
    market, known = _market_variance(n_symbols, state, params), 0.0
    for i in range(n_symbols):
        known += 0.0 if is_young(state, i, params) else 1.0
    for i in range(n_symbols):
        state.past[i, CLUSTER] = _UNKNOWN
        if weight[i] != 0.0 and market > 0.0 and not is_young(state, i, params):
            state.past[i, CLUSTER] = _shared_with(n_symbols, state, i, params) * known / market


@kernel_part
def _past_shock_loss(n_symbols: int, state: State, weight: F8, params: Params, row: int) -> float:
    """Return the loss in one past shock. Needs the betas in the scratch column where a symbol's own move is missing."""
    market, loss = params.shocks[row, n_symbols], 0.0
    for i in range(n_symbols):
        if weight[i] != 0.0:
            move = params.shocks[row, i]
            if move == move:
                loss -= weight[i] * move
            elif state.past[i, CLUSTER] < _UNKNOWN:
                loss -= weight[i] * state.past[i, CLUSTER] * market
            else:
                loss += abs(weight[i] * market)
    return loss


@kernel_part
def stress_loss(n_symbols: int, state: State, weight: F8, params: Params) -> float:
    """Return the loss of a book in the worst of all shocks, fraction of equity. Uses the state's scratch.

    Two are of the market as a whole, see ``_market_shock_loss``. The others are ``Params.shocks``: in each, symbol i
    moves as it did then; one that did not trade then moves by its beta times what the market moved, and by the whole of
    it, against the position, while its beta is not known.
    """
    worst = _market_shock_loss(n_symbols, state, weight, params)
    n_shocks = params.shocks.shape[0]
    missing = False
    for row in range(n_shocks):
        for i in range(n_symbols):
            missing = missing or (weight[i] != 0.0 and params.shocks[row, i] != params.shocks[row, i])
    if missing:
        _write_betas(n_symbols, state, weight, params)
    for row in range(n_shocks):
        worst = max(worst, _past_shock_loss(n_symbols, state, weight, params, row))
    return worst
