"""What the benchmarks of a whole process rest on, with a page that costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from studio.bench.load import Answer, compare
from studio.bench.served import free_port, peak_bytes, served
from studio.bench.tabs import PROMPT, arguments
from studio.errors import StudioError
from tests.engine.told import REQUEST, drawn

PAGE = """
import os, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *told):
        pass

time.sleep(0.3)
HTTPServer((os.environ["STUDIO_HOST"], int(os.environ["STUDIO_PORT"])), Hello).serve_forever()
"""


def test_a_page_is_timed_until_it_answers_and_is_gone_afterwards() -> None:
    with served(("-c", PAGE)) as page:
        assert page.process.poll() is None
        assert 0.3 <= page.answered_seconds <= page.age_seconds
    assert page.process.returncode is not None


def test_a_page_that_ends_by_itself_is_told() -> None:
    with pytest.raises(StudioError) as caught, served(("-c", "raise SystemExit(3)")):
        pass
    assert (caught.value.key, caught.value.values) == ("bench_server_ended", {"code": 3})


def test_a_free_port_can_be_listened_on() -> None:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", free_port()))


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    code = "a = b'x' * 200_000_000; del a; print('ready', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline()
    try:
        assert 200e6 < peak_bytes(process.pid) < 300e6
    finally:
        process.communicate("\n")


def parameter(name: str, component: str, **facts: object) -> dict[str, object]:
    return {"parameter_name": name, "component": component, "parameter_has_default": False, "example_input": 3, **facts}


def test_an_endpoint_is_asked_with_its_defaults_and_what_it_needs_beside_them(tmp_path) -> None:
    asked = arguments(
        [
            parameter("prompt", "Textbox"),
            parameter("negative_prompt", "Textbox"),
            parameter("seed", "Number", parameter_has_default=True),
            parameter("steps", "Slider", parameter_has_default=True),
            parameter("image", "Image"),
            parameter("times", "Number"),
            parameter("weights", "Json"),
            parameter("references", "File"),
        ],
        tmp_path,
    )
    picture, several = asked.pop("image"), asked.pop("references")
    assert [one["path"] for one in several] == [picture["path"]] * 2
    assert asked == {"prompt": PROMPT, "negative_prompt": "", "seed": 7, "times": 3, "weights": None}
    assert picture["path"] == str(tmp_path / "sample.png") and (tmp_path / "sample.png").is_file()


def answer(seed: int, seconds: float, seed_drawn: int | None = None) -> Answer:
    """An answer to a seed; the picture may be that of another one."""
    from dataclasses import replace

    return Answer(seed, drawn(replace(REQUEST, seed=seed if seed_drawn is None else seed_drawn)), seconds)


def test_what_is_lost_mixed_up_or_different_is_counted() -> None:
    alone = [answer(seed, 1.0) for seed in range(4)]
    together = [answer(0, 2.0), answer(1, 2.0, seed_drawn=0), answer(2, 2.0)]
    rows = {row.name: row for row in compare(alone, together, users=2, seconds=4.0)}
    assert [rows[name].value for name in ("lost", "mixed", "not_as_alone")] == [1.0, 1.0, 1.0]
    assert [rows[name].holds for name in ("lost", "mixed", "not_as_alone")] == [False] * 3
    assert rows["throughput"].value == 0.75


def test_a_wait_is_measured_by_the_turns_before_it() -> None:
    alone = [answer(seed, 0.5) for seed in range(4)]
    rows = {row.name: row for row in compare(alone, [answer(seed, 3.0) for seed in range(4)], users=2, seconds=3.0)}
    assert rows["p95_wait"].value == 3.0 and rows["p95_wait"].holds is False
    assert rows["lost"].holds and rows["mixed"].holds and rows["not_as_alone"].holds
