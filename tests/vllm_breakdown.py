"""Run by vLLM's Python (`test_vllm.py`): answers with parameters of their own, and a step that breaks down.

PYTHON tests/vllm_breakdown.py MODEL PROMPT ANSWERS.json MAX_NEW_TOKENS
"""

import json
import sys
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from serving.engine import Job  # noqa: E402
from serving.token_sampling import TokenSampling  # noqa: E402
from serving.vllm_worker import VllmWriter  # noqa: E402

HOW = {
    "greedy": TokenSampling(),
    "penalised": TokenSampling(repetition_penalty=1.3),
    "one candidate": TokenSampling(temperature=1.5, top_k=1),
    "seeded": TokenSampling(temperature=1.5, seed=-1),
    "seeded too": TokenSampling(temperature=1.5, seed=-1),
}


class Answers:
    """vLLM's answers to one prompt."""

    def __init__(self, model: str, prompt: str, max_new_tokens: int):
        self.writer = VllmWriter(model, slots=8, max_context=512)
        self.outputs: SimpleQueue[tuple] = SimpleQueue()
        self.failures: list[tuple] = []
        self.writer.start(lambda *output: self.outputs.put(output), lambda *failure: self.failures.append(failure))
        self._job = Job([{"role": "user", "content": [{"type": "text", "text": prompt}]}])
        self._max_new_tokens = max_new_tokens

    def begin(self, name: str, sampling: TokenSampling) -> None:
        _, prompt = self.writer.prepare(self._job)
        self.writer.add(name, prompt, max_new_tokens=self._max_new_tokens, sampling=sampling)

    def finish(self, names: set[str]) -> dict[str, list[int]]:
        done = {}
        while names - done.keys():
            name, tokens, finished = self.outputs.get(timeout=120)
            if finished:
                done[name] = tokens
        return done


def main(model: str, prompt: str, answers_path: str, max_new_tokens: str) -> None:
    answers = Answers(model, prompt, int(max_new_tokens))
    for name, sampling in HOW.items():
        answers.begin(name, sampling)
    whole = answers.finish(set(HOW))

    executor = answers.writer._engine.engine_core.engine_core.model_executor
    execute = executor.execute_model

    def break_down(scheduled, *arguments, **keywords):
        if any(name.startswith("culprit") for name in scheduled.num_scheduled_tokens):
            raise RuntimeError("a step that breaks down")
        return execute(scheduled, *arguments, **keywords)

    executor.execute_model = break_down
    for name, sampling in HOW.items():
        answers.begin(name, sampling)
    answers.outputs.get(timeout=120)  # they are in the middle of it
    answers.begin("culprit", TokenSampling())
    told = {"whole": whole, "broken": answers.finish(set(HOW)), "failures": answers.failures}
    Path(answers_path).write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
