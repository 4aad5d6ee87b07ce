"""The long runs: rows of the acceptance matrix at full size, by `python -m tests.soak`."""
