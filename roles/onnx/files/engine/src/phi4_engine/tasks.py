"""What a job is to the model process: answers in the decode loop, and the text of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi4_engine.compiling import Forms
from phi4_engine.generation import Generation, Tokenizer
from phi4_engine.loop.decode import Answer
from phi4_engine.loop.sampling import TOP_K, Penalties, Sampler
from phi4_engine.wire import Job, Sampling


@dataclass(frozen=True)
class Task:
    """An answer on its way: its tokens in the loop, its text, and which one of its job it is."""

    index: int
    answer: Answer
    generation: Generation

    @property
    def job(self) -> str:
        """The id of its job."""
        return self.answer.request


def family(
    tokenizer: Tokenizer, job: Job, place: int, prompt: NDArray[np.int32], context_length: int, forms: Forms
) -> list[Task]:
    """The answers to the prompt in this place of the job, which is read once: the others are siblings of the first.

    Raises JobRefusedError when it does not fit, GrammarError for a form that cannot be had.
    """
    found = []
    for index in range(place * job.n, (place + 1) * job.n):
        generation = Generation(tokenizer, job, len(prompt), context_length)
        name = f"{job.id}/{index}" if index else job.id
        sampler, penalties = _sampler(job.sampling, index), _penalties(job.sampling, prompt)
        answer = Answer(name, prompt, sampler, penalties, job.logprobs, constraint=forms.constraint(job))
        found.append(Task(index, answer, generation))
    found[0].answer.siblings = [task.answer for task in found[1:]]
    return found


def _sampler(wanted: Sampling, index: int) -> Sampler:
    """Each answer of a job has a seed of its own."""
    top_k = TOP_K if wanted.top_k is None else wanted.top_k
    seed = None if wanted.seed is None else wanted.seed + index
    return Sampler(wanted.temperature, wanted.top_p, seed, top_k=top_k, min_p=wanted.min_p)


def _penalties(wanted: Sampling, prompt: NDArray[np.int32]) -> Penalties:
    return Penalties(
        prompt,
        bias=wanted.logit_bias,
        repetition=wanted.repetition_penalty,
        frequency=wanted.frequency_penalty,
        presence=wanted.presence_penalty,
    )
