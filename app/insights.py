"""How the AI Insights page writes what the engine says of models: rows, headline numbers, sentences. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from app.formats import UNKNOWN, age, is_known, moment, number, percent, signed, signed_percent
from app.tables import Column, Figure
from engine.domain import INTERVAL_S, NS_PER_S

ROLE_WORD = {"champion": "in force", "challenger": "challenger", "retired": "retired", "baseline": "baseline"}
ENDED = ("done", "failed", "cancelled", "lost")
INTERVALS = {0.95: (0, 8), 0.9: (1, 7), 0.8: (2, 6), 0.5: (3, 5)}  # which quantiles bound the central intervals
ENSEMBLE = "ensemble"
TRADERS = (ENSEMBLE, "agents")
"""What trades, and so can earn a share of a decision; the others make the forecast."""

ALL_TOGETHER = "All together, as they forecast"
NO_MODEL = "No model has been trained yet"

MODEL_COLUMNS = (
    Column("name", "Model", "text", "", 105),
    Column("role", "Role", "text", "In force: what it says is used as far as its weight goes", 85),
    Column("weight", "In the forecast", "figure", "What it counts among the forecasts at this horizon", 95),
    Column("accuracy", "Direction right, %", "figure", "Out of sample, with its 95 % interval; a coin has 50 %", 130),
    Column("gain", "Log-loss gain, 0.01 nat", "figure", "Base rate's loss minus its own; above zero is better", 165),
    Column("ic", "Rank correlation", "figure", "Of forecast and outcome (information coefficient); 0 is none", 140),
    Column("held", "80 % interval held, %", "figure", "Share of outcomes inside what was stated as 80 %", 140),
    Column("sharpe", "Sharpe, net, per year", "figure", "Of its position rule, after costs; not annual return", 140),
)
MEMBER_COLUMNS = (
    Column("name", "Model", "text", "", 110),
    Column("prob_up", "Rise, %", "figure", "Its probability of a rise over the chosen horizon", 90),
    Column("median", "Middle forecast", "figure", "Half of its outcomes lie above", 120),
    Column("weight", "Weight", "figure", "", 80),
    Column("state", "State", "verdict", "A stale or absent forecast is left out", 110),
)
AGENT_COLUMNS = (
    Column("name", "Agent", "text", "", 80),
    Column("vote", "Wish, −1 to 1", "figure", "Wholly short to wholly long, not an order; ±: over its seeds", 130),
    Column("between", "9 of 10 of its actions", "figure", "Between the 5 % and 95 % of its action distribution", 160),
    Column("seeds", "Seeds", "count", "Separately trained copies behind the vote", 60),
    Column("sharpe", "Sharpe, net, per year", "figure", "Out of sample, after costs, with its 95 % interval", 150),
    Column("weight", "Weight", "figure", "", 80),
)
JUDGED_COLUMNS = (
    Column("stated", "Stated, %", "figure", "Share of outcomes that the interval promises to hold", 90),
    Column("held", "Held, %", "figure", "Share that it held, with the 95 % interval of that", 150),
    Column("verdict", "So", "text", "", 260),
)
DRIFT_COLUMNS = (
    Column("state", "State", "verdict", "", 100),
    Column("topic", "What", "text", "", 230),
    Column("feature", "Input", "text", "Its name in the documentation of the inputs", 130),
    Column("psi", "Shift", "number", "Population stability index of the newest bars against the training", 80),
    Column("usual", "Usual, at most", "number", "19 of 20 equally long stretches of the training stayed below", 110),
)


def horizon_names(overview: dict[str, Any]) -> dict[int, str]:
    """Return every horizon in bars with its length in words."""
    return {bars: age(bars * overview["bar_s"]) if bars * overview["bar_s"] < 3_600 else _hours(
        bars * overview["bar_s"]) for bars in overview["horizons"]}  # fmt: skip


def _hours(seconds: float) -> str:
    return f"{seconds / 3_600:g} h"


def headline(overview: dict[str, Any], at: int, now_ns: int) -> list[Figure]:
    """Return the numbers to look at first, each with its doubt below it."""
    ruling = [row for row in overview["models"] if row["role"] not in ("baseline", "challenger")]
    models = [row for row in ruling if row["name"] not in TRADERS]
    best = max(models, key=lambda row: row["weight"][at] if row["weight"] else 0.0, default=None)
    trusted = [row for row in models if row["weight"] and row["weight"][at] > 0]
    right = figure_of(best, "accuracy", at) if best else None
    held = ensembles_figure(overview, "issued_80", at)
    in_force = [row["ts_expires"] for row in models if row["role"] == "champion" and is_known(row["ts_expires"])]
    expires = min(in_force, default=None)
    left = UNKNOWN if expires is None else age((expires - now_ns) / NS_PER_S) if expires > now_ns else "expired"
    return [
        Figure("Models count in decisions", percent(overview["share"], 0), overview["why"]),
        Figure("Models in the forecast", f"{len(trusted)} of {len(models)}", "At the chosen horizon"),
        Figure("Direction called right", _share(right),
               f"By {best['name']}, {'which counts most' if trusted else 'though none counts'}, out of sample"
               if best else "Out of sample",
               _share_range(right)),
        Figure("80 % interval held", _share(held), "Share of outcomes inside the ensemble's", _share_range(held)),
        Figure("First to expire, in", left, "Older models are no longer acted on"),
    ]  # fmt: skip


def why_share(overview: dict[str, Any]) -> str:
    """Say why models count what they count."""
    return f"Why models count {percent(overview['share'], 0)}: {overview['why']}"


def figure_of(row: dict[str, Any], name: str, at: int) -> dict[str, Any] | None:
    """Return a model's estimate of a figure at a horizon; None where there is none."""
    values = (row.get("figures") or {}).get(name)
    found = values[at] if values and at < len(values) else None
    return found if found and is_known(found.get("value")) else None


