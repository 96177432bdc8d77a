"""Execution: parent orders at work, what trading cost and why, and what is expected of it."""

import streamlit as st

from app import execution_view, widgets
from app.client import engine_client

client = engine_client()
status = widgets.page_head("Execution", client)
symbols = list(status["symbols"])

execution_view.running(client)

st.subheader("New parent order")
execution_view.new_order(client, symbols)

st.subheader("Shortfall")
execution_view.ended(client)

st.subheader("Cost model")
execution_view.costs(client)

st.subheader("Fills")
execution_view.fills(client, symbols)
