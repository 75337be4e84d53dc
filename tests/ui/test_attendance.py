"""A job whose page is gone is stopped after the grace; one that is looked at again goes on."""

from __future__ import annotations

import time

import pytest

from studio.engine.job import Job
from studio.engine.jobs import JobQueue
from studio.events import Stopped
from studio.ui.attendance import Attendance
from tests.ui.works import Scripted

GRACE_SECONDS = 0.2


@pytest.fixture
def attendance() -> Attendance:
    return Attendance(GRACE_SECONDS)


def final(job: Job) -> object:
    return list(job.tail(2.0))[-1]


def test_a_job_that_nobody_comes_back_to_is_stopped_and_the_next_one_runs(queue: JobQueue, attendance: Attendance):
    job, following = queue.submit(Scripted(), "me"), queue.submit(Scripted(), "me")
    with attendance.looking(queue, job):
        pass
    assert isinstance(final(job), Stopped)
    assert not following.finished
    queue.cancel(following.id, "me")


def test_a_page_that_comes_back_within_the_grace_finds_its_job_running(queue: JobQueue, attendance: Attendance):
    work = Scripted()
    job = queue.submit(work, "me")
    with attendance.looking(queue, job):
        pass
    with attendance.looking(queue, job):
        time.sleep(2 * GRACE_SECONDS)
        assert not job.finished
        work.may_end.set()
        assert final(job).result is work.outcome


def test_one_of_two_pages_is_enough(queue: JobQueue, attendance: Attendance):
    job = queue.submit(Scripted(), "me")
    with attendance.looking(queue, job):
        with attendance.looking(queue, job):
            pass
        time.sleep(2 * GRACE_SECONDS)
        assert not job.finished
    assert isinstance(final(job), Stopped)


def test_a_page_that_is_closed_before_it_could_look_leaves_no_job_behind(queue: JobQueue, attendance: Attendance):
    job = queue.submit(Scripted(), "me")
    attendance.left(queue, job)
    assert isinstance(final(job), Stopped)


def test_a_job_that_ended_is_left_in_peace(queue: JobQueue, attendance: Attendance):
    work = Scripted()
    work.may_end.set()
    job = queue.submit(work, "me")
    list(job.tail())
    with attendance.looking(queue, job):
        pass
    assert not attendance._timers