def ensembles_figure(overview: dict[str, Any], name: str, at: int) -> dict[str, Any] | None:
    """Return the estimate of a figure of the ensemble in force, whose forecast is shown; None where there is none."""
    rows = (row for row in overview["models"] if (row["name"], row["role"]) == (ENSEMBLE, "champion"))
    return next((found for row in rows if (found := figure_of(row, name, at))), None)


def model_rows(overview: dict[str, Any], at: int) -> pd.DataFrame:
    """Return the scoreboard at one horizon: every model, those that failed and those without skill too."""
    rows = []
    for row in overview["models"]:
        weight = row["weight"][at] if row.get("weight") else None
        rows.append({
            "name": row["name"],
            "role": "failed" if row.get("failed") else ROLE_WORD.get(row["role"], row["role"]),
            "weight": "trades" if row["name"] in TRADERS else percent(weight, 0),
            "accuracy": estimate(figure_of(row, "accuracy", at), 100, 1),
            "gain": estimate(figure_of(row, "log_loss_gain", at), 100, 2, sign=True),
            "ic": estimate(figure_of(row, "ic", at), 1, 3, sign=True),
            "held": estimate(figure_of(row, "issued_80", at), 100, 1),
            "sharpe": estimate(row.get("sharpe"), 1, 2, sign=True),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in MODEL_COLUMNS])


def weight_lines(overview: dict[str, Any], at: int) -> list[str]:
    """Return a line a forecaster: what it is, what it counts at a horizon, and why so much or so little."""
    return [
        f"**{row['name']}** ({row['said']}) counts {percent(row['weight'][at] if row.get('weight') else None, 0)} of "
        f"the forecast: {reason(row)}."
        for row in overview["models"]
        if row["name"] not in TRADERS
    ]


def reason(row: dict[str, Any]) -> str:
    """Say why a row counts what it counts, or how it failed."""
    return f"failed, {row['failed']}" if row.get("failed") else row.get("why_weight") or "no reason is known"


def bar_to_clear(overview: dict[str, Any]) -> str:
    """Say what the plain rule earns, because that is what a model has to beat."""
    found = overview.get("trend_sharpe")
    if not found or not is_known(found.get("value")):
        return "What the plain trend rule earns on the same bars has not been measured yet."
    return (
        f"The plain trend rule has a net Sharpe ratio of {number(found['value'])} a year on the same bars "
        f"({_range(found)}): a model that earns less than that has no reason to be there, whatever its accuracy."
    )


def member_rows(overview: dict[str, Any], said: dict[str, Any], at: int) -> pd.DataFrame:
    """Return what each model says of a symbol at one horizon."""
    scale = sigma_at(said, overview["horizons"][at])
    rows = [{
        "name": row["name"], "prob_up": percent(row["prob_up"][at], 1),
        "median": signed_percent(simple_return(row["median"][at], scale)), "weight": percent(row["weight"][at], 0),
        "state": "▲ fresh" if row["fresh"] else "▼ left out",
    } for row in said["members"]]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in MEMBER_COLUMNS])


def disagreement(said: dict[str, Any], at: int) -> str:
    """Say how far the models are from each other, against how far they are from a coin."""
    spread, prob = said["prob_spread"][at], said["prob_up"][at]
    if not is_known(spread):
        return "Fewer than two models have a forecast: whether they agree is unknown."
    lean = abs(prob - 0.5)
    verdict = "more than they are away from a coin: there is no agreement" if spread > lean else "less than they are " \
        "away from a coin"  # fmt: skip
    return f"The models differ by {points(spread)} points, {verdict} ({points(lean)} points)."


