"""Errors that onoma raises on purpose, as one tree.

    OnomaError
    ├── BundleError      a model bundle is missing, damaged, or of another format version
    ├── TextError        a text cannot be tagged (lone surrogate, NUL)
    └── LabelError       labels are not IOB2, or differ where they must agree
"""

from __future__ import annotations


class OnomaError(Exception):
    """Base of every error raised on purpose."""


class BundleError(OnomaError):
    """A model bundle is missing, damaged, or of a format this version does not read."""


class TextError(OnomaError):
    """A text that cannot be tagged; the message names the field and the position."""


class LabelError(OnomaError):
    """Labels are not a valid IOB2 set, or two label sets that must agree do not."""
