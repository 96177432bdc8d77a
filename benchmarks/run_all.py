"""Runs every benchmark, one after the other, prints one table and writes one JSON file.

    python benchmarks/run_all.py [--only ingest,startup] [--quick] [--json benchmarks/results.json]

Close everything else first: the figures are those of the whole machine. A benchmark that cannot run here (no browser)
or fails is shown with its reason and does not stop the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ROOT, machine
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 600.0
Row = tuple[str, Any, str, str]  # what, measured, target, bound or peer in the same run

QUICK = {
    "sweep": ["--repeats", "2"],
    "backtest": ["--bars", "200000", "--repeats", "2"],
    "decision_latency": ["--decisions", "40"],
    "inference": ["--bars", "120"],
    "models_live": ["--bars", "100"],
    "ingest": ["--seconds", "5"],
    "tick_to_pixel": ["--seconds", "8"],
    "kill_switch": ["--repeats", "1"],
}


def backtest(r: dict[str, Any]) -> list[Row]:
    ratio, many = r["gate_on_over_bare"], r["rebalance"]["rows"]
    peer = round(many["vectorbt"]["best_ms"]) if "best_ms" in many.get("vectorbt", {}) else "not run"
    return [
        (f"backtest of {r['bars']:,} bars, full gate, ms", round(r["gate_on_ms"], 1), "≤ 5 × bare",
         f"bare kernel {r['bare_kernel_ms']:.1f} ms: {ratio:.1f} ×"),
        ("peak memory, MB", round(r["peak_rss_mb"]), "< 500", ""),
        ("final equities that must agree, largest difference",
         f"{max(abs(pair['difference']) for pair in r['agreement']):.1e}", "≤ 1e-6",
         ", ".join(f"{pair['ours']} and {pair['theirs']}" for pair in r["agreement"])),
        (f"{r['rebalance']['symbols']} symbols rebalanced, ms", round(many["gate on"]["best_ms"], 1), "≥ 10 × vectorbt",
         f"vectorbt {peer} ms, bare kernel {many['bare']['best_ms']:.1f} ms"),
    ]  # fmt: skip


def sweep(r: dict[str, Any]) -> list[Row]:
    bare, over = r["rows"]["bare"]["best_ms"], r["best_over_bare"]
    return [
        *((f"sweep of {r['pairs']} pairs x {r['bars']:,} bars, {name}, ms", round(r["rows"][name]["best_ms"], 1),
           "≤ 2 × bare", f"bare prange loop {bare:.1f} ms: {over[name]:.1f} ×") for name in over),
        ("its peak memory, MB", round(r["peak_rss_mb"]), "< 500", ""),
    ]  # fmt: skip


def decision_latency(r: dict[str, Any]) -> list[Row]:
    usual, bounds = r["usual"], r["bounds"]
    floor = f"durable row {bounds['durable_row_ms']['p50']} ms, signature {bounds['signature_ms']['p50']} ms"
    return [
        (f"bar close to decision durable, {r['symbols']} symbols, p99 ms", usual["decision_durable"]["p99"], "", floor),
        ("bar close to first order at the socket, p50 ms", usual["first_request"]["p50"], "", ""),
        ("bar close to first order at the socket, p99 ms", usual["first_request"]["p99"], "< 10",
         f"step alone {bounds['step_ms']['p99']} ms"),
        ("the same when every symbol trades, last order, p99 ms", r["all_symbols"]["last_request"]["p99"], "",
         f"order spacing {r['all_symbols']['spacing_floor_ms']} ms"),
    ]  # fmt: skip


def inference(r: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("LSTM and Transformer, one bar of 50 symbols, p99 ms", r["both_p99_ms_50_symbols"], "< 20", "")]
    for name, figures in r["models"].items():
        streaming, window = figures["50"]["streaming_ms"]["wall"], figures["50"]["window_ms"]["wall"]
        rows.append((f"{name}, p50 ms", streaming["p50"], "", f"64 bars read anew {window['p50']} ms"))
    worst = r["largest_batch_stream_difference"]
    return [*rows, ("largest difference of batch and stream, sigma", f"{worst:.1e}", f"≤ {r['tolerance']}", "")]


def models_live(r: dict[str, Any]) -> list[Row]:
    limit = f"a decision waits {r['limit_ms']:.0f} ms"
    return [
        (f"last bar to the wish of all models, {r['symbols']} symbols, p50 ms", r["round_trip"]["p50"], "", limit),
        ("the same, p99 ms", r["round_trip"]["p99"], "< 50, goal 20",
         f"in the process {r['in_the_process']['p99']} ms"),
        (f"{len(r['agents_in_the_set'])} agents' part of it, p99 ms", r["agents"]["p99"], "", ""),
        ("decisions that went on without models", r["decisions_without_models"], "", f"of {r['round_trip']['n']}"),
    ]  # fmt: skip


def ingest(r: dict[str, Any]) -> list[Row]:
    return [
        ("ticks a second until on disk", r["ticks_per_s_until_on_disk"], "≥ 50,000",
         f"bare insert {r['bound_bare_insert_rows_per_s']:,}/s"),
        ("rows lost", r["rows_lost"], "0", ""),
        (f"10,000-row read, {r['readers']} readers, p95 ms", r["read_10k_rows_ms"]["p95"], "< 50",
         f"idle {r['bound_read_10k_rows_idle_ms']['p95']} ms"),
    ]  # fmt: skip


def tick_to_pixel(r: dict[str, Any]) -> list[Row]:
    return [
        ("desk updates a second", r["updates_per_s"], "≥ 10", "relay sends at most 30"),
        ("tick to pixel, p50 ms", r["tick_to_pixel_ms"]["p50"], "", ""),
        ("tick to pixel, p95 ms", r["tick_to_pixel_ms"]["p95"], "< 100",
         f"relay to pixel {r['bound_relay_to_pixel_ms']['p95']} ms"),
        ("screen's server CPU, % of one core", r["cpu_pct_of_one_core"]["screen"], "< 5",
         f"engine {r['cpu_pct_of_one_core']['engine']} %"),
    ]  # fmt: skip


def startup(r: dict[str, Any]) -> list[Row]:
    return [
        ("command to first HTTP 200, s", r["http_200_s"], "",
         f"empty Streamlit script {r['bound_empty_streamlit_http_200_s']} s"),
        ("command to moving chart, s", r["moving_chart_s"], "< 15", f"kernels {r['kernels']}"),
        ("command to phase trading, s", r["engine_trading_s"], "", ""),
        ("engine imported torch", r["engine_imported_torch"], "False", ""),
    ]  # fmt: skip


def kill_switch(r: dict[str, Any]) -> list[Row]:
    return [
        ("kill: click to cancels acknowledged, worst ms", r["click_to_cancels_acknowledged_ms"]["max"], "< 1000",
         f"status question p95 {r['bound_status_question_ms']['p95']} ms"),
        ("kill: click to flat, worst ms", r["click_to_flat_ms"]["max"], "", f"{r['presses']} presses"),
    ]  # fmt: skip


SUMMARIES: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "startup": startup,
    "tick_to_pixel": tick_to_pixel,
    "decision_latency": decision_latency,
    "inference": inference,
    "models_live": models_live,
    "kill_switch": kill_switch,
    "ingest": ingest,
    "backtest": backtest,
    "sweep": sweep,
}


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run one benchmark in a process of its own and return its JSON, or ``{"failed": reason}``."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen(
            [sys.executable, str(HERE / f"{name}.py"), *arguments], cwd=ROOT, env=environment, stdout=said,
            stderr=complained,
        )  # fmt: skip
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            return {"failed": f"took longer than {TIMEOUT_S:.0f} s"}
        said.seek(0)
        complained.seek(0)
        if code != 0:
            lines = complained.read().strip().splitlines()
            return {"failed": lines[-1] if lines else f"exit code {code}"}
        return json.loads(said.read()) | {"wall_s": round(time.monotonic() - began, 1)}


def written(measured: Any) -> str:
    """Return a figure as the table shows it; some are written already."""
    if measured is None:
        return "unknown"
    return str(measured) if isinstance(measured, bool | str) else f"{measured:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"comma-separated: {', '.join(SUMMARIES)}")
    parser.add_argument("--quick", action="store_true", help="shorter runs, for a check that all of them work")
    parser.add_argument("--json", type=Path, default=HERE / "results.json", metavar="OUT")
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else list(SUMMARIES)
    unknown = set(names) - set(SUMMARIES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    results: dict[str, Any] = {"machine": machine(), "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    table = Table("benchmark", "what", "measured", "target", "bound or peer, same run")
    console = Console(width=150)
    for name in names:
        console.print(f"Running {name}.", style="dim")
        results[name] = run(name, QUICK.get(name, []) if chosen.quick else [])
        if "failed" in results[name]:
            table.add_row(name, results[name]["failed"], "not measured", "", "")
            continue
        for what, measured, target, bound in SUMMARIES[name](results[name]):
            table.add_row(name, what, written(measured), target, bound)
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(results, indent=2) + "\n")
    console.print(table)
    console.print(f"{results['machine']['cpu']}, {results['machine']['cores']} cores. Written to {chosen.json}.")


if __name__ == "__main__":
    main()
