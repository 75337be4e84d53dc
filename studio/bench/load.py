"""Many people at once: does everybody get what they asked for, as it would be drawn alone, and how long do they wait?

Each of them is a program with an address of its own, as a proxy on this machine would tell it, and asks one picture
after another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from studio.bench.served import open_client, served
from studio.bench.timing import median_row
from studio.engine.infotext import read
from studio.errors import StudioError
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.settings import Settings

USERS = {"smoke": 3, "cpu": 16, "gpu": 64}
REQUESTS = {"smoke": 2, "cpu": 5, "gpu": 20}
P95 = 0.95
MOST_WAIT = 1.5
"""Of the time that the pictures before one's own and this one take when each is drawn alone."""
PROMPTS = (
    "a red ball on the beach",
    "a yellow cat in a room, flat",
    "雪地里的蓝色房子",
    "a green car in the city at night",
)


@dataclass(frozen=True)
class Answer:
    """What came back for a seed. data: the file; seconds: from the question."""

    seed: int
    data: bytes
    seconds: float


def run(settings: Settings, ask: Ask) -> Report:
    """Let `ask.samples` people ask. Raises StudioError if the page does not come up."""
    started = time.perf_counter()
    users, requests = ask.samples or USERS[ask.preset], REQUESTS[ask.preset]
    seeds = [[ask.seed + user * requests + n for n in range(requests)] for user in range(users)]
    with served() as page:
        alone = list(ask_in_turn(page.url, 0, [seed for own in seeds for seed in own]))
        before = time.perf_counter()
        with ThreadPoolExecutor(users) as people:
            together = [
                answer
                for own in people.map(lambda user: list(ask_in_turn(page.url, user + 1, seeds[user])), range(users))
                for answer in own
            ]
        seconds = time.perf_counter() - before
    rows = compare(alone, together, users, seconds)
    return Report(
        "bench load",
        rows,
        preset=ask.preset,
        seed=ask.seed,
        samples=users * requests,
        seconds=time.perf_counter() - started,
    )


def ask_in_turn(url: str, user: int, seeds: Sequence[int]) -> Iterator[Answer]:
    """One person's questions, one after another. What is refused or fails is left out."""
    client = open_client(url, {"X-Forwarded-For": f"192.0.2.{user + 1}"})
    for seed in seeds:
        asked = time.perf_counter()
        try:
            prompt = PROMPTS[seed % len(PROMPTS)]
            path, _ = client.predict(prompt=prompt, negative_prompt="", seed=seed, api_name="/text2img")
        except Exception:  # whatever the page or the way to it answers instead of a picture
            continue
        yield Answer(seed, Path(path).read_bytes(), time.perf_counter() - asked)
    client.close()


def compare(alone: Sequence[Answer], together: Sequence[Answer], users: int, seconds: float) -> tuple[ReportRow, ...]:
    """The rows of what was asked by all together, against the same asked by one alone. seconds: of all together."""
    expected = {answer.seed: answer.data for answer in alone}
    if not expected or not together:
        raise StudioError("bench_nothing_drawn")
    mixed = sum(seed_inside(answer.data) != answer.seed for answer in together)
    differing = sum(answer.data != expected.get(answer.seed) for answer in together)
    each = median(answer.seconds for answer in alone)
    waits = sorted(answer.seconds / (users * each) for answer in together)
    where = f"{users} people, {len(alone)} pictures"

    def none(name: str, count: int) -> ReportRow:
        return ReportRow(name, count, "pictures", where, target=0.0, sense="lower")

    return (
        none("lost", len(alone) - len(together)),
        none("mixed", mixed),
        none("not_as_alone", differing),
        ReportRow(
            "p95_wait", waits[int(P95 * (len(waits) - 1))], "of the turn", where, target=MOST_WAIT, sense="lower"
        ),
        ReportRow("throughput", len(together) * each / seconds, "of alone", where),
        median_row("alone_seconds", [answer.seconds for answer in alone], "s", where),
        median_row("together_seconds", [answer.seconds for answer in together], "s", where),
    )


def seed_inside(data: bytes) -> int | None:
    """The seed that a picture says of itself."""
    try:
        seed: int | None = read(data, ("little-world",)).values.get("seed")
    except StudioError:
        return None
    return seed
