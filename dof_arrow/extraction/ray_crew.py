"""Actors on a Ray cluster, the shares that each has been given, and what comes of workers that die.

Ray itself would give a share that kills its worker to one after another without end, and would not
say which one it was. So it is told to retry nothing: what died is replaced here, and its shares are
dealt out again.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dof_arrow.cores.graph.messages import first_line
from dof_arrow.errors import CoreError, SourceError, UsageError, few
from dof_arrow.extraction.engine import Share
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.ray_cluster import ClusterOptions, actors_on
from dof_arrow.extraction.ray_worker import Answer, RayWorker, read_pictures
from dof_arrow.extraction.versions import LIBRARIES, versions
from dof_arrow.progress import listening

_TRIES = 3  # of a share whose worker dies, and of actors that do not start
_SHOWN = 5  # inputs that an error names
_PATIENCE = 30.0  # seconds until it is said that the cluster has no room now
_ANSWERS = 5.0  # seconds that are waited for an answer at a time

Reference = Any  # an ObjectRef of Ray, which is imported only where it is used


@dataclass(eq=False)
class _Member:
    """An actor; `greeting` is the answer that it is ready, None once it is; `given` what it has."""

    actor: Any
    greeting: Reference | None
    given: list[Share] = field(default_factory=list)


class Crew:
    """Actors that compute shares. Those who read pictures are tasks, where cores run on GPUs.

    An actor that dies is replaced; its shares are given to others. `close` lets go of all.
    """

    def __init__(self, ray: Any, job: Job, options: ClusterOptions) -> None:
        self._ray = ray
        self._folder = os.getcwd()
        count = actors_on(ray.nodes(), options)
        threads = max(core.threads for core in job.cores.values())
        at_once = 1 if options.gpus else max(options.cpus // threads, 1)
        self._at_once = at_once
        self._job = _shared(ray, dataclasses.replace(job, workers=at_once))
        self._clips = job.clips is not None
        self._apart = bool(options.gpus) and not self._clips
        self._depth = 2 * at_once  # shares of an actor: it never waits for the next
        if self._apart:
            cpus = int(ray.cluster_resources().get("CPU", 1)) - count * options.cpus
            self._depth = max(2, -(-2 * cpus // count))
        self._actor = ray.remote(RayWorker).options(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=at_once,
            scheduling_strategy="SPREAD",
        )
        self._reader = ray.remote(read_pictures).options(
            num_cpus=1, max_retries=0, scheduling_strategy="SPREAD"
        )
        self._members = [self._started() for _ in range(count)]
        self._sent: dict[Reference, tuple[_Member, Share]] = {}
        self._again: deque[Share] = deque()
        self._tries: Counter[tuple[int, int]] = Counter()
        self._unstarted = 0
        self._begun = time.monotonic()
        self._patient = True

    def close(self) -> None:
        """Let go of all actors, whatever they do."""
        for member in self._members:
            self._ray.kill(member.actor)

    def answers(self, shares: Iterator[Share]) -> Iterator[tuple[Share, Answer]]:
        """What comes of each share, in whatever order; a few are out at a time.

        Raises what a worker raises; SourceError where workers die of a share again and again,
        UsageError for a machine that is not like this one.
        """
        while True:
            left = self._deal(shares)
            if not self._sent and not left:
                return
            for reference in self._finished():
                if reference not in self._sent:  # of an actor that has died meanwhile
                    continue
                member, share = self._sent.pop(reference)
                answer = self._answer(reference, member, share)
                if answer is not None:
                    member.given.remove(share)
                    yield share, answer

    # Shares given out

    def _deal(self, shares: Iterator[Share]) -> bool:
        """Give shares to actors that have few; whether some could not be given out yet."""
        while True:
            free = [member for member in self._members if self._has_room(member)]
            if not free:
                return True
            share = self._again.popleft() if self._again else next(shares, None)
            if share is None:
                return False
            member = min(free, key=lambda each: len(each.given))
            self._send(member, share)

    def _has_room(self, member: _Member) -> bool:
        return member.greeting is None and len(member.given) < self._depth

    def _send(self, member: _Member, share: Share) -> None:
        if self._clips:
            reference = member.actor.clip.remote(share.inputs)
        elif self._apart:
            read = self._reader.remote([self._job], self._folder, share.inputs)
            reference = member.actor.features.remote(read)
        else:
            reference = member.actor.pictures.remote(share.inputs)
        member.given.append(share)
        self._sent[reference] = member, share

    def _finished(self) -> list[Reference]:
        """Wait for answers; those that came. Actors that became ready are greeted."""
        greetings = {}
        for member in self._members:
            if member.greeting is not None:
                greetings[member.greeting] = member
        waiting = [*self._sent, *greetings]
        came, _ = self._ray.wait(waiting, num_returns=1, timeout=_ANSWERS)
        ended = [reference for reference in came if reference not in greetings]
        for reference in came:
            if reference in greetings:
                self._greet(greetings[reference])
        self._tell_waiting()
        return ended

    def _tell_waiting(self) -> None:
        waits = all(member.greeting is not None for member in self._members)
        if self._patient and waits and time.monotonic() - self._begun > _PATIENCE:
            self._patient = False
            listening().say("The cluster has not started a worker yet: it may be busy.")

    def _answer(self, reference: Reference, member: _Member, share: Share) -> Answer | None:
        """The answer; None where a worker died of it, and the share is to be given out again."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = _cause(error, errors.RayTaskError)
            if not isinstance(cause, errors.RayError):
                raise cause from error
            self._read_again(member, share, cause)
        except errors.RayActorError as error:
            self._replace(member, error)
        except errors.RayError as error:
            self._read_again(member, share, error)
        else:
            assert isinstance(found, Answer)
            return found
        return None

    # Workers that start, and that die

    def _read_again(self, member: _Member, share: Share, error: Exception) -> None:
        """Try a share again whose reader died, or whose pictures were lost on their way."""
        member.given.remove(share)
        self._try_again([share], error)

    def _started(self) -> _Member:
        actor = self._actor.remote(self._job, self._folder)
        return _Member(actor, actor.ready.remote())

    def _greet(self, member: _Member) -> None:
        """Take an actor that is ready; UsageError where its machine has other versions."""
        errors = self._ray.exceptions
        try:
            machine, there = self._ray.get(member.greeting)
        except errors.RayTaskError as error:
            raise _cause(error, errors.RayTaskError) from error
        except errors.RayError as error:
            self._unstarted += 1
            if self._unstarted >= _TRIES or "creation task" in str(error):
                raise _not_started(error) from error
            self._members.remove(member)
            self._members.append(self._started())
            return
        _check_versions(machine, there)
        member.greeting = None

    def _replace(self, member: _Member, error: Exception) -> None:
        """Have another actor in the place of one that died; its shares are tried again.

        Only those that it had begun may have killed it, which are the first that it was given.
        """
        self._ray.kill(member.actor)
        given = member.given
        for reference, (whose, _) in list(self._sent.items()):
            if whose is member:
                del self._sent[reference]
        self._members.remove(member)
        self._members.append(self._started())
        self._again.extend(given[self._at_once :])
        self._try_again(given[: self._at_once], error)

    def _try_again(self, shares: list[Share], error: Exception) -> None:
        listening().say("A worker of the cluster died: another one does its batch.")
        worn = []
        for share in shares:
            key = share.block.number, share.places.start
            self._tries[key] += 1
            if self._tries[key] >= _TRIES:
                worn.append(share)
        if worn:
            raise _deadly(worn, error)
        self._again.extend(shares)


