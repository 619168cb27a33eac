"""Items of an answer: JSON text, read into its model only where more than the text is asked for."""

from collections.abc import Iterable
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import BaseModel

Shape = TypeVar("Shape", bound=BaseModel)


class Item(Generic[Shape]):
    """A thing that is answered, as JSON that its model reads back to the byte."""

    def __init__(self, shape: type[Shape], json: str | bytes) -> None:
        self._json = json
        self._shape = shape

    @property
    def json(self) -> str:
        """The JSON as text."""
        return self._json if isinstance(self._json, str) else self._json.decode()

    @property
    def utf8(self) -> bytes:
        """The JSON as it leaves."""
        return self._json.encode() if isinstance(self._json, str) else self._json

    @cached_property
    def view(self) -> Shape:
        """The same as an object."""
        return self._shape.model_validate_json(self._json)


def listed(items: Iterable["Item[Shape]"]) -> list[Shape]:
    """Return items as objects."""
    return [item.view for item in items]


def joined(items: Iterable["Item[Shape]"]) -> bytes:
    """Return items as the JSON of a list of them, without its brackets."""
    return b",".join([item.utf8 for item in items])