def _with_spread(value: float, spread: float | None) -> str:
    """Return a wish, and by how much copies that learned with other seeds differ."""
    text = signed(value).lstrip("▲▼± ")
    return f"{text} ± {number(spread)}" if is_known(spread) else text


def judged_rows(overview: dict[str, Any], at: int) -> pd.DataFrame:
    """Return how often the ensemble's intervals held on the bars that judged its training, a row a level."""
    rows = []
    for level in (50, 80, 90, 95):
        found = ensembles_figure(overview, f"issued_{level}", at)
        if found:
            fair = found["low"] <= level / 100 <= found["high"]
            so = (
                "as stated, as far as can be told"
                if fair
                else "too narrow"
                if found["high"] < level / 100
                else "too wide"
            )
            rows.append({"stated": number(level, 0), "held": estimate(found, 100, 1), "verdict": so})
    return pd.DataFrame(rows, columns=[column.name for column in JUDGED_COLUMNS])


def drift_sentence(overview: dict[str, Any]) -> str:
    """Say in one line how far the inputs have moved, and what follows."""
    verdicts = [row["verdict"] for row in overview["drift"]]
    unlike, shifted, limit = verdicts.count("unlike"), verdicts.count("shifted"), math.ceil(0.2 * len(verdicts))
    follows = "which starts a training" if unlike >= limit else f"{limit} start a training"
    return (
        f"Of {len(verdicts)} inputs {unlike} are unlike anything in the training and {shifted} are shifted more than "
        f"usual; {follows}. A market that models have not seen is one they can say little about."
    )


def agent_rows(said: dict[str, Any]) -> pd.DataFrame:
    """Return what each trading agent wishes, with the spread of its own actions and its record."""
    rows = [{
        "name": row["name"].upper(), "vote": _with_spread(row["vote"], row.get("spread")),
        "between": f"{number(row['low'])} to {number(row['high'])}", "seeds": row["seeds"],
        "sharpe": estimate(row.get("sharpe"), 1, 2, sign=True), "weight": percent(row["weight"], 0),
    } for row in said["agents"]]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in AGENT_COLUMNS])


def drift_rows(overview: dict[str, Any]) -> pd.DataFrame:
    """Return every input's drift, the worst first."""
    word = {"steady": "▲ steady", "shifted": "○ shifted", "unlike": "▼ unlike"}
    rows = [row | {"state": word.get(row["verdict"], UNKNOWN)} for row in overview["drift"]]
    rows.sort(key=lambda row: -row["psi"] if is_known(row["psi"]) else math.inf)
    return pd.DataFrame(rows, columns=[column.name for column in DRIFT_COLUMNS])


def retirable(overview: dict[str, Any]) -> list[str]:
    """Return what may be retired: the sets by version, then the models by name."""
    sets = dict.fromkeys(row["version"] for row in overview["models"])
    names = dict.fromkeys(row["name"] for row in overview["models"] if row["name"] not in ("base-rate", "ensemble"))
    return [*sets, *names]


def explainable(overview: dict[str, Any]) -> list[str]:
    """Return the models that can be asked for reasons, the one that counts most first."""
    usable = [row for row in overview["models"] if row["role"] != "baseline" and not row.get("failed")]
    usable = [row for row in usable if row["name"] not in TRADERS]
    return [row["name"] for row in sorted(usable, key=lambda row: -max(row["weight"] or [0.0]))]


def interval_name(bar_s: float) -> str:
    """Return the engine's name of a length of bars: 3600 s is ``1h``."""
    return next((name for name, seconds in INTERVAL_S.items() if seconds == bar_s), f"{bar_s:g}s")


def fan_caption(overview: dict[str, Any], said: dict[str, Any], at: int, no_candles: bool) -> str:
    """Say what the fan shows at the chosen horizon, and how such fans fared."""
    scale = sigma_at(said, overview["horizons"][at])
    low, high = (simple_return(said["quantile"][at][side], scale) for side in INTERVALS[0.8])
    known = ensembles_figure(overview, "issued_80", at)  # the fan is the ensemble's
    fared = "How often outcomes lay inside such intervals is not known yet"
    if known:
        fared = f"In the past {percent(known['value'], 1)} of outcomes lay inside ({_share_range(known)})"
    parts = [
        f"Over {horizon_names(overview)[overview['horizons'][at]]}: rise {percent(said['prob_up'][at], 1)}, before "
        f"{percent(said['base_up'][at], 1)}; 80 % interval {_plain_sign(low)} to {_plain_sign(high)}",
        fared, f"Forecast of {moment(said['ts_close'])} UTC",
    ]  # fmt: skip
    return ". ".join([*parts, "The candles are not stored yet"] if no_candles else parts) + "."


