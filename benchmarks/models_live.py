"""From the last bar of an hour to the wish of all models, over the process in which they run. Prints JSON.

    python benchmarks/models_live.py [--symbols 50] [--bars 300] [--seeds 3]

The engine's own ``ModelHost`` and the real process: bars go in as the feed brings them, and what is timed is from the
last symbol's bar until a decision may use the answer, both ways over the pipe included. All models are on: every
forecaster in its full size, and so many agents of each algorithm, each with its paper book. Networks and agents are
taught for a step or two: what they say is worthless, and takes as long as any forecast. The limit is 50 ms in 99 of
100 bars, the goal 20 ms. ``agents`` is what they take of it, timed by themselves on the same bars; ``processor`` what
a bar takes of one core from its rows to the wish, which tells a slow machine from a busy one.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import Missing, fresh_home, options, report, spread

from engine.domain import Bar
from engine.runtime.model_host import DECIDE_LIMIT_S, ModelHost, Said
from models import fit
from models.agent_ensemble import AgentEnsemble
from models.agent_training import ALGORITHMS, CONFIGS, AgentConfig
from models.beside import store_beside, train_beside
from models.dataset import learnable
from models.fit import forecasters, store_set, train_set
from models.lstm import LstmForecaster
from models.panel import made_up_panel
from models.roles import enter
from models.serve import open_tape
from models.training import TrainingConfig
from models.transformer import TransformerForecaster

LIMIT_P99_MS, GOAL_P99_MS = 50.0, 20.0
SPAN_NS = 3_600 * 10**9
QUICK = TrainingConfig(steps_per_epoch=1, epochs_first=1, epochs_after=1, batch=2)
FIELDS = ("open_px", "high_px", "low_px", "close_px", "volume")


def hardly_taught(config: AgentConfig) -> AgentConfig:
    """Return an agent's settings with the fewest steps that its algorithm can learn from."""
    fewest = {"ppo": (("n_steps", 8), ("batch_size", 64)), "a2c": (("n_steps", 8),), "sac": (("learning_starts", 8),)}
    settings = tuple((dict(config.settings) | dict(fewest[config.algorithm])).items())
    return replace(config, steps=64, steps_again=64, settings=settings)


def stored_set(home: Path, seeds: int) -> tuple[list[str], AgentEnsemble]:
    """Train and keep a set whose networks and agents have hardly learned anything; return who is in it."""
    quick = {
        "lstm": lambda: LstmForecaster(training=QUICK),
        "transformer": lambda: TransformerForecaster(training=QUICK),
    }
    whole = fit.build
    fit.build = lambda name: quick[name]() if name in quick else whole(name)
    panel = made_up_panel(seed=1, n_bars=4_000, n_symbols=2)
    unknown = np.full(panel.close_px.shape, np.nan)
    data = learnable(panel._replace(funding=unknown, basis=unknown, imbalance=unknown))
    found = train_set(data, forecasters(), 0, lambda *_: True, seeds=1)
    for name, config in list(CONFIGS.items()):
        CONFIGS[name] = hardly_taught(config)
    beside = train_beside(data, ALGORITHMS, 0, lambda *_: True, seeds)
    if found.failed or beside.failed:
        raise Missing(f"not all models could be made: {found.failed | beside.failed}")
    now = time.time_ns()
    store_beside(home, data, beside, "bench", 0, now)
    store_set(home, data, found, "bench", "1h", 0, now)
    enter(home, "bench", now, "to be measured", "bench")
    return sorted(found.models), beside.agents


def agents_alone(agents: AgentEnsemble, n_symbols: int, n_bars: int) -> list[float]:
    """Return how long all agents together take for each bar, ms."""
    data = learnable(made_up_panel(seed=2, n_bars=400 + n_bars, n_symbols=n_symbols))
    stream, nothing, took = agents.stream(n_symbols), np.zeros(n_symbols), []
    for t in range(400, 400 + n_bars):
        began = time.perf_counter()
        stream.update(data.features[t], data.panel.close_px[t], data.sigma[t], nothing)
        took.append(1e3 * (time.perf_counter() - began))
    return took


