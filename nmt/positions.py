"""How a Transformer knows the order of words: positions added to the embeddings, or turned into queries and keys.

Shapes: B batch, T positions (of source or target), D embedding size, H heads, K size of a head, P pairs of numbers.
``place_BT`` is the place of a word in its sentence, 0 for the first; padding does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

Base = Annotated[float, Field(gt=1)]


class Positions(nn.Module):
    """Either :meth:`add` or :meth:`turn` does something; made for a size and the size of a head."""

    def add(self, embedded_BTD: Tensor, place_BT: Tensor) -> Tensor:
        """The embeddings with what is added at each place."""
        return embedded_BTD

    def turn(self, x_BHTK: Tensor, place_BT: Tensor) -> Tensor:
        """Queries, or keys, of self-attention as they are at each place."""
        return x_BHTK


def angles(place_BT: Tensor, pairs: int, size: int, base: float, like: Tensor) -> Tensor:
    """place · base^(−2i / size) for i = 0 … pairs − 1, (B, T, P): in the precision of ``like``, float32 at least."""
    kind = torch.promote_types(like.dtype, torch.float32)
    pair_P = torch.arange(pairs, device=place_BT.device, dtype=kind)
    return place_BT.to(kind).unsqueeze(-1) * base ** (-2 * pair_P / size)


class Sinusoidal(Positions):
    """PE(p, 2i) = sin(p / base^(2i/D)), PE(p, 2i + 1) = cos(p / base^(2i/D)) (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, size: int, head_size: int, *, base: Base = 10000.0) -> None:
        super().__init__()
        self.base = base

    def add(self, embedded_BTD: Tensor, place_BT: Tensor) -> Tensor:
        size = embedded_BTD.shape[-1]
        angle_BTP = angles(place_BT, (size + 1) // 2, size, self.base, embedded_BTD)
        wave_BTD = torch.stack([angle_BTP.sin(), angle_BTP.cos()], dim=-1).flatten(2)[..., :size]
        return embedded_BTD + wave_BTD.to(embedded_BTD.dtype)


class Learned(Positions):
    """A vector for every place is learned (Vaswani et al. 2017, section 3.5, after Gehring et al. 2017).

    ``longest`` places have one; all that come later share the last one's.
    """

    def __init__(self, size: int, head_size: int, *, longest: Annotated[int, Field(ge=1)] = 512) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(longest, size))
        nn.init.normal_(self.vectors, std=size**-0.5)

    def add(self, embedded_BTD: Tensor, place_BT: Tensor) -> Tensor:
        return embedded_BTD + self.vectors[place_BT.clamp(max=len(self.vectors) - 1)]


class Rotary(Positions):
    """Each pair (x_2i, x_2i+1) of a head's query or key is turned by the angle p · base^(−2i/K), so that a score
    depends on how far apart two words are, and not on where (Su et al. 2021, section 3.2; not verified against the
    paper).

    Raises ``ValueError`` for heads of an odd size.
    """

    def __init__(self, size: int, head_size: int, *, base: Base = 10000.0) -> None:
        super().__init__()
        if head_size % 2:
            raise ValueError(
                f"rotary positions turn pairs of numbers, but a head has {head_size}; choose an embedding and heads "
                "that make it even, or other positions"
            )
        self.base = base

    def turn(self, x_BHTK: Tensor, place_BT: Tensor) -> Tensor:
        size = x_BHTK.shape[-1]
        angle_B1TP = angles(place_BT, size // 2, size, self.base, x_BHTK).unsqueeze(1)
        cos_B1TP, sin_B1TP = angle_B1TP.cos(), angle_B1TP.sin()
        even_BHTP, odd_BHTP = x_BHTK[..., 0::2], x_BHTK[..., 1::2]
        turned = [even_BHTP * cos_B1TP - odd_BHTP * sin_B1TP, odd_BHTP * cos_B1TP + even_BHTP * sin_B1TP]
        return torch.stack(turned, dim=-1).flatten(-2).to(x_BHTK.dtype)


POSITIONS: dict[str, Callable[..., Positions]] = {"sinusoidal": Sinusoidal, "learned": Learned, "rotary": Rotary}
