"""The coalition commitment tracker: who said they would give what, when, and according to whom."""

__version__ = "0.1.0"
