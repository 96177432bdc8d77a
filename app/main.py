"""The workstation's one entry: ``streamlit run app/main.py``.

One ASGI application on one port: the pages, the live socket, candles for the chart, health, metrics and our JavaScript.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # Streamlit puts app/ on the path, not the project

import anyio  # noqa: E402
import streamlit as st  # noqa: E402

from app.client import EngineClient  # noqa: E402
from app.launcher import shared_launcher  # noqa: E402
from app.live import Relay  # noqa: E402
from app.routes import routes  # noqa: E402

client = EngineClient()
relay = Relay(client)


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Find or start the engine beside the first paint; on the way out stop it, if it is ours."""
    launcher = shared_launcher()
    launcher.begin()
    relay.start()
    yield
    relay.stop()
    await anyio.to_thread.run_sync(launcher.stop)


app = st.App(Path(__file__).with_name("shell.py"), routes=routes(client, relay), lifespan=lifespan)
