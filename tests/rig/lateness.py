"""How late the machine is: what it takes from whoever wants to run, whatever is asked of a gateway meanwhile."""

import threading
import time
from types import TracebackType
from typing import Self

_STEP = 0.005


class Lateness:
    """While entered, a thread wants to run every 5 ms; `worst` is how many seconds late it was at most."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lateness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(_STEP)
            self.worst = max(self.worst, time.monotonic() - began - _STEP)
