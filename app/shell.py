"""What every page shares: navigation, and the sidebar with mode, engine, account and kill switch."""

from __future__ import annotations

import gc
from pathlib import Path

import streamlit as st

from app.sidebar import mode_switch, sidebar_status

ROOT = Path(__file__).resolve().parents[1]
ICON = str(Path(__file__).with_name("icon.svg"))
PAGES = {
    "desk": "Desk",
    "portfolio": "Portfolio",
    "risk": "Risk",
    "execution": "Execution",
    "backtest": "Backtest",
    "data": "Data",
    "insights": "AI Insights",
    "goal": "Goal",
    "journal": "Journal",
    "health": "Health",
    "settings": "Settings",
}


@st.cache_resource(show_spinner=False)
def spare_collector(page_title: str) -> str:
    """Once per page and server, take what is loaded by now out of garbage collection.

    Streamlit runs a full collection after every script and fragment run. Over all imported modules that takes about
    0.1 s during which the live relay, a thread of this process, stands still; over what is left it takes none.
    """
    gc.collect()
    gc.freeze()
    return page_title


st.set_page_config(page_title="Astrolabe", page_icon=ICON, layout="wide", initial_sidebar_state=232)
page = st.navigation([
    st.Page(ROOT / "pages" / f"{name}.py", title=title, url_path=name, default=name == "desk")
    for name, title in PAGES.items()
])  # fmt: skip
with st.sidebar:
    mode_switch()
    sidebar_status()
page.run()
spare_collector(page.title)
