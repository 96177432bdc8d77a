"""Journal: every decision with what it saw, what each rule said, what was ordered, and why not where nothing was."""

import streamlit as st

from app import charts, decision_models, performance, reasons_view, tables, widgets
from app.client import engine_client

client = engine_client()
status = widgets.page_head("Journal", client)

symbol_at, orders_at, text_at = st.columns([1, 1, 2], vertical_alignment="bottom")
symbol = symbol_at.selectbox("Symbol", ["All", *status["symbols"]], key="journal.symbol")
only_orders = orders_at.toggle("Only with orders", key="journal.only_orders")
text = text_at.text_input("Search", key="journal.text", placeholder="Word of the summary, strategy, or decision number")

with widgets.known("Decisions"):
    decisions = client.decisions(limit=500, symbol=None if symbol == "All" else symbol)
if decisions.empty:
    widgets.empty("No decisions yet. One is made and recorded at each bar close, also when nothing is to be done.")
    st.stop()
rows = tables.decision_rows(decisions, only_orders=only_orders, text=text)
if rows.empty:
    widgets.empty(f"None of the {len(decisions)} newest decisions matches the filter.")
    st.stop()

newest = rows["decision_id"].iloc[0]
opened = widgets.pick_rows(
    rows, tables.DECISION_COLUMNS, key="journal.decisions", name="decision_id", chosen=[newest], pattern=r"\d{1,19}"
)
st.caption(f"{len(rows)} of the {len(decisions)} newest decisions. Select one to see all of it.")


decision_id = opened[0]
with widgets.known(f"Decision {decision_id}"):
    decision = client.decision(decision_id)
detail = decision["detail"]
st.subheader(f"Decision {decision_id}")
st.caption(f"{decision['summary']} · {tables.decision_sentence(decision)}")
weights = tables.weight_rows(detail, decision["orders"])
st.markdown("\n".join(f"- {line}" for line in tables.why_lines(weights)))

weights_at, figure_at = st.columns([5, 3], vertical_alignment="center")
with weights_at:
    widgets.table(weights, tables.WEIGHT_COLUMNS, key="journal.weights")
with figure_at:
    widgets.figure(charts.weights_figure(weights), key="journal.weights_figure")

st.subheader("Rules")
looked_at = st.segmented_control(
    "Symbol", detail["symbols"], default=detail["symbols"][0], key=f"journal.rules.{decision_id}", required=True,
    label_visibility="collapsed",
)  # fmt: skip
widgets.table(tables.rule_rows(detail, looked_at), tables.rule_columns(detail, looked_at), key="journal.rule_rows")

st.subheader("Orders and fills")
if not decision["orders"]:
    widgets.empty("This decision sent no order. The table above says why, symbol by symbol.")
else:
    widgets.table(tables.order_rows(decision["orders"]), tables.ORDER_COLUMNS, key="journal.orders")
    if not decision["fills"]:
        widgets.empty("No fill of these orders yet.")
    else:
        fills = performance.with_slippage(tables.fill_frame(decision["fills"]))
        widgets.table(tables.fill_rows(fills), tables.FILL_COLUMNS, key="journal.fills")

st.subheader("Models")
st.markdown("\n".join(f"- {line}" for line in decision_models.lines(detail)))
wishes = decision_models.rows(detail)
if not wishes.empty:
    widgets.table(wishes, decision_models.columns(detail), key="journal.models")
if detail.get("models"):
    st.subheader("Why they said so")
    explained = st.segmented_control(
        "Symbol explained", detail["symbols"], default=detail["symbols"][0], key=f"journal.reasons.{decision_id}",
        required=True, label_visibility="collapsed",
    )  # fmt: skip
    reasons_view.show(client, None, explained, decision_id)

with st.expander("Inputs and parameters"):
    st.json(
        {"inputs": detail.get("inputs"), "params": detail.get("params"), "params_hash": decision.get("params_hash")}
    )
widgets.csv_download(rows, "decisions", key="journal.csv", label="Decisions CSV")
