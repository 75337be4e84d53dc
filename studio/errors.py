"""Errors that a person can be shown: a key into assets/i18n, and the values that its sentence names."""

from __future__ import annotations

from studio.text import t


class StudioError(Exception):
    """Something that a person can be told, in their language.

    key: a key of assets/i18n under `error.`, without that prefix. values: what the sentence names.
    """

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values = values

    def message(self, language: str = "en") -> str:
        return t(f"error.{self.key}", language, **self.values)

    def __str__(self) -> str:
        return self.message("en")


class InvalidInput(StudioError):
    """A field of a request is out of its bounds; names the field and the limit."""


class ModelUnavailable(StudioError):
    """A model is missing or cannot be loaded; says what it needs."""


class GenerationFailed(StudioError):
    """The device could not finish a picture: no memory, or latents that are not finite."""


class Cancelled(BaseException):
    """Raised inside a step to leave a pipeline at once. Not an Exception: nothing may swallow it."""
