"""How late the machine is: what it takes from whoever wants to run, whatever is asked of a gateway meanwhile."""

import time

from tests.rig.meanwhile import Meanwhile

_STEP = 0.005


class Lateness(Meanwhile):
    """While entered, a thread wants to run every 5 ms; `worst` is how many seconds late it was at most."""

    def __init__(self) -> None:
        super().__init__()
        self.worst = 0.0

    def work(self) -> None:
        """Measure, again and again."""
        while not self.over.is_set():
            began = time.monotonic()
            time.sleep(_STEP)
            self.worst = max(self.worst, time.monotonic() - began - _STEP)
