"""Data: which candles and funding rates there are, what is wrong with them, and where to get more."""

import streamlit as st

from app import data_forms, data_view, widgets
from app.client import engine_client

client = engine_client()
widgets.page_head("Data", client)
with widgets.known("Data"):
    found = client.datasets()
    choices = client.data_choices()

rows = found["datasets"]
data_view.going_on(client, found["active"])

if rows:
    chosen = data_view.listed(rows)
    data_view.one(client, chosen, rows)
else:
    widgets.empty("No data set yet. Import a file or download candles below; backtests then find them by name.")

st.subheader("Add data")
import_at, download_at = st.tabs(["Import a file", "Download"])
with import_at:
    data_forms.import_form(client, busy=bool(found["active"]))
with download_at:
    data_forms.download_form(client, choices, busy=bool(found["active"]))
    data_forms.unfinished_downloads(client, found["unfinished"], busy=bool(found["active"]))
