"""Calls about data sets: what there is, what is wrong with it, and work on it."""

from __future__ import annotations

from typing import Any

READ_S = 10.0  # a folder of many versions on a slow disk
START_S = 10.0


class DataCalls:
    """Mixed into ``EngineClient``."""

    def datasets(self) -> dict[str, Any]:
        """Return ``datasets`` (one row each, newest first), ``unfinished`` downloads and ``active`` run ids."""
        return self._ask("datasets", timeout_s=READ_S)

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the manifest of ``NAME@VERSION``: source, symbols with hashes, findings, changes."""
        return self._ask("dataset", timeout_s=READ_S, dataset=name)

    def data_choices(self) -> dict[str, Any]:
        """Return venues, intervals and repairable checks, and the practice exchange's address where there is one."""
        return self._ask("data.choices")

    def data_status(self, run_id: str) -> dict[str, Any]:
        """Return ``status``, ``progress`` (0 to 1), ``message``, ``kind`` and ``result`` of a piece of work."""
        return self._ask("data.status", run_id=run_id)

    def preview_file(self, path: str, kind: str, columns: dict[str, str]) -> dict[str, Any]:
        """Return a file's first rows, its columns and which is taken for which. Refused when it cannot be read."""
        return self._command("dataset.preview", READ_S, path=path, kind=kind, columns=columns)

    def start_data_work(self, kind: str, config: dict[str, Any], key: str) -> dict[str, Any]:
        """Begin an ``import``, ``repair`` or ``download`` and return ``{"run_id"}``."""
        return self._command("data.start", START_S, kind=kind, config=config, idempotency_key=key)

    def cancel_data_work(self, run_id: str) -> dict[str, Any]:
        """Stop it; a download keeps what has arrived."""
        return self._command("data.cancel", START_S, run_id=run_id)

    def delete_dataset(self, name: str, key: str) -> dict[str, Any]:
        """Delete one version, ``NAME@VERSION``."""
        return self._command("dataset.delete", START_S, dataset=name, idempotency_key=key)

    def discard_download(self, download: str, key: str) -> dict[str, Any]:
        """Throw away what an unfinished download has brought."""
        return self._command("download.discard", START_S, key=download, idempotency_key=key)
