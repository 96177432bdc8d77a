"""The desk's live components: thin Python wrappers; scripts and styles are files in ``frontend``.

Each mount hands its script small, slow data (symbol, instruments, the answer to a command). What moves comes over the
live socket. A component's script is an ES module under ``/frontend``: the few lines given to Streamlit only import it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

FRONTEND = Path(__file__).with_name("frontend")


def declare(name: str) -> Any:
    """Declare the component whose script is ``frontend/<name>.js`` and return what mounts it."""
    # A relative import cannot work: Streamlit runs this text from a blob address.
    script = (
        f'const {{ default: mount }} = await import(location.origin + "/frontend/{name}.js");\nexport default mount;\n'
    )
    return st.components.v2.component(f"astrolabe_{name}", js=script, css=(FRONTEND / "desk.css").read_text())
