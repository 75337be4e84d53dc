from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys

import pytest

from studio.environment import HARMLESS, prepare
from studio.settings import ROOT


def test_prepare_comes_in_time_for_openmp():
    code = (
        "from studio.environment import prepare; prepare(); import os; os.environ['OMP_DISPLAY_ENV'] = 'TRUE'; "
        "import torch"
    )
    environ = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_prepare_leaves_what_a_person_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    prepare()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(("name", "words"), HARMLESS.items())
def test_what_is_harmless_is_not_told_and_the_rest_is(name: str, words: str):
    prepare()
    logger = logging.getLogger(name)
    harmless, serious = (
        logger.makeRecord(name, logging.WARNING, "file.py", 1, message, (words,), None)
        for message in ("about x: %s y", "weights are missing, %.0s")
    )
    assert not logger.filter(harmless) and logger.filter(serious)


def test_a_test_cannot_reach_another_host():
    with socket.socket() as connection, pytest.raises(pytest.fail.Exception, match="another host"):
        connection.connect(("192.0.2.1", 80))
