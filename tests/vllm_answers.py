"""Run by vLLM's Python (`test_vllm.py`): greedy answers of our vLLM engine to pickled jobs, as token ids.

PYTHON tests/vllm_answers.py MODEL JOBS.pickle ANSWERS.json MAX_NEW_TOKENS
"""

import json
import pickle
import sys
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from serving.token_sampling import TokenSampling  # noqa: E402
from serving.vllm_worker import VllmWriter  # noqa: E402


def main(model: str, jobs_path: str, answers_path: str, max_new_tokens: str) -> None:
    jobs = pickle.loads(Path(jobs_path).read_bytes())
    writer = VllmWriter(model, slots=8, max_context=1024)
    finished: SimpleQueue[tuple] = SimpleQueue()
    writer.start(
        lambda name, tokens, ended: finished.put((name, tokens)) if ended else None,
        lambda names, _: [finished.put((name, None)) for name in names],
    )
    counts = []
    for number, job in enumerate(jobs):
        count, prompt = writer.prepare(job)
        counts.append(count)
        writer.add(str(number), prompt, max_new_tokens=int(max_new_tokens), sampling=TokenSampling())
    answers = dict(finished.get(timeout=300) for _ in jobs)
    told = [{"prompt_tokens": count, "tokens": answers[str(number)]} for number, count in enumerate(counts)]
    Path(answers_path).write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
