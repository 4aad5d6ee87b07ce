"""Something that a thread does while a block lasts."""

import abc
import threading
from types import TracebackType
from typing import Self


class Meanwhile(abc.ABC):
    """`work` runs in a thread while this is entered, and has to end soon after `over` is set; then it is waited for."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.work, name=type(self).__name__.lower(), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join()

    @abc.abstractmethod
    def work(self) -> None:
        """What is done."""
