"""Items of an answer: JSON text, read into its model only where more than the text is asked for."""

from collections.abc import Iterable
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import BaseModel

Shape = TypeVar("Shape", bound=BaseModel)


class Item(Generic[Shape]):
    """A thing that is answered, as JSON text that its model reads back to the byte."""

    def __init__(self, shape: type[Shape], json: str) -> None:
        self.json = json
        self._shape = shape

    @cached_property
    def view(self) -> Shape:
        """The same as an object."""
        return self._shape.model_validate_json(self.json)


def listed(items: Iterable["Item[Shape]"]) -> list[Shape]:
    """Return items as objects."""
    return [item.view for item in items]


def joined(items: Iterable["Item[Shape]"]) -> str:
    """Return items as the JSON of a list of them, without its brackets."""
    return ",".join(item.json for item in items)
