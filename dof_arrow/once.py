"""A value that an object works out once, when it is first asked for, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # used as a decorator, like `property`
    """A property that is worked out by one thread, while others that ask this object for it wait.

    `functools.cached_property` lets threads wait for those at work on other objects up to Python
    3.11, and from 3.12 on lets each thread make a value of its own. An error is not kept.

    >>> class Answer:
    ...     @once
    ...     def value(self) -> object:
    ...         return object()
    >>> answer = Answer()
    >>> answer.value is answer.value
    True
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        if instance is None:
            return self
        values = instance.__dict__  # what stands there is found before this is asked
        locked = f"{self._name} is worked out"
        with values.setdefault(locked, threading.RLock()):
            if self._name not in values:
                values[self._name] = self._work(instance)
            values.pop(locked, None)  # whoever waits for it has it in hand
        found: T = values[self._name]
        return found