def drivers_caption(answer: dict[str, Any]) -> str:
    """Say what the bars add up to, and what they do not show."""
    return (
        f"From {percent(answer['typical_prob'], 1)} for a typical bar to {percent(answer['said_prob'], 1)} for this "
        "one; whiskers are two standard errors. It shows what this model made of its inputs, not what moves the market."
    )


def regime_sentence(regimes: dict[str, Any]) -> str:
    """Say which regime is the likeliest now, and that it is not certain."""
    if not regimes["points"]:
        return "No bar has been judged yet."
    name, prob = max(zip(regimes["names"], regimes["points"][-1][1:], strict=True), key=lambda pair: pair[1])
    alarms = len(regimes["changes"])
    return f"Now {name} with {percent(prob, 0)}, judged by the bars up to each moment alone, as it was seen then. " + (
        f"Dashed: {alarms} alarm{'' if alarms == 1 else 's'} that the market's behaviour changed."
        if alarms
        else "No alarm that the market's behaviour changed."
    )


def offer_sentence(offer: dict[str, Any]) -> str:
    """Say what a training would do and how long it takes."""
    return (
        f"{offer['why']} Training on {number(offer['symbols'], 0)} symbols and {number(offer['bars'], 0)} bars takes "
        f"about {number(max(offer['minutes'], 1.0), 0)} minutes of an idle processor "
        "core, in a process of its own; trading goes on meanwhile. "
        "What is learned counts in decisions only as far as its positions earned it, net, on bars it had not seen."
    )


def training_line(run: dict[str, Any]) -> str:
    """Say where a training stands."""
    left = f"about {age(run['seconds_left'])} left" if is_known(run.get("seconds_left")) else ""
    stage = run["message"] or ("" if run["status"] in ENDED else "starting")
    return " · ".join(part for part in (run["status"].capitalize(), stage, left, f"because {run['reason']}") if part)


def case_sentence(answer: dict[str, Any], at_bar: int) -> str:
    """Say what happened after the nearest past cases, and how alike they really are."""
    cases = [row for row in answer["cases"] if len(row["path"]) > at_bar]
    if not cases:
        return "No past bar with a known outcome is there to compare with."
    rises = sum(row["path"][at_bar] > 0 for row in cases)
    near = min(row["distance"] for row in cases)
    return (
        f"After the {len(cases)} most similar past bars the price rose {rises} times and fell {len(cases) - rises} "
        f"times. The nearest is {number(near)} away where a past bar picked at random is "
        f"{number(answer['ordinary_distance'])} away (in standard deviations an input): "
        f"{'alike' if near < 0.5 * answer['ordinary_distance'] else 'not very alike'}."
    )


def sigma_at(said: dict[str, Any], horizon: int) -> float:
    """Return the standard deviation of the log return over a horizon, as the engine knows it now."""
    return float(said["sigma"]) * math.sqrt(horizon)


def simple_return(value: float | None, scale: float) -> float | None:
    """Return the simple return of a forecast in units of ``scale``; None stays unknown."""
    return math.exp(value * scale) - 1.0 if is_known(value) else None


def points(prob: float | None) -> str:
    """Write a difference of probabilities in percentage points, without the unit."""
    return number(None if not is_known(prob) else 100.0 * prob, 1)


def _plain_sign(fraction: float | None) -> str:
    return signed_percent(fraction).lstrip("▲▼± ")


def _share(found: dict[str, Any] | None) -> str:
    return percent(found["value"], 1) if found else UNKNOWN


def _range(found: dict[str, Any] | None, write: Callable[[float], str] = number) -> str | None:
    if not found or not (is_known(found.get("low")) and is_known(found.get("high"))):
        return None
    of = f", of {number(found['count'], 0)}" if is_known(found.get("count")) else ", 95 %"
    return f"{write(found['low'])} to {write(found['high'])}{of}"


def _share_range(found: dict[str, Any] | None) -> str | None:
    return _range(found, lambda share: percent(share, 1))


def estimate(found: dict[str, Any] | None, times: float, decimals: int, *, sign: bool = False) -> str:
    """Write an estimate with its 95 % interval; unknown where it is."""
    if not found or not is_known(found.get("value")):
        return UNKNOWN
    value = found["value"] * times
    text = signed(value, decimals) if sign and _is_sure(found) else number(value, decimals)
    if not (is_known(found.get("low")) and is_known(found.get("high"))):
        return text
    return f"{text} ({number(found['low'] * times, decimals)} … {number(found['high'] * times, decimals)})"


def _is_sure(found: dict[str, Any]) -> bool:
    """Whether the interval leaves zero out: only then is a sign coloured."""
    return is_known(found.get("low")) and is_known(found.get("high")) and (found["low"] > 0 or found["high"] < 0)
