"""The running process: event loop, executor, kill switch, jobs, server."""
