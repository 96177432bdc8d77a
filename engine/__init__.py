"""The engine: a process that decides, checks risk, trades and keeps the record."""
