"""One call from the name of an engine to something that captions batches of clips, in this process."""

from typing import Any, Literal

from configuration.coded_errors_kocap import CodedError
from modeling.captioner import describe_captioner, load_captioner
from modeling.checkpoint_names import model_name

Engine = Literal["transformers", "vllm"]


class EngineError(CodedError, RuntimeError):
    """What writes captions broke down in the middle of a run; says why. The run goes on when started again."""

    code = "E_ENGINE"
    message_ko = "설명을 쓰던 엔진이 멈추었습니다. 까닭을 없앤 뒤 같은 명령을 다시 실행하면 이어서 합니다."


class ClusterError(CodedError, ConnectionError):
    """No Ray, or no cluster where one was to be."""

    code = "E_RAY"
    message_ko = "Ray 클러스터에 연결할 수 없습니다. RAY_ADDRESS를 확인해 주세요."


def load_engine(
    model: str, engine: Engine, *, slots: int, trust_remote_code: bool = False
) -> tuple[Any, dict[str, Any]]:
    """A pipeline for `caption_videos`, and what its lines say of where they come from: `model` and `revision`.

    Args:
        model: Checkpoint or adapter, folder or Hub id.
        slots: vLLM: captions at the same time.
        trust_remote_code: See `load_captioner`.

    Raises:
        ModelError: If there is no such folder or repository, or it cannot be loaded.
        ValueError: If vLLM is not here, or cannot serve it; the message says why.
    """
    if engine == "vllm":
        from .vllm_pipeline import VllmPipeline  # loads half of the gateway

        vllm = VllmPipeline(model, slots=slots, trust_remote_code=trust_remote_code)
        return vllm, {"model": model_name(model), "revision": vllm.revision}
    pipe = load_captioner(model, trust_remote_code=trust_remote_code)
    return pipe, describe_captioner(pipe, model)
