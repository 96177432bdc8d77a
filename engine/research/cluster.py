"""Where long research runs: in threads or worker processes of this machine, or on a Dask cluster.

The work is a pure function of a stage, which all chunks share, and a chunk. Where it runs changes when an answer comes,
never what it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlparse

import joblib

from engine.errors import CommandRefused, ConfigError

Stage = TypeVar("Stage")
Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")
CONNECT_S = 10.0


class Compute(NamedTuple):
    """Where work runs, as the settings say it."""

    backend: str = "local"  # local or dask
    address: str = ""  # of the cluster's scheduler, such as tcp://10.0.0.5:8786
    workers: int = 0  # on this machine; 0: one for each core


def checked(compute: Compute) -> Compute:
    """Return the setting if it can be meant.

    Raises
    ------
    ConfigError
        With what to write instead.
    """
    if compute.backend not in ("local", "dask"):
        raise ConfigError(f"compute backend {compute.backend!r} is unknown: choose local or dask")
    if compute.backend == "dask":
        parts = urlparse(compute.address)
        if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
            raise ConfigError(
                f"compute address {compute.address!r} is not a scheduler's: write it like tcp://127.0.0.1:8786"
            )
    return compute


def n_workers(compute: Compute) -> int:
    """Return how many pieces of work may run side by side on this machine."""
    if compute.workers > 0:
        return compute.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "the Dask backend is not installed: pip install 'astrolabe[scale]', or set compute_backend to local"
        ) from None
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise CommandRefused(
            f"no Dask scheduler answers at {address}: start one, or set compute_backend to local"
        ) from error


def _numbered(work: Callable[[Any, Any], Answer], stage: Any, number: int, chunk: Any) -> tuple[int, Answer]:
    return number, work(stage, chunk)


def _from_threads(
    work: Callable[[Any, Any], Answer], stage: Any, chunks: Sequence[Any], n_threads: int
) -> Iterator[tuple[int, Answer]]:
    with ThreadPoolExecutor(n_threads) as pool:  # joblib's own threads take longer to start than a small sweep
        begun = [pool.submit(_numbered, work, stage, number, chunk) for number, chunk in enumerate(chunks)]
        try:
            for future in as_completed(begun):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _backend(compute: Compute, stage: Any, stack: ExitStack) -> AbstractContextManager[Any]:
    if compute.backend == "dask":
        client = stack.enter_context(_client(compute.address))
        # sent once to every worker, and not with every chunk
        return joblib.parallel_config(
            backend="dask", client=client, scatter=[stage], wait_for_workers_timeout=CONNECT_S
        )  # fmt: skip
    return joblib.parallel_config(backend="loky", n_jobs=n_workers(compute))


def answers(
    work: Callable[[Stage, Chunk], Answer], stage: Stage, chunks: Sequence[Chunk], compute: Compute, threads: bool
) -> Iterator[tuple[int, Answer]]:
    """Yield each chunk's number and answer as it comes, in any order. Closing the iterator drops what has not begun.

    Parameters
    ----------
    work : callable
        A module's function: it is sent by name.
    stage : object
        Picklable; sent once to every worker of a cluster.
    chunks : sequence
    compute : Compute
    threads : bool
        On this machine, use threads: for compiled work that lets other threads run. Otherwise worker processes.

    Raises
    ------
    CommandRefused
        The cluster does not answer, or a worker process died.
    """
    if threads and checked(compute).backend == "local":
        yield from _from_threads(work, stage, chunks, n_workers(compute))
        return
    with ExitStack() as stack:
        stack.enter_context(_backend(checked(compute), stage, stack))
        parallel = joblib.Parallel(return_as="generator_unordered", pre_dispatch="2*n_jobs", batch_size=1)
        try:
            yield from parallel(joblib.delayed(_numbered)(work, stage, i, chunk) for i, chunk in enumerate(chunks))
        except Exception as error:
            if type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker"):
                raise CommandRefused(
                    "a worker process died (killed, or out of memory). What was finished is kept: resume the run"
                ) from error
            raise
