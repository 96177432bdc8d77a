"""Every table, declared once as SQLAlchemy metadata.

Times are BIGINT nanoseconds UTC, money and prices DOUBLE in the quote currency, quantities DOUBLE in base units. Nested
detail that is only ever read whole (a decision's inputs, a run's result) is JSON text. Primary keys only: a secondary
index makes updates of a DuckDB table fail or slow, and a range scan on time is fast without one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text

metadata = MetaData()

SCHEMA_VERSION = 7  # raise it with a step in migrations.py


def _table(name: str, *columns: Column, comment: str) -> Table:
    return Table(name, metadata, *columns, comment=comment)


def _key(name: str, kind: type = Text) -> Column:
    return Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _ns(name: str) -> Column:
    return Column(name, BigInteger)


def _num(name: str) -> Column:
    return Column(name, Double)


bars = _table(
    "bars", _key("symbol"), _key("interval"), _key("ts_open", BigInteger),
    _num("open_px"), _num("high_px"), _num("low_px"), _num("close_px"), _num("volume"),
    comment="Closed candles as the venue published them.",
)  # fmt: skip
ticks = _table(
    "ticks", Column("symbol", Text), _ns("ts_exchange"), _ns("ts_received"), _num("px"), _num("qty"),
    Column("side", Integer),
    comment="Market trades. Kept for settings.tick_retention_days, then exported to Parquet by day.",
)  # fmt: skip
book_tops = _table(
    "book_tops", Column("symbol", Text), _ns("ts_exchange"), _ns("ts_received"),
    _num("bid_px"), _num("bid_qty"), _num("ask_px"), _num("ask_qty"),
    comment="Best bid and ask, sampled once a second per symbol.",
)  # fmt: skip
funding = _table(
    "funding", _key("symbol"), _key("ts_funding", BigInteger), _num("rate"), _num("mark_px"),
    comment="Funding rates as settled, fraction per interval.",
)  # fmt: skip
decisions = _table(
    "decisions", _key("decision_id", BigInteger), _ns("ts_close"), _ns("ts_decided"), Column("strategy", Text),
    Column("params_hash", Text), _num("equity"), _num("drawdown"), _num("day_pnl"), _num("gross_weight"),
    _num("portfolio_vol"), Column("n_orders", Integer), Column("summary", Text), Column("detail", Text),
    _num("elapsed_ms"),
    comment="One row per bar close: what was decided and why. detail is JSON: inputs, weights, verdicts per symbol.",
)  # fmt: skip
orders = _table(
    "orders", _key("account"), _key("client_id"), Column("decision_id", BigInteger), Column("symbol", Text),
    Column("side", Integer), Column("order_type", Text), Column("tif", Text), _num("qty"), _num("limit_px"),
    _num("stop_px"), Column("reduce_only", Boolean), Column("close_position", Boolean), Column("purpose", Text),
    Column("status", Text), Column("venue_order_id", Text), _num("filled_qty"), _num("avg_px"), _num("decision_px"),
    _ns("ts_intent"), _ns("ts_sent"), _ns("ts_acked"), _ns("ts_final"), Column("reason", Text),
    comment="Our orders, written before they are sent. account is the session's account key.",
)  # fmt: skip
order_events = _table(
    "order_events", _key("seq", BigInteger), Column("client_id", Text), _ns("ts"), Column("event", Text),
    Column("detail", Text),
    comment="Every change of every order, append-only.",
)  # fmt: skip
fills = _table(
    "fills", _key("account"), _key("symbol"), _key("trade_id"), Column("client_id", Text),
    Column("venue_order_id", Text),
    Column("decision_id", BigInteger), _num("qty"), _num("px"), _num("fee"), _num("pnl_realized"),
    Column("is_maker", Boolean), _num("decision_px"), _num("arrival_px"), _ns("ts_filled"), _ns("ts_received"),
    comment="Our executions; qty is signed. Trade ids are unique within an account and a symbol only.",
)  # fmt: skip
incomes = _table(
    "incomes", _key("account"), _key("tran_id"), _key("kind"), _key("symbol"), _num("amount"), _ns("ts"),
    comment="What changed the wallet, as the venue states it; kind is the venue's word. The ledger adds them up.",
)  # fmt: skip
positions = _table(
    "positions", _key("symbol"), _num("qty"), _num("entry_px"), _num("mark_px"), _num("liq_px"), _num("leverage"),
    _ns("ts"),
    comment="Each symbol's newest open position as the venue confirmed it, with when.",
)  # fmt: skip
equity = _table(
    "equity", _key("ts", BigInteger), _num("equity"), _num("cash"), _num("pnl_unrealized"), _num("gross_notional"),
    _num("net_notional"), _num("drawdown"), _num("day_pnl"),
    comment="The account through time, one row a decision and one a minute.",
)  # fmt: skip
metrics = _table(
    "metrics", Column("ts", BigInteger), Column("name", Text), _num("value"), Column("labels", Text),
    comment="The engine's own measurements.",
)  # fmt: skip
incidents = _table(
    "incidents", _key("incident_id", BigInteger), _ns("ts"), Column("severity", Text), Column("source", Text),
    Column("message", Text), Column("detail", Text), _ns("ts_resolved"),
    comment="What went wrong, and when it was over.",
)  # fmt: skip
commands = _table(
    "commands", _key("idempotency_key"), _ns("ts"), Column("command", Text), Column("payload", Text),
    Column("status", Text), Column("result", Text),
    comment="Commands from people and programs; a key is carried out once.",
)  # fmt: skip
audit = _table(
    "audit", _key("seq", BigInteger), _ns("ts"), Column("actor", Text), Column("action", Text), Column("detail", Text),
    Column("prev_hash", Text), Column("hash", Text),
    comment="Who changed what, each row hashed with the one before it.",
)  # fmt: skip
runs = _table(
    "runs", _key("run_id"), Column("kind", Text), Column("status", Text), _ns("ts_started"), _ns("ts_finished"),
    _num("progress"), Column("config", Text), Column("metrics", Text), Column("result", Text), Column("error", Text),
    comment="Backtests and other long jobs.",
)  # fmt: skip
settings = _table(
    "settings", _key("key"), Column("value", Text), _ns("ts"),
    comment="The settings in force, and small facts the engine must remember over a restart.",
)  # fmt: skip
certificates = _table(
    "certificates", _key("version"), _key("ts", BigInteger), Column("strategy", Text), Column("status", Text),
    Column("decisions", Integer), Column("differences", Integer), Column("certificate", Text),
    comment="Parity certificates as they were issued; certificate is the signed JSON.",
)  # fmt: skip
drift = _table(
    "drift", _key("account"), _key("day"), _ns("ts"), Column("strategy", Text), Column("n_decisions", Integer),
    Column("n_fills", Integer), _num("equity"), _num("pnl_recorded"), _num("pnl_replayed"), _num("rounding"),
    _num("data"), _num("signal_time"), _num("veto"), _num("latency"), _num("fill"), _num("fee"), _num("funding"),
    _num("residual"), _num("drift_bps"), Column("verdict", Text),
    comment="Each day against its replay; the parts add up to pnl_recorded - pnl_replayed, quote currency.",
)  # fmt: skip
forecasts = _table(
    "forecasts", _key("ts_close", BigInteger), _key("symbol"), _key("version"), _key("model"),
    _key("horizon", Integer), Column("role", Text), _num("close_px"), _num("sigma"), _num("median"), _num("low"),
    _num("high"), _num("prob_up"), _num("weight"), _num("low_50"), _num("high_50"), _num("low_90"), _num("high_90"),
    _num("low_95"), _num("high_95"),
    comment="What models said at each close. median, low and high (80 %, others by name) in sigma * sqrt(horizon).",
)  # fmt: skip
reasons = _table(
    "reasons", _key("ts_close", BigInteger), _key("symbol"), _key("version"), Column("horizon", Integer),
    Column("why_not", Text), _num("took_ms"), Column("detail", Text),
    comment="Why the set in force said what it said; decisions name it by version and ts_close. detail is JSON.",
)  # fmt: skip
headlines = _table(
    "headlines", _key("headline_id"), _ns("ts_fetched"), _ns("ts_published"), Column("feed", Text),
    Column("title", Text), Column("symbols", Text), _num("score"), Column("words", Text),
    comment="Headlines of the feeds in the settings, with what the lexicon made of them. symbols: JSON; [] is all.",
)  # fmt: skip
parents = _table(
    "parents", _key("account"), _key("parent_id", BigInteger), Column("symbol", Text), Column("side", Integer),
    _num("qty"), Column("algorithm", Text), Column("status", Text), _num("filled_qty"), _num("avg_px"),
    Column("decision_id", BigInteger), _num("decision_px"), _num("arrival_px"), _ns("ts_created"), _ns("ts_start"),
    _ns("ts_end"), _ns("ts_final"), Column("reason", Text), Column("actor", Text), Column("purpose", Text),
    Column("state", Text), Column("quality", Text),
    comment="Orders that an algorithm works in children. state: JSON, the rest of it; quality: JSON, its shortfall.",
)  # fmt: skip
parent_events = _table(
    "parent_events", _key("seq", BigInteger), Column("account", Text), Column("parent_id", BigInteger), _ns("ts"),
    Column("event", Text), Column("detail", Text),
    comment="Every change of every parent order, append-only.",
)  # fmt: skip
cost_models = _table(
    "cost_models", _key("version"), _ns("ts"), Column("account", Text), Column("n_fills", Integer),
    Column("n_parents", Integer), Column("model", Text),
    comment="Cost models as they were fitted to our own fills; model is JSON: coefficients, errors, what was assumed.",
)  # fmt: skip
