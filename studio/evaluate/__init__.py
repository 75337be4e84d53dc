"""One file per question. Each has `run(settings, ask) -> Report` (see ask.py and report.py)."""
