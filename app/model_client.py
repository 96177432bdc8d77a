"""Calls about the models: what they forecast and why, what that was worth, and their training. The contract is here.

Shapes: H horizons in bars, Q quantile levels, L interval levels. A forecast is in units of sigma * sqrt(horizon); the
simple return is exp(value * sigma * sqrt(horizon)) - 1. ``null`` is unknown. An *estimate* is
``{"value", "low", "high"}`` with a 95 % interval; ``spread`` beside it is the standard deviation over seeds.
"""

from __future__ import annotations

from typing import Any

READ_S = 5.0
EXPLAIN_S = 20.0  # asks the process that runs the models, which may be busy with a bar
START_S = 10.0


class ModelCalls:
    """Mixed into ``EngineClient``."""

    def models(self) -> dict[str, Any]:
        """Return what models there are and what they have shown.

        ``horizons`` [H]; ``bar_s``; ``symbols``; ``share``: what the models count in a decision, 0 to 1; ``why``:
        sentences on that share. ``models``: a row each with ``name``, ``said`` (what it is, in words), ``version``,
        ``role`` (champion, challenger, retired, baseline), ``ts_trained`` and ``ts_expires`` ns, ``weight`` [H],
        ``why_weight``, ``failed`` (a sentence or null), ``figures``, ``sharpe`` (an estimate, net of costs, a year) and
        ``traded``, of what can have a share of a decision: ``share``, ``excess`` (an estimate a year, beyond holding
        and the trend rule), ``sharpe``, ``trend_sharpe`` (of the rule on the same days), ``days``; else null.
        ``figures``: by name a list [H] of estimates: ``accuracy``, ``log_loss_gain`` (base rate's minus its own),
        ``ic``, ``issued_50`` to ``issued_95``; those of ``accuracy`` have ``count``. ``reliability`` [H] of lists of
        ``{"stated", "came", "low", "high", "count", "days"}`` is the ensemble's over the newest ``record_days``, its
        95 % interval by days. ``trend_sharpe``: the estimate of the rule to beat. ``coverage``: ``levels`` [L] and
        ``points``, rows of ``[ts_ms, held, …]``, one ``[share, low, high]`` or null a level, a row a day, rolling.
        ``challenges``: rows of ``champion, challenger, since_ns, outcomes, evidence, against, needed, verdict, path,
        ahead, money``; ``ahead``: ``days`` a verdict may take, ``days_left``, ``share``, ``for_it`` by then, or null;
        ``money``: net results ``champion`` and ``challenger``, ``error`` of the difference, ``days``, or null;
        ``evidence`` is what a stake of 1 on the challenger being better has grown to, ``path`` rows of ``[ts_ms, for,
        against]``. ``changes``: rows of ``ts, action, version, reason, actor``, newest first. ``drift``: rows of
        ``topic, feature, psi, usual, verdict`` (steady, shifted, unlike), and ``drift_words``. ``retraining``:
        sentences on when models are trained again. ``offer`` of a training that would make sense now: ``symbols, bars,
        minutes, why``, or null. ``training``, the newest run: ``run_id, status, progress, message, seconds_left,
        reason`` and ``curves``, rows of ``{"name", "seed", "points": [[step, train, valid]]}``; null before the first.
        """
        return self._ask("models", timeout_s=READ_S)

    def training(self) -> dict[str, Any] | None:
        """Return the ``training`` of ``models`` alone, which may be asked every other second."""
        found: dict[str, Any] | None = self._ask("models.training", timeout_s=READ_S)["training"]
        return found

    def model_forecast(self, symbol: str) -> dict[str, Any]:
        """Return the newest forecast of one symbol.

        ``ts_close`` ns, ``close_px``, ``sigma`` of one bar, ``levels`` [Q], ``quantile`` [H][Q], ``prob_up`` [H],
        ``base_up`` [H], ``prob_spread`` [H]. ``members``: rows of ``name, prob_up [H], median [H], weight [H], fresh``.
        ``agents``: rows of ``name, vote`` (wish, -1 to 1, mean over ``seeds``), ``spread`` (over these; may be absent),
        ``low``, ``high`` (90 % of its action distribution), ``weight, sharpe`` (an estimate). ``regimes``: ``{"names",
        "points": [[ts_ms, probability, …]], "changes": [[ts_ms, what]]}`` or null. Raises ``CommandRefused`` while
        there is none, with the reason.
        """
        return self._command("models.forecast", READ_S, symbol=symbol)

    def explain_forecast(self, symbol: str, model: str, horizon: int) -> dict[str, Any]:
        """Return why one model said what it said of a symbol's newest bar.

        ``drivers``: rows of ``topic, points`` (added to the probability of a rise, fraction) and ``error``; with
        ``typical_prob`` and ``said_prob``. ``attention``: weights of the last bars, oldest first, or null. ``cases``:
        rows of ``ts_close, symbol, distance`` and ``path`` (log returns in sigmas of one bar since, 0 first), with
        ``ordinary_distance``. ``summary``: sentences. Raises ``CommandRefused`` where there is nothing to explain.
        """
        return self._command("models.explain", EXPLAIN_S, symbol=symbol, model=model, horizon=horizon)

    def reasons(self, symbol: str, decision_id: str | None = None) -> dict[str, Any]:
        """Return what drove the ensemble at a decision, or at the newest forecast, as it was kept then.

        ``ts_close`` and ``version`` of the answer; ``why_not``: why there is no record, or null; ``record`` or null:
        ``horizon``; ``said`` and ``typical`` (basis points of log return, probability), ``low``, ``high`` (80 %);
        ``topics``: rows of [name, bp, standard error, probability, standard error], ``features``: rows of [name, topic,
        standard deviations from the average, bp, probability]; ``members``: rows of [name, weight, bp, probability, bp
        it moved, probability it moved]; ``spread`` [bp, probability]; ``wish``: ``total`` and ``parts``, rows of [who,
        wish, share, adds]; ``votes``: rows of ``name, vote, low, high, weight, seeds``; ``attention``: ``model`` and
        ``weights``, oldest bar first, or null; ``cases``: ``rises, count, ordinary, bars`` and ``rows`` of [ts_close,
        symbol, distance, bp after], or null; ``summary``: sentences.
        """
        return self._command("models.reasons", READ_S, symbol=symbol, decision_id=decision_id)

    def news(self) -> dict[str, Any]:
        """Return the headlines that were read, what the words in them say, and what that was worth.

        ``feeds``: rows of ``feed, ts_read, count, problem`` (a sentence or null); ``headlines``, newest first: rows of
        ``ts_fetched, ts_published, feed, title, symbols`` (empty: the whole market), ``score`` (-1 to 1) and ``words``;
        ``moods``: rows of ``symbol, mood``; ``correlation`` of scores with the next day's return, its ``error`` (one
        standard error), ``n`` judged of ``needed``, the ``share`` of a decision that earned, and ``why``.
        """
        return self._command("models.news", READ_S)

    def start_training(self, key: str, *, reason: str = "a person asked for it") -> dict[str, Any]:
        """Begin the training that ``offer`` describes and return ``{"run_id"}``."""
        return self._command("models.train", START_S, reason=reason, idempotency_key=key)

    def cancel_training(self, run_id: str, key: str) -> dict[str, Any]:
        """Stop a training; the models in force stay."""
        return self._command("models.cancel", START_S, run_id=run_id, idempotency_key=key)

    def promote_model(self, version: str, reason: str, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Put a challenger into force although its evidence may not suffice. Recorded with the reason."""
        return self._command(
            "models.promote", START_S, version=version, reason=reason, actor=actor, idempotency_key=key
        )  # fmt: skip

    def retire_model(self, name: str, reason: str, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Use a set, by its version, or a learner in whatever set no more. Recorded with the reason."""
        return self._command("models.retire", START_S, name=name, reason=reason, actor=actor, idempotency_key=key)

    def roll_models_back(self, reason: str, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Put the champion before this one back into force."""
        return self._command("models.rollback", START_S, reason=reason, actor=actor, idempotency_key=key)
