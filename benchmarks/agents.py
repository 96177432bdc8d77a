"""Agents on made-up markets with a known best answer, next to that answer; and how fast they practise.

    python benchmarks/agents.py [--steps 20000] [--seeds 3]

Prints JSON. Two markets of ``models.panel``'s prices: in ``seen`` the next return leans to a sign that is among the
inputs, and the best answer is to follow it; in ``noise`` nothing is known but the costs, and the best answer is to
hold nothing. ``found`` is the mean reward a step of the trained agent, ``best`` that of the known answer, ``flat`` that
of holding nothing, which is 0.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np

from engine.core.matching import SimBars
from engine.domain import NS_PER_S
from models.actor import actor_of
from models.agent_training import ALGORITHMS, CONFIGS, train_agent
from models.env import Market, TradingEnv, practice_terms, unit_weight

TERMS = practice_terms()
SIGMA, LEAN, RUN_BARS, EPISODE = 0.008, 0.3, 24, 256


def made_up_market(leans: bool, seed: int, n_bars: int = 8_000) -> Market:
    """Return one symbol whose returns lean by 0.3 sigma to a sign that changes every day, or do not."""
    rng = np.random.default_rng(seed)
    sign = np.repeat(rng.choice([-1.0, 1.0], n_bars // RUN_BARS + 1), RUN_BARS)[:n_bars]
    drift = LEAN * np.append(0.0, sign[:-1]) if leans else 0.0
    close_px = 100.0 * np.exp(np.cumsum(SIGMA * (rng.standard_normal(n_bars) + drift)))[:, None]
    open_px = np.vstack([close_px[:1], close_px[:-1]])
    ts_close = np.arange(1, n_bars + 1, dtype=np.int64) * 3600 * NS_PER_S
    bars = SimBars(
        ts_close, open_px, close_px, np.zeros((n_bars, 1)), np.maximum(open_px, close_px),
        np.minimum(open_px, close_px), np.full((n_bars, 1), 1e6),
    )  # fmt: skip
    inputs = np.stack([sign, rng.standard_normal(n_bars)], axis=1).astype(np.float32)[:, None, :]
    sigma = np.full((n_bars, 1), SIGMA)
    return Market(bars, np.clip(inputs, -4, 4), sigma, unit_weight(sigma, TERMS.params), np.arange(n_bars - EPISODE))


def mean_reward(market: Market, act: Any, episodes: int = 10) -> float:
    """Return the mean reward a step of a rule, over the same episodes for every rule."""
    env = TradingEnv(market, TERMS, episode_bars=EPISODE)
    total, steps = 0.0, 0
    for k in range(episodes):
        seen, _ = env.reset(options={"start": k * 700, "symbols": [0]})
        done = False
        while not done:
            seen, reward, terminated, truncated, _told = env.step(act(seen))
            total, steps, done = total + reward, steps + 1, terminated or truncated
    return total / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    env = TradingEnv(made_up_market(True, 9), TERMS, episode_bars=EPISODE)
    env.reset(seed=1)
    started = time.process_time()
    for _ in range(5_000):
        _seen, _reward, terminated, truncated, _told = env.step(np.ones(1, dtype=np.float32))
        if terminated or truncated:
            env.reset()
    found: dict[str, Any] = {"env_steps_per_cpu_s": 5_000 / (time.process_time() - started)}
    for leans, name in ((True, "seen"), (False, "noise")):
        market, judged = made_up_market(leans, 1), made_up_market(leans, 2)
        follow = mean_reward(judged, lambda seen: np.sign(seen[:1])) if leans else 0.0
        found[name] = {"best": follow, "flat": 0.0}
        for algorithm in ALGORITHMS:
            config = replace(CONFIGS[algorithm], steps=asked.steps // (4 if algorithm == "sac" else 1))
            rewards, seconds = [], 0.0
            for seed in range(asked.seeds):
                begun = time.process_time()
                tensors, report = train_agent(
                    config, lambda market=market: TradingEnv(market, TERMS, episode_bars=EPISODE), seed, lambda *_: True
                )
                seconds += time.process_time() - begun
                actor = actor_of(tensors)
                rewards.append(mean_reward(judged, lambda seen, actor=actor: actor.mean(seen[None])[0]))
            found[name][algorithm] = {
                "found": [round(reward, 4) for reward in rewards],
                "steps": report["steps"],
                "steps_per_cpu_s": round(asked.seeds * report["steps"] / seconds),
            }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
