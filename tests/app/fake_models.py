"""What the fake engine says of models: one with little skill, one with none, a training, a challenger."""

from __future__ import annotations

import math
import time

import numpy as np
from fake_actions import refuse

HOUR_NS = 3_600 * 10**9
HORIZONS = [1, 2, 4, 8, 12, 24]
LEVELS = [0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975]
NORMAL = [-1.96, -1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645, 1.96]
OFFER = {"symbols": 10, "bars": 20_000, "minutes": 12.0, "why": "No model has been trained yet."}


def estimate(value: float, reach: float, **more) -> dict:
    return {"value": value, "low": value - reach, "high": value + reach, "spread": reach / 4, **more}


def figures(accuracy: float, reach: float = 0.01) -> dict:
    lean = accuracy - 0.5
    return {
        "accuracy": [estimate(accuracy, reach, count=2400) for _ in HORIZONS],
        "log_loss_gain": [estimate(2 * lean * lean, 0.002) for _ in HORIZONS],
        "ic": [estimate(2 * lean, 0.02) for _ in HORIZONS],
        **{f"issued_{level}": [estimate(level / 100 - 0.02, 0.03, count=2400) for _ in HORIZONS]
           for level in (50, 80, 90, 95)},
    }  # fmt: skip


def model_row(name: str, said: str, role: str, accuracy: float, weight: float, why: str, sharpe: float) -> dict:
    now = time.time_ns()
    return {
        "name": name, "said": said, "version": f"{name}-1", "role": role, "ts_trained": now - 40 * HOUR_NS,
        "ts_expires": now + 700 * HOUR_NS, "weight": [weight] * 6, "why_weight": why, "failed": None,
        "figures": figures(accuracy), "sharpe": estimate(sharpe, 0.9), "traded": None,
    }  # fmt: skip


