"""The screen: everything that pages share, and the only folder besides pages/ that imports streamlit."""
