"""What the fake engine answers about data sets: two of candles, one of funding, a download that broke off."""

from __future__ import annotations

import time

from fake_actions import refuse

HOUR_MS = 3_600_000
FIRST_MS = 1_577_836_800_000  # 2020-01-01
N_HOURS = 24 * 365 * 4
GAPS = ((4000, 6), (9000, 33), (20000, 2))


class FakeData:
    """One method an action, as in ``FakeActions``."""

    def begin_data(self, *, empty: bool) -> None:
        self.manifests: dict[str, dict] = {}
        self.unfinished_rows: list[dict] = []
        self.data_runs: dict[str, dict] = {}
        if empty:
            return
        for manifest in (self._candles("btc-hours", 2), self._candles("perp", 1, holes=False), self._rates()):
            self.manifests[f"{manifest['name']}@{manifest['version']}"] = manifest
        request = {"venue": "bybit", "kind": "candles", "interval": "1h", "symbols": ["BTCUSDT"], "name": "bybit-1h",
                   "start": "2021-01-01T00:00:00Z", "end": None, "base_url": None}  # fmt: skip
        self.unfinished_rows = [{"key": "ab12", "rows": 12_000, "request": request}]

    def _candles(self, name: str, version: int, *, holes: bool = True) -> dict:
        findings, missing = [], 0
        for first, n in GAPS if holes else ():
            a = FIRST_MS + first * HOUR_MS
            b = a + (n - 1) * HOUR_MS
            missing += n
            findings.append({
                "check": "gap", "severity": "warning", "symbol": "BTCUSDT", "first_ts_ms": a, "last_ts_ms": b,
                "count": n, "sentence": f"{n} bars ({n}.0 h) are missing.", "spans": [[a, b, n]],
            })  # fmt: skip
        if holes:
            at = FIRST_MS + 12_000 * HOUR_MS
            findings.append({
                "check": "spike", "severity": "error", "symbol": "ETHUSDT", "first_ts_ms": at, "last_ts_ms": at,
                "count": 1, "sentence": "The close moved far beyond what was usual once.", "spans": [[at, at, 1]],
            })  # fmt: skip
        symbols = {
            symbol: {"file": f"{symbol}.parquet", "rows": N_HOURS - (missing if symbol == "BTCUSDT" else 0),
                     "expected_rows": N_HOURS, "first_ts_ms": FIRST_MS, "repaired_rows": 0,
                     "last_ts_ms": FIRST_MS + (N_HOURS - 1) * HOUR_MS, "sha256": symbol.lower() * 9}
            for symbol in ("BTCUSDT", "ETHUSDT")
        }  # fmt: skip
        source = {"kind": "import", "path": "/home/me/candles", "files": [{"file": "BTCUSDT.csv", "sha256": "c" * 64}]}
        return self._manifest(name, version, "candles", symbols, findings) | {"source": source}

    def _rates(self) -> dict:
        sentence = "Settles every 8 h from 2020-01-01 00:00:00."
        last = FIRST_MS + 1000 * 8 * HOUR_MS
        note = {"check": "funding schedule", "severity": "note", "symbol": "BTCUSDT", "first_ts_ms": FIRST_MS,
                "last_ts_ms": last, "count": 1001, "sentence": sentence, "spans": []}  # fmt: skip
        symbols = {"BTCUSDT": {"file": "BTCUSDT.parquet", "rows": 1001, "first_ts_ms": FIRST_MS, "last_ts_ms": last,
                               "repaired_rows": 0, "sha256": "f" * 64}}  # fmt: skip
        source = {
            "kind": "download",
            "venue": "Binance USDT-M",
            "markets": {"BTCUSDT": "BTC/USDT:USDT"},
            "server": None,
        }
        return self._manifest("rates", 1, "funding", symbols, [note]) | {"source": source}

    def _manifest(self, name: str, version: int, kind: str, symbols: dict, findings: list) -> dict:
        return {
            "name": name, "version": version, "kind": kind, "symbols": symbols, "findings": findings, "changes": [],
            "interval_s": 3600 if kind == "candles" else 0, "interval": "1h" if kind == "candles" else "settlements",
            "created_ns": time.time_ns(), "rows": sum(entry["rows"] for entry in symbols.values()),
            "first_ts_ms": min(entry["first_ts_ms"] for entry in symbols.values()),
            "last_ts_ms": max(entry["last_ts_ms"] for entry in symbols.values()), "sha256": "0123456789abcdef" * 4,
            "repaired_rows": 0,
        }  # fmt: skip

    def act_datasets(self, body):
        rows = []
        for name, manifest in self.manifests.items():
            counts = {f"n_{level}s": sum(f["severity"] == level for f in manifest["findings"])
                      for level in ("error", "warning", "note")}  # fmt: skip
            expected = sum(entry.get("expected_rows", entry["rows"]) for entry in manifest["symbols"].values())
            rows.append({
                **{key: value for key, value in manifest.items() if key not in ("findings", "changes", "source")},
                **counts, "dataset": name, "symbols": list(manifest["symbols"]), "source": manifest["source"]["kind"],
                "coverage": manifest["rows"] / expected,
            })  # fmt: skip
        active = [run_id for run_id, run in self.data_runs.items() if run["status"] == "running"]
        return {"datasets": rows, "unfinished": self.unfinished_rows, "active": active}

    def act_dataset(self, body):
        if body["dataset"] not in self.manifests:
            raise refuse(f"there is no data set {body['dataset']!r}")
        return self.manifests[body["dataset"]]

    def act_data_choices(self, body):
        venues = [{"name": "aster", "title": "Aster", "note": ""},
                  {"name": "okx", "title": "OKX", "note": "keeps funding rates of the last three months"}]  # fmt: skip
        return {"venues": venues, "intervals": ["1m", "1h", "1d"], "practice_url": "http://127.0.0.1:1",
                "repairable": ["gap", "spike", "long wick"], "usual_repairs": ["gap", "spike"]}  # fmt: skip

    def act_dataset_preview(self, body):
        names = ["when", "open", "high", "low", "close", "volume"]
        if not body["path"].endswith("BTCUSDT.csv"):
            raise refuse(f"there is no file or folder {body['path']}", "DataError")
        mapping = {name: name for name in names[1:]} | body["columns"]
        row = dict(zip(names, ["1577836800000", "1", "2", "0.5", "1.5", "10"], strict=True))
        known = "timestamp" in mapping
        parsed = [
            {"timestamp": "2020-01-01 00:00:00", "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10}
        ]
        return {"files": [{"file": "BTCUSDT.csv", "symbol": "BTCUSDT", "bytes": 123_000}], "columns": names,
                "mapping": mapping, "rows": [row], "parsed": parsed if known else [],
                "trouble": "" if known else "no column looks like 'timestamp'"}  # fmt: skip

    def act_data_start(self, body):
        if "/" in body["config"].get("name", ""):
            raise refuse("name: 'a/b' cannot name a data set")
        run_id = f"{body['kind']}-{len(self.data_runs) + 1}"
        self.data_runs[run_id] = {"kind": body["kind"], "status": "running", "progress": 0.4, "result": None,
                                  "message": "BTC/USDT:USDT: 4,000 rows, up to 2021-06-01"}  # fmt: skip
        return {"run_id": run_id}

    def finish_data_run(self, run_id: str, **outcome) -> None:
        result = {"dataset": "btc-hours@2", "rows": 70_000, "findings": 4, "changes": [], "refused": [], "repaired": 0}
        done = {"status": "done", "progress": 1.0, "message": "", "result": result}
        self.data_runs[run_id] |= done | outcome

    def act_data_status(self, body):
        return self.data_runs[body["run_id"]]

    def act_data_cancel(self, body):
        self.data_runs[body["run_id"]] |= {"status": "cancelled", "message": "The download was cancelled."}
        return self.data_runs[body["run_id"]]

    def act_dataset_delete(self, body):
        del self.manifests[body["dataset"]]
        return {"deleted": body["dataset"]}

    def act_download_discard(self, body):
        self.unfinished_rows = [row for row in self.unfinished_rows if row["key"] != body["key"]]
        return {"discarded": body["key"]}
