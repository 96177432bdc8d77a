"""What a backtest can be asked: strategies, their parameters with units, and the configuration sent. Pure."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

from app.formats import moment, number, percent, plural

STRATEGIES = {
    "trend": "Trend, several horizons", "portfolio": "Portfolio of sleeves", "ema-cross": "EMA cross, the yardstick",
    "file": "Python file",
}  # fmt: skip
SOURCES = {"history": "History", "dataset": "Data set", "path": "Path"}
HISTORY_INTERVALS = ("1h", "1m")  # what the engine keeps; a file's own interval is read from it


class Parameter(NamedTuple):
    """One number or choice of a strategy, as the form shows it."""

    name: str
    label: str  # with its unit
    default: Any  # as the engine takes it
    scale: float = 1.0  # shown = stored x scale
    minimum: float | None = None  # as shown
    maximum: float | None = None  # as shown
    step: float | None = None  # as shown
    choices: tuple[str, ...] = ()
    meaning: str = ""
    empty: str = ""  # what an empty field stands for; it is not sent then


COSTS = (
    Parameter("fee", "Taker fee, bp", 0.0004, 1e4, -100.0, 500.0, 0.5, meaning="Of traded notional; negative: rebate"),
    Parameter(
        "maker_fee",
        "Maker fee, bp",
        None,
        1e4,
        -100.0,
        500.0,
        0.5,
        meaning="Of what rests and is filled",
        empty="as taker",
    ),
    Parameter(
        "maker_share",
        "Maker share, %",
        None,
        100,
        0.0,
        100.0,
        5.0,
        empty="0",
        meaning="Share of each order that is filled resting, without crossing the spread; a high share flatters",
    ),
    Parameter(
        "slippage",
        "Slippage, bp",
        None,
        1e4,
        0.0,
        500.0,
        0.5,
        empty="by market",
        meaning="Empty: spread by volatility and impact by volume. A number: that distance instead of both",
    ),
    Parameter(
        "spread_vol",
        "Spread by vol, ×",
        None,
        1,
        0.0,
        1.0,
        0.005,
        empty="0.01",
        meaning="Half spread over the volatility of an hour",
    ),
    Parameter(
        "impact",
        "Impact, ×",
        None,
        1,
        0.0,
        10.0,
        0.5,
        empty="1",
        meaning="Factor of the square-root law of market impact, where volume is known",
    ),
    Parameter(
        "max_participation",
        "Max volume, %",
        None,
        100,
        0.1,
        100.0,
        1.0,
        empty="no limit",
        meaning="Largest share of a bar's volume that is ours; the rest waits",
    ),
    Parameter("delay_bars", "Delay, bars", 0, 1, 0, 1000, 1, meaning="Fills come so many bars after the next open"),
    Parameter(
        "latency_ms", "Latency, ms", None, 1, 0.0, 86_400_000.0, 100.0, empty="0", meaning="Between decision and fill"
    ),
    Parameter("stop_pct", "Stop, %", None, 100, 0.1, 90.0, 1.0, empty="none", meaning="Of the entry price"),
    Parameter("take_pct", "Take profit, %", None, 100, 0.1, 1000.0, 1.0, empty="none", meaning="Of the entry price"),
    Parameter("min_notional", "Min order, USDT", 5.0, 1, 0.0, 100_000.0, 1.0, meaning="Orders below it open nothing"),
)
FITTED = frozenset({"fee", "maker_fee", "maker_share", "slippage", "spread_vol", "impact"})
"""Costs that our own fills tell: with those chosen, the form neither shows nor sends them."""

PAPER_FILLS = " These are fills of the practice exchange on its {} market: real ones may be dearer."
COST_SOURCES = {"assumed": "As stated", "own": "From own fills"}
_TREND = (
    Parameter("trend_horizons_hours", "Horizons, h", (72.0, 216.0, 648.0), meaning="Hours, commas between"),
    Parameter("volatility_horizon_hours", "Vol memory, h", 168.0, 1, 0.1, 10_000.0, 1.0,
              meaning="Memory of the volatility estimate, hours"),
    Parameter("volatility_target", "Vol target, %/y", 0.20, 100, 0.1, 200.0, 1.0,
              meaning="Annualised volatility the book aims at"),
    Parameter("max_symbol_weight", "Symbol cap, ×", 0.5, 1, 0.01, 5.0, 0.1, meaning="One symbol's share of equity"),
    Parameter("max_gross_weight", "Gross cap, ×", 2.0, 1, 0.01, 10.0, 0.1, meaning="Sum of |weights|, × equity"),
    Parameter("rebalance_band", "Band, ×", 0.05, 1, 0.0, 0.5, 0.01,
              meaning="Smallest change of weight that is traded, × equity"),
    Parameter("allow_short", "Shorts", True, meaning="Whether weights may be negative"),
)  # fmt: skip
PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "trend": _TREND,
    "portfolio": (
        Parameter("sleeves", "Sleeves", ("trend", "momentum", "carry", "models", "tail", "basis"),
                  meaning="Commas between; reversal may be added. Carry and basis need funding rates"),
        Parameter("sharing", "Risk shared by", "evidence", choices=(
            "adaptive", "equal-weight", "risk-parity", "minimum-cvar", "hierarchical-risk-parity", "mean-variance",
            "evidence"), meaning="Between sleeves without a budget; evidence: an optimiser once its record says so"),
        *_TREND,
        Parameter("tail_budget", "Tail hedge, %", 0.25, 100, 0.0, 100.0, 5.0,
                  meaning="Share of the volatility target that the tail hedge may use"),
        Parameter("basis_budget", "Spot pairs, ×", 0.6, 1, 0.0, 1.0, 0.1,
                  meaning="Spot held against perpetuals, × equity; only data with SYMBOL.SPOT has pairs"),
    ),
    "ema-cross": (
        Parameter("fast", "Fast span, bars", 20, 1, 1, 10_000, 1, meaning="EMA alpha is 2 / (span + 1)"),
        Parameter("slow", "Slow span, bars", 100, 1, 2, 100_000, 1, meaning="No signal before this many bars"),
        Parameter("side", "Side", "long", choices=("long", "both"), meaning="Both: sells short on the opposite cross"),
        Parameter("gate", "Risk gate", "on", choices=("on", "off"), meaning="Off only to compare with other libraries"),
    ),
    "file": (),
}  # fmt: skip


def own_costs_sentence(own: dict[str, Any]) -> str:
    """Return what costs from our own fills are and rest on, or why they cannot be chosen."""
    if own["why"]:
        return f"Own fills cannot be used yet: {own['why']}."
    return (
        f"Fitted to {plural(own['n_orders'], 'order')} of our own that filled ({own['version']}, "
        f"{moment(own['ts'])[:16]} UTC): half spread {number(own['half_spread'] * 1e4, 2, 'bp')}, impact "
        f"{number(own['impact'], 2)} ×, taker {number(own['taker_fee'] * 1e4, 2, 'bp')}, maker "
        f"{number(own['maker_fee'] * 1e4, 2, 'bp')}, {percent(own['maker_share'], 0)} filled as maker."
        f"{PAPER_FILLS.format(own['market']) if own['mode'] == 'paper' else ''}"
    )


SETTING_OF = {"fast": "ema_fast", "slow": "ema_slow"}
"""Parameters that a setting has another name for."""


def parameters(strategy: str, in_force: dict[str, Any], costs: str = "assumed") -> list[Parameter]:
    """Return a strategy's parameters and the costs, starting from the settings that are in force.

    Parameters
    ----------
    in_force : dict
        ``SystemConfig`` values as the engine gives them; what is not in it keeps its own default. Where the engine
        trades that very strategy, its own parameters count too.
    costs : str
        Of ``COST_SOURCES``: those that our own fills tell are left out with "own".
    """

    own = in_force.get("strategy_params") or {} if in_force.get("strategy") == strategy else {}

    def start(spec: Parameter) -> Parameter:
        value = own.get(spec.name, in_force.get(SETTING_OF.get(spec.name, spec.name), spec.default))
        if value is None:
            return spec
        if isinstance(spec.default, tuple):
            return spec._replace(default=tuple(number_list(value)) if isinstance(value, str) else tuple(value))
        return spec._replace(default=type(spec.default)(value))

    stated = [spec for spec in COSTS if costs != "own" or spec.name not in FITTED]
    return [start(spec) for spec in (*PARAMETERS[strategy], *stated)]


def dataset_names(datasets: list[dict[str, Any]], kind: str) -> dict[str, str]:
    """Return the stored data sets of a kind: reference to what a person reads."""
    return {
        f"{row['name']}@{row['version']}": f"{row['name']} v{row['version']} · {row.get('interval') or kind}"
        for row in datasets if row["kind"] == kind
    }  # fmt: skip


def build_config(form: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Return what ``run.start`` takes.

    Parameters
    ----------
    form : dict
        ``source, path, dataset, funding, symbols, interval, strategy, file, start, end, cash, costs`` as the widgets
        hold them.
    shown : dict
        Parameter name to its value in the unit of the form; text for a list.
    """
    specs = {spec.name: spec for spec in (*PARAMETERS[form["strategy"]], *COSTS)}
    given = {name: value for name, value in shown.items() if name in specs and value is not None}
    params = {name: stored(specs[name], value) for name, value in given.items()}
    params.update(free_parameters(form.get("free") or "") if form["strategy"] == "file" else {})
    return {
        "source": form["source"], "path": (form["path"] or None) if form["source"] == "path" else None,
        "dataset": (form.get("dataset") or None) if form["source"] == "dataset" else None,
        "funding": form.get("funding") or None,
        "symbols": list(form["symbols"]), "interval": form["interval"],
        "strategy": form["file"] if form["strategy"] == "file" else form["strategy"], "params": params,
        "start": _day(form["start"]), "end": _day(form["end"]), "cash": float(form["cash"]),
        "costs": form.get("costs") or "assumed",
        "settings": "in_force",  # what the form does not show is not left at defaults that nobody sees
    }  # fmt: skip


