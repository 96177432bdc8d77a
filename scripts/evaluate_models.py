"""Judge every model by walk-forward, after costs, beside plain baselines; print tables and write JSON.

    python scripts/evaluate_models.py --data DATA --from 2019-01-01 --to 2025-01-01 [--json OUT] [--write]

DATA is a folder of SYMBOL.parquet (timestamp, open, high, low, close, volume). The months between --from and --to are
judged, each by models fitted to the bars before it, so DATA should start earlier; months with fewer than 180 days
before them are left out. FUNDING (timestamp, rate) is an input and is paid; SPOT (candles) gives the basis.
A run that is killed goes on where it was, given the same --cache; --judge-only judges what was finished by then.
--quick takes three symbols, six months and one seed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # two workers of one thread each are faster than two threads fighting

import numpy as np  # noqa: E402

from engine.domain import NS_PER_S  # noqa: E402
from engine.errors import WorkstationError  # noqa: E402
from engine.research.backtest import BacktestConfig  # noqa: E402
from engine.research.config import resolve  # noqa: E402
from engine.research.loading import BarTable, cut, funding_file, load_bars, load_funding, nanoseconds, select  # noqa: E402
from engine.research.simulation import has_volume, sim_bars  # noqa: E402
from models.catalogue import available, build, entry_of  # noqa: E402
from models.evaluate import cpu_s_of, judge_all, learn_all, prepared, unfinished  # noqa: E402
from models.evidence import evidence  # noqa: E402
from models.evidence_report import printed, write_section  # noqa: E402
from models.forecast import Learnable  # noqa: E402
from models.panel import rows_of  # noqa: E402
from models.splits import EMBARGO_BARS, Fold  # noqa: E402
from models.trading import Terms  # noqa: E402
from models.walkforward import Month, months  # noqa: E402

QUICK_SYMBOLS, QUICK_MONTHS = 3, 6
CASH = 10_000.0
CANARY_BARS, CANARY_MODELS = 6_000, ("linear", "boosting")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def in_ns(when: datetime) -> int:
    return int(when.timestamp()) * NS_PER_S


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--from", dest="start", type=moment, required=True, help="first judged day, UTC")
    parser.add_argument("--to", dest="end", type=moment, required=True, help="end of the judged days, UTC")
    parser.add_argument("--symbols", default="", help="comma-separated; default: all in DATA")
    parser.add_argument("--funding", type=Path, help="folder of SYMBOL.parquet with timestamp and rate")
    parser.add_argument("--spot", type=Path, help="folder of spot candles, for the basis")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default="", help=f"comma-separated; default: {', '.join(available())}")
    parser.add_argument("--cache", type=Path, default=Path(".models-cache"), help="where parts are kept")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--write", action="store_true", help="write the section of docs/results.md")
    parser.add_argument("--judge-only", action="store_true", help="learn nothing: judge the seeds that are finished")
    parser.add_argument("--quick", action="store_true", help="three symbols, six months, one seed")
    return parser.parse_args()


def series_of(folder: Path | None, symbols: tuple[str, ...], column: str, closes_after_ns: int) -> dict[str, Any]:
    """Read a column of SYMBOL.parquet for each symbol that has a file, with the moment each value is known."""
    import pyarrow.parquet as pq

    from models.panel import Series

    found: dict[str, Any] = {}
    for symbol in symbols:
        file = funding_file(folder, symbol) if folder is not None else None
        if file is not None:
            table = pq.read_table(file)
            ts = nanoseconds(table.column("timestamp"), file.name) + closes_after_ns
            found[symbol] = Series(ts, table.column(column).to_numpy().astype(np.float64))
    return found


def learnable(bars: BarTable, args: argparse.Namespace) -> Learnable:
    from models.dataset import learnable as learnable_of
    from models.panel import panel_from_bars

    funding = series_of(args.funding, bars.symbols, "rate", 0)
    spot = series_of(args.spot, bars.symbols, "close", bars.interval_s * NS_PER_S)
    return learnable_of(panel_from_bars(bars, funding, spot))


def terms_of(bars: BarTable, funding: np.ndarray | None) -> Terms:
    """Costs and limits of a backtest with default settings, without the two gates that depend on past losses."""
    config = BacktestConfig(bars=bars, params={"use_gate_drawdown": "off", "use_gate_daily_loss": "off"})
    resolved = resolve(config, bars.interval_s, bars.symbols, has_volume(bars))
    return Terms(
        sim_bars(bars, funding), resolved.instruments, resolved.costs, resolved.params, resolved.assumptions, CASH
    )


def chosen_steps(data: Learnable, args: argparse.Namespace) -> list[Month]:
    steps = months(data, in_ns(args.start), in_ns(args.end))
    return steps[-QUICK_MONTHS:] if args.quick else steps


def asked_for_leaks(data: Learnable, names: tuple[str, ...]) -> dict[str, str]:
    """Ask the newest bars through the whole pipeline whether anything of the future gets in."""
    from models.leakage import canaries

    end = len(data.panel.ts_close)
    panel = rows_of(data.panel, slice(max(end - CANARY_BARS, 0), end))
    n_bars = len(panel.ts_close)
    test, valid = n_bars - n_bars // 6, n_bars - n_bars // 3
    fold = Fold(slice(0, valid - EMBARGO_BARS), slice(valid, test - EMBARGO_BARS), slice(test, n_bars))
    asked = [name for name in CANARY_MODELS if name in names]
    found = {}
    for name in asked:
        found |= {f"{name} {what}": said for what, said in canaries(partial(build, name), panel, fold).items()}
    return found


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    symbols = tuple(name.strip().upper() for name in args.symbols.split(",") if name.strip())
    bars = cut(load_bars(args.data, symbols), None, in_ns(args.end))
    if args.quick and not symbols:
        bars = select(bars, bars.symbols[:QUICK_SYMBOLS])
    say(f"{len(bars.symbols)} symbols, {len(bars.ts_open):,} bars: working out the inputs")
    data = learnable(bars, args)
    steps = chosen_steps(data, args)
    names = [name.strip() for name in args.models.split(",") if name.strip()] or available()
    for name in names:
        entry_of(name)
    plan = prepared(data, names, 1 if args.quick else args.seeds, steps, args.cache, args.jobs)
    say(f"{len(steps)} months of {', '.join(plan.names)}; kept in {plan.folder}")
    kept_s = cpu_s_of(plan)
    failed = {} if args.judge_only else learn_all(plan)
    failed = unfinished(plan) | failed
    say("judging")
    found = judge_all(plan, failed)
    terms = terms_of(bars, load_funding(args.funding, bars) if args.funding else None)
    result = evidence(plan, found, failed, terms)
    say("asking for leaks")
    result["canaries"] = asked_for_leaks(data, plan.names)
    costs = terms.costs
    result["cpu"] = {"kept_s": kept_s, "now_s": cpu_s_now()}
    result["config"] = {
        "from": f"{args.start:%Y-%m-%d}", "to": f"{args.end:%Y-%m-%d}", "symbols": list(bars.symbols),
        "months": len(steps), "first_month": steps[0].name, "seeds": plan.seeds, "models": list(plan.names),
        "bars": len(bars.ts_open), "interval_s": bars.interval_s, "data_hash": bars.fingerprint[:16],
        "funding": args.funding is not None, "quick": args.quick,
        "costs": f"fee {1e4 * costs.fee_rate:.1f} bp, half spread {1e4 * costs.slippage_rate:.1f} bp plus "
                 f"{costs.spread_per_volatility:g} of a bar's volatility, square-root impact {costs.impact:g}",
    }  # fmt: skip
    return result


def cpu_s_now() -> float:
    """Return the seconds of a processor that this process and its children, which have ended, took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def main() -> int:
    args = arguments()
    started = time.perf_counter()
    try:
        result = evaluate(args)
    except WorkstationError as error:
        print(error, file=sys.stderr)
        return 2
    result["elapsed_s"] = time.perf_counter() - started
    print(printed(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    if args.write:
        write_section(result, Path(__file__).resolve().parents[1] / "docs" / "results.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
