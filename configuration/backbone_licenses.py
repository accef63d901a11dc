"""The licenses of the backbones that are named here, and of a model that holds their weights."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class License:
    """A license as model cards name it.

    Attributes:
        id: The Hub's identifier; `other` where it has none, and then `name` and `link` say which.
        gated: Whether the Hub hands the weights out only to accounts that have accepted it.
    """

    id: str
    name: str | None = None
    link: str | None = None
    gated: bool = False

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name or self.id


APACHE, MIT = License("apache-2.0"), License("mit")
PERMISSIVE = (APACHE, MIT)
DINOV3 = License(
    "other", "dinov3-license", "https://ai.meta.com/resources/models-and-libraries/dinov3-license", gated=True
)
# As the models' cards on the Hub say. CLIP's card says nothing; its repository, weights included, is under MIT.
LICENSES: dict[str, License] = {
    "openai/clip-vit-large-patch14-336": MIT,
    "google/siglip2-base-patch16-224": APACHE,
    "google/siglip2-so400m-patch14-384": APACHE,
    "facebook/dinov2-with-registers-large": APACHE,
    "facebook/dinov3-vitl16-pretrain-lvd1689m": DINOV3,
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": DINOV3,
    "Qwen/Qwen3-0.6B": APACHE,
    "Qwen/Qwen3-1.7B": APACHE,
    "Qwen/Qwen3-4B-Instruct-2507": APACHE,
    "Qwen/Qwen3-8B": APACHE,
    "Qwen/Qwen3-14B": APACHE,
    "Qwen/Qwen3-32B": APACHE,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": APACHE,
    "lmsys/vicuna-7b-v1.5": License("llama2", link="https://ai.meta.com/llama/license"),
}


def combined_license(backbones: Sequence[str]) -> License | None:
    """The license of a model made of these; None where one of theirs is not known here."""
    known = [LICENSES.get(backbone) for backbone in backbones]
    strict = list(dict.fromkeys(license for license in known if license not in PERMISSIVE))
    if None in strict or not known:
        return None
    if len(strict) < 2:
        return strict[0] if strict else APACHE
    return License("other", "-and-".join(license.title for license in strict if license))


def describe_license(backbone: str) -> str:
    """A line about a backbone for whoever is about to use it, in Korean."""
    license = LICENSES.get(backbone)
    if license is None:
        return f"{backbone}: 라이선스를 알 수 없습니다. 모델 카드를 확인해 주세요."
    line = f"{backbone}: {license.title}" + (f" ({license.link})" if license.link else "")
    if license.gated:
        line += f" — 먼저 https://huggingface.co/{backbone} 에서 약관에 동의하고 hf auth login으로 로그인해 주세요."
    return line