class FakeModels:
    """Mixed into ``FakeEngine``."""

    def begin_models(self, *, empty: bool) -> None:
        self.models_ready = not empty
        self.training: dict | None = None

    def act_models(self, body):
        nothing = {"horizons": HORIZONS, "bar_s": 3600, "symbols": list(self.market.px), "share": 0.0,
                   "why": "No model has been trained.", "models": [], "reliability": [[] for _ in HORIZONS],
                   "trend_sharpe": None, "coverage": {"levels": [0.95, 0.9, 0.8, 0.5], "points": []}, "challenges": [],
                   "drift": [], "drift_words": "", "changes": [], "offer": OFFER,
                   "training": self.training}  # fmt: skip
        if not self.models_ready:
            return nothing
        start = time.time_ns() // 10**6 - 30 * 86_400_000
        points = [[start + k * 86_400_000, *([x, max(x - 0.3 / (k + 1) - 0.02, 0.0), min(x + 0.3 / (k + 1) + 0.02, 1.0)]
                                             for x in (0.94, 0.88, 0.78, 0.47 + 0.02 * math.sin(k / 3)))]
                  for k in range(30)]  # fmt: skip
        rows = [
            model_row("linear", "ridge and logistic regression", "champion", 0.524, 0.3,
                      "better than the base rate by 2.1 standard errors", 0.7),
            model_row("lstm", "recurrent network with attention", "champion", 0.501, 0.0,
                      "no skill shown: its loss is not below the base rate's", -0.4),
            model_row("base-rate", "what always happened", "baseline", 0.505, 0.7, "what is left by the others", 0.0),
        ]  # fmt: skip
        rows.append(rows[1] | {"name": "transformer", "said": "attention over 64 bars", "figures": {}, "sharpe": None,
                               "failed": "seed 1: its loss became infinite", "why_weight": "not trained"})  # fmt: skip
        rows.append(rows[0] | {
            "name": "ensemble", "said": "what each member counts", "weight": None,
            "why_weight": "trading skill: +9.0 % a year (+2.0 to +16.0) beyond holding and the trend rule",
            "traded": {"share": 0.25, "excess": estimate(0.09, 0.07), "sharpe": estimate(0.7, 0.9),
                       "trend_sharpe": estimate(1.6, 0.6), "days": 420},
        })  # fmt: skip
        bins = [{"stated": s, "came": s + 0.01, "count": n, "low": s - r, "high": s + r + 0.01, "days": 30}
                for s, n, r in ((0.45, 300, 0.12), (0.5, 1500, 0.04), (0.55, 400, 0.1))]  # fmt: skip
        return nothing | {
            "share": 0.25, "why": "A quarter of the decision, by 2.1 standard errors of skill.", "models": rows,
            "trend_sharpe": estimate(1.6, 0.6), "coverage": {"levels": [0.95, 0.9, 0.8, 0.5], "points": points},
            "reliability": [bins for _ in HORIZONS], "offer": None, "record_days": 90,
            "challenges": [{"champion": "linear-1", "challenger": "linear-2", "since_ns": time.time_ns() - 9 * HOUR_NS,
                            "outcomes": 120, "evidence": 1.7, "against": 1.2, "needed": 20.0, "action": "wait",
                            "path": [[start, 1.0, 1.0], [start + 172_800_000, 1.7, 0.8]],
                            "verdict": "not enough evidence yet",
                            "ahead": {"days": 64.0, "days_left": 41.0, "share": 0.22, "for_it": 0.09},
                            "money": {"champion": -0.00015, "challenger": 0.0004, "error": 0.0008, "days": 12}}],
            "retraining": ["By the calendar: in 3.0 days.", "Drift: 2 of 48 inputs are unlike the training."],
            "changes": [{"ts": time.time_ns(), "action": "challenge", "version": "linear-2", "before": None,
                         "reason": "schedule: every 7 days", "actor": "schedule"}],
            "drift": [{"topic": "Funding rate", "feature": "funding", "psi": 0.31, "usual": 0.12, "verdict": "unlike"},
                      {"topic": "Traded volume", "feature": "rel_volume", "psi": 0.04, "usual": 0.3,
                       "verdict": "steady"}],
            "drift_words": "The last 7 days against the bars of the training.",
        }  # fmt: skip

    def act_models_training(self, body):
        return {"training": self.training}

    def act_models_forecast(self, body):
        symbol = body["symbol"]
        if not self.models_ready:
            raise refuse("No model has been trained yet.")
        if symbol not in self.market.px:
            raise refuse(f"There is no {symbol}.")
        now = time.time_ns() // HOUR_NS * HOUR_NS
        points = [[(now - (100 - k) * HOUR_NS) // 10**6, p := 0.5 + 0.4 * math.sin(k / 15), 1 - p] for k in range(100)]
        return {
            "ts_close": now, "close_px": self.market.px[symbol], "sigma": 0.006, "levels": LEVELS,
            "quantile": [[x + 0.05 for x in NORMAL] for _ in HORIZONS], "prob_up": [0.52] * 6, "base_up": [0.505] * 6,
            "prob_spread": [0.014] * 6,
            "members": [
                {"name": "linear", "prob_up": [0.53] * 6, "median": [0.07] * 6, "weight": [0.3] * 6, "fresh": True},
                {"name": "lstm", "prob_up": [0.49] * 6, "median": [-0.02] * 6, "weight": [0.0] * 6, "fresh": False},
            ],
            "agents": [{"name": "ppo", "vote": 0.21, "spread": 0.12, "low": -0.3, "high": 0.7, "seeds": 3,
                        "weight": 0.0, "sharpe": estimate(0.2, 0.8)}],
            "regimes": {"names": ["calm", "stormy"], "points": points,
                        "changes": [[points[40][0], "the size of moves changed"]]},
        }  # fmt: skip

    def act_models_news(self, body):
        if not self.models_ready:
            return {"feeds": [], "headlines": [], "moods": [], "why": "", "share": 0.0}
        return {
            "feeds": [{"feed": "https://a.example/rss", "ts_read": time.time_ns(), "count": 2, "problem": None},
                      {"feed": "/tmp/b.xml", "ts_read": None, "count": None, "problem": "b.xml cannot be read"}],
            "headlines": [
                {"ts_fetched": time.time_ns(), "ts_published": None, "feed": "https://a.example/rss", "symbols": [],
                 "title": "Markets wait", "score": 0.0, "words": ""},
                {"ts_fetched": time.time_ns(), "ts_published": None, "feed": "https://a.example/rss", "score": 0.718,
                 "title": "Bitcoin rallies after approval", "symbols": ["BTCUSDT"], "words": "+rallies, +approval"},
            ],
            "moods": [{"symbol": "BTCUSDT", "mood": 0.41}, {"symbol": "ETHUSDT", "mood": None}], "share": 0.0,
            "why": "Headlines count nothing: 12 of at least 200 have been judged by the day that followed.",
        }  # fmt: skip

    def act_models_retire(self, body):
        if len(body["reason"]) < 20:
            raise refuse("A retirement needs a reason of at least 20 characters.")
        return {"version": None}

    def act_models_explain(self, body):
        rng = np.random.default_rng(3)
        paths = np.concatenate([np.zeros((12, 1)), rng.standard_normal((12, 24)).cumsum(axis=1)], axis=1)
        cases = [{"ts_close": time.time_ns() - (k + 2) * 40 * HOUR_NS, "symbol": "BTCUSDT", "distance": 0.5 + 0.01 * k,
                  "path": path.tolist()} for k, path in enumerate(paths)]  # fmt: skip
        return {
            "drivers": [{"topic": "Return of 24 bars", "points": 0.011, "error": 0.002},
                        {"topic": "Funding rate", "points": -0.004, "error": 0.001},
                        {"topic": "Hour and weekday", "points": 0.0002, "error": 0.001}],
            "typical_prob": 0.513, "said_prob": 0.52, "attention": [0.1, 0.2, 0.7] if body["model"] == "lstm" else None,
            "cases": cases, "ordinary_distance": 1.4,
            "summary": [f"{body['symbol']}: the 80 % interval includes zero: it may rise or fall."],
        }  # fmt: skip

    def act_models_reasons(self, body):
        if body.get("decision_id") == "55":
            return {"symbol": body["symbol"], "ts_close": None, "version": None, "record": None,
                    "why_not": "The models' newest forecast is 1 h old."}  # fmt: skip
        record = {
            "horizon": 24, "said": [12.5, 0.52], "typical": [4.0, 0.51], "low": -310.0, "high": 330.0,
            "topics": [["Traded volume", 9.0, 1.0, 0.012, 0.001], ["Funding rate", -0.5, 0.4, -0.002, 0.001]],
            "features": [["illiquidity", "Traded volume", 1.8, 7.0, 0.01],
                         ["funding_z", "Funding rate", -0.4, -0.5, 0.0]],
            "members": [["linear", 0.3, 30.0, 0.53, 28.3, 0.03], ["lstm", 0.0, -8.0, 0.49, 0.0, 0.0],
                        ["base-rate", 0.7, 5.0, 0.515, 0.0, 0.0]],
            "spread": [19.0, 0.02], "votes": [{"name": "ppo", "vote": 0.3, "low": -0.4, "high": 0.9, "weight": 0.05,
                                               "seeds": 3}],
            "wish": {"total": 0.42, "parts": [["forecasters", 0.5, 0.3, 0.4], ["agents", 0.1, 0.05, 0.02]]},
            "attention": {"model": "lstm", "weights": [0.1, 0.2, 0.7]},
            "cases": {"rises": 12, "count": 20, "ordinary": 1.4, "bars": 900,
                      "rows": [[time.time_ns() - 90 * HOUR_NS, "BTCUSDT", 0.9, 45.0]]},
            "summary": [f"{body['symbol']}: the middle forecast is +12.5 bp."],
        }  # fmt: skip
        return {"symbol": body["symbol"], "ts_close": 1, "version": "one", "why_not": None, "record": record}

    def act_models_train(self, body):
        self.training = {
            "run_id": "train-1", "status": "running", "progress": 0.4, "message": "fitting lstm, seed 1 of 3",
            "seconds_left": 380.0, "reason": body["reason"],
            "curves": [{"name": "lstm", "seed": 1, "points": [[1, 1.02, 1.01], [2, 0.99, 1.0], [3, 0.97, 0.995]]}],
        }  # fmt: skip
        return {"run_id": "train-1"}

    def act_models_cancel(self, body):
        self.training |= {"status": "cancelled", "message": "cancelled by a person"}
        return {"run_id": body["run_id"]}

    def act_models_promote(self, body):
        if len(body["reason"]) < 20:
            raise refuse(f"A promotion needs a reason of at least 20 characters; this one has {len(body['reason'])}.")
        return {"version": body["version"]}

    def act_models_rollback(self, body):
        if len(body["reason"]) < 20:
            raise refuse(f"A rollback needs a reason of at least 20 characters; this one has {len(body['reason'])}.")
        return {"version": "linear-0"}