def _shared(ray: Any, job: Job) -> Reference:
    """The job, where all machines can have it; UsageError for a source that cannot be sent."""
    try:
        return ray.put(job)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise UsageError(
            "the source cannot be sent to other machines",
            type(job.source).__name__,
            found=first_line(error),
            hint="Give a path, or a source that can be pickled; or use --engine local.",
        ) from error


def _cause(error: Any, wrapper: type) -> Exception:
    """What a worker raised; if it was given what another one raised, that."""
    while isinstance(error, wrapper):
        cause = getattr(error, "cause", None)
        if not isinstance(cause, Exception) or cause is error:
            break
        error = cause
    assert isinstance(error, Exception)
    return error


def _not_started(error: Exception) -> CoreError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return CoreError(
        "a worker of the cluster does not start",
        found=lines[-1].strip() if lines else type(error).__name__,
        hint="All machines of the cluster need this version of dof-arrow, and memory for the core.",
    )


def _deadly(shares: list[Share], error: Exception) -> SourceError:
    names = []
    for share in shares:
        names += [sample.key for sample in share.samples]
    return SourceError(
        f"workers died {_TRIES} times at the same inputs",
        expected="a worker that lives",
        found=", ".join(few(names, _SHOWN)),
        hint=f"One of them may need more memory than there is: {first_line(error)} "
        "What is done stays: take it out of the source, or repeat the command.",
    )


def _check_versions(machine: str, there: Mapping[str, str]) -> None:
    here = versions(LIBRARIES)
    others = []
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            others.append(name)
    if others:
        raise UsageError(
            "a machine of the cluster has other versions of what features depend on",
            machine,
            ", ".join(f"{name} {here.get(name, 'none')}" for name in others),
            ", ".join(f"{name} {there.get(name, 'none')}" for name in others),
            "Install the same versions everywhere.",
        )
