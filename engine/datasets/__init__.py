"""Data sets: files read, judged, kept unchanged under a name, and repaired only in plain sight."""
