"""The record on disk: schema, database, exports."""
