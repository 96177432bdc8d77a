"""Research: load bars, run the decision core over them, and say honestly what came out."""
