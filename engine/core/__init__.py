"""The pure decision core: compiled, deterministic, importing only the vocabulary, NumPy and numba."""