def processor_alone(home: Path, n_symbols: int, n_bars: int) -> list[float]:
    """Return what each bar takes of the processor, ms, on the same tape in this process: other work hardly matters."""
    panel = made_up_panel(seed=2, n_bars=600 + n_bars, n_symbols=n_symbols)
    columns = [getattr(panel, name) for name in FIELDS]
    bars = [(int(panel.ts_close[t]), [column[t].tolist() for column in columns]) for t in range(600 + n_bars)]
    tape, took = open_tape(home, panel.symbols, time.time_ns()), []
    tape.warm_up(bars[:600])
    for bar in bars[600:]:
        began = time.process_time()
        tape.on_bar(*bar, time.time_ns(), np.inf)
        took.append(1e3 * (time.process_time() - began))
    return took


async def measured(home: Path, n_symbols: int, n_bars: int) -> dict:
    """Feed bars of the hour and return how long answers took, ms."""
    panel = made_up_panel(seed=2, n_bars=600 + n_bars, n_symbols=n_symbols)
    columns = [getattr(panel, name) for name in FIELDS]
    past = [(int(panel.ts_close[t]), [column[t].tolist() for column in columns]) for t in range(600)]
    answers: list[dict] = []
    host = ModelHost(
        home, "models.serve", panel.symbols, lambda symbols, interval, count: past[-count:], time.time_ns,
        on_answer=lambda role, answer: answers.append(answer),
    )  # fmt: skip
    took, late = [], 0
    try:
        host.start()
        while host.latest is None:
            await asyncio.sleep(0.05)
        for t in range(600, 600 + n_bars):
            ts_close = int(panel.ts_close[t])
            bars = [
                Bar(symbol, "1h", ts_close - SPAN_NS, *(float(column[t, i]) for column in columns))
                for i, symbol in enumerate(panel.symbols)
            ]
            began = time.perf_counter()
            for bar in bars:
                host.on_bar(bar)
            said = await host.said(ts_close)
            took.append(1e3 * (time.perf_counter() - began))
            late += not isinstance(said, Said)
            while host.latest["ts_close"] != ts_close:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.005)
    finally:
        host.close()
    own = answers[-n_bars:]
    slow = sum(any(why.startswith("slow") for why in answer["left_out"].values()) for answer in own)
    members = {
        name: spread([answer["elapsed"][name] for answer in own if name in answer["elapsed"]])
        for name in own[-1]["elapsed"]
    }
    return {
        "round_trip": spread(took), "in_the_process": spread([answer["elapsed_ms"] for answer in own]),
        "members": members, "decisions_without_models": late, "answers_without_a_member": slow,
    }  # fmt: skip


def main() -> None:
    chosen = options(
        __doc__,
        ("--symbols", {"type": int, "default": 50}),
        ("--bars", {"type": int, "default": 300}),
        ("--seeds", {"type": int, "default": 3}),
    )
    load_before = os.getloadavg()[0]
    with fresh_home() as home:
        members, agents = stored_set(home, chosen.seeds)
        found = asyncio.run(measured(home, chosen.symbols, chosen.bars))
        found["processor"] = spread(processor_alone(home, chosen.symbols, chosen.bars))
    p99 = found["round_trip"]["p99"]
    report(
        {
            "benchmark": "models_live",
            "symbols": chosen.symbols,
            "set": members,
            "agents_in_the_set": [member.name for member in agents.members],
            "load": {"before": load_before, "after": os.getloadavg()[0]},
            "unit": "ms from the hour's last bar to the answer in the engine",
            **found,
            "agents": spread(agents_alone(agents, chosen.symbols, chosen.bars)),
            "limit_ms": 1e3 * DECIDE_LIMIT_S,
            "target": {"round_trip_p99_ms": LIMIT_P99_MS, "goal_p99_ms": GOAL_P99_MS},
            "reached": p99 is not None and p99 < LIMIT_P99_MS,
            "goal_reached": p99 is not None and p99 < GOAL_P99_MS,
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
