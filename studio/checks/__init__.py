"""What can be checked: one list for the tests, for the lights of the pages and for `evaluate diffusion`."""

from __future__ import annotations

from studio.checks import adapters, coding, forward, guiding, network, prediction, sampling
from studio.checks.check import Check, Light, Subject, subject
from studio.checks.errata import ERRATA, Erratum

__all__ = ["CHECKS", "ERRATA", "Check", "Erratum", "Light", "Subject", "subject"]

CHECKS: tuple[Check, ...] = (
    *forward.CHECKS,
    *prediction.CHECKS,
    *sampling.CHECKS,
    *guiding.CHECKS,
    *coding.CHECKS,
    *network.CHECKS,
    *adapters.CHECKS,
)