def missing(config: dict[str, Any]) -> str | None:
    """Return a sentence on what the form lacks, or None when it can be sent."""
    if config["source"] == "path" and not config["path"]:
        return "Give the path of a Parquet or CSV file, or of a folder of them."
    if config["source"] == "dataset" and not config["dataset"]:
        return "Choose a data set; the Data page imports and downloads them."
    if config["source"] == "history" and not config["symbols"]:
        return "Choose at least one symbol."
    if not config["strategy"]:
        return "Give the path of the strategy's Python file."
    if config["start"] and config["end"] and config["start"] >= config["end"]:
        return "The start must be before the end."
    return None


def stored(spec: Parameter, shown: Any) -> Any:
    """Return a shown value in the engine's unit. In a list, a word that is no number stays: the engine says so."""
    if isinstance(spec.default, tuple):
        return number_list(str(shown))
    if isinstance(shown, bool) or not isinstance(shown, (int, float)) or spec.scale == 1:
        return shown
    # Rounded so that 5.0 % is 0.05 and not 0.05000000000000001.
    return round(shown / spec.scale, 12)


def number_list(text: str) -> list[float | str]:
    """Split text at commas and spaces into numbers; a word that is none stays as it was typed."""
    out: list[float | str] = []
    for word in text.replace(",", " ").split():
        try:
            out.append(float(word))
        except ValueError:
            out.append(word)
    return out


def free_parameters(text: str) -> dict[str, Any]:
    """Read ``name=value`` lines of a user's strategy; numbers become numbers."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, mark, value = line.partition("=")
        if mark and name.strip():
            found[name.strip()] = plain_value(value.strip())
    return found


def plain_value(text: str) -> bool | int | float | str:
    """Return a typed value as what it looks like: 48 is a whole number, 0.2 a number, true a switch."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _day(value: date | None) -> str | None:
    return value.isoformat() if value else None
