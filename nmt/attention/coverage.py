"""Attention that is told how much of each source word has been covered: Tu et al. 2016; See, Liu and Manning 2017.

What a look covers changes the next look, so these are sequential: step t needs the weights of step t − 1.

Shapes: see :mod:`nmt.attention.base`; W width of the coverage vector β of a source position.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from nmt.attention.bahdanau import Bahdanau, BahdanauKeys
from nmt.attention.base import Attention, Glance, Memory, Size, attend, distribute
from nmt.tree import State


class CoverageKeys(NamedTuple):
    """The scorer's keys, and what an update of the coverage needs of the source."""

    scored: BahdanauKeys
    source_BSU: Tensor


class Coverage(Attention):
    """e_ij = v · tanh(W s + U h_j + V β_{i−1,j}) (Tu et al. 2016, equation 11); β starts at 0.

    A class gives :meth:`source`, what an update needs of every source position, and :meth:`update`.
    """

    sequential = True

    def __init__(self, query_size: int, memory_size: int, size: int | None, width: int) -> None:
        super().__init__()
        self.scorer = Bahdanau(query_size, memory_size, size=size)
        self.context_size, self.width = memory_size, width
        self.coverage = nn.Linear(width, self.scorer.size, bias=False)  # V

    def source(self, value_BSE: Tensor) -> Tensor:
        """What :meth:`update` needs of the source, computed once a sentence: (B, S, U)."""
        return value_BSE[..., :0]

    def update(self, beta_BTSW: Tensor, weight_BTS: Tensor, source_B1SU: Tensor, query_BTQ: Tensor) -> Tensor:
        """The coverage after a look with these weights."""
        raise NotImplementedError

    def precompute(self, memory: Memory) -> CoverageKeys:
        return CoverageKeys(self.scorer.precompute(memory), self.source(memory.value_BSE))

    def start(self, valid_BS: Tensor) -> State:
        weight = self.coverage.weight
        return torch.zeros(*valid_BS.shape, self.width, dtype=weight.dtype, device=weight.device)

    def look(self, query_BTQ: Tensor, keys: CoverageKeys, state: State) -> tuple[Glance, State]:
        scored, beta_BTSW = keys.scored, state.unflatten(0, query_BTQ.shape[:2])
        product_BTSA = scored.product_BSA.unsqueeze(1) + self.coverage(beta_BTSW)
        # Each query has products of its own now: T queries become T sentences with one query each.
        own = scored._replace(product_BSA=product_BTSA.flatten(0, 1))
        energy_N1S = self.scorer.energies(query_BTQ.flatten(0, 1).unsqueeze(1), own)
        weight_BTS = distribute(energy_N1S.view(beta_BTSW.shape[:3]), scored.valid_BS)
        beta_BTSW = self.update(beta_BTSW, weight_BTS, keys.source_BSU.unsqueeze(1), query_BTQ)
        # Autocast must not make coarse what is carried on.
        return attend(weight_BTS, scored.value_BSE), beta_BTSW.flatten(0, 1).to(state.dtype)


class LinguisticCoverage(Coverage):
    """β_ij = Σ_{k≤i} α_kj / Φ_j, Φ_j = N σ(U_f h_j) (Tu et al. 2016, equations 9 and 10): a number a source word.

    Φ is the fertility, how many target words a source word is expected to make, and ``fertility`` is N, its maximum;
    with ``fertility=None`` Φ = 1.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        size: Size | None = None,
        fertility: Annotated[float, Field(gt=0)] | None = 2.0,
    ) -> None:
        super().__init__(query_size, memory_size, size, width=1)
        self.expects = "once" if fertility else "nothing"
        self.maximum = fertility or 1.0  # N
        self.fertility = nn.Linear(memory_size, 1, bias=False) if fertility else None  # U_f

    def source(self, value_BSE: Tensor) -> Tensor:
        if self.fertility is None:
            return torch.ones_like(value_BSE[..., :1])
        share_BS1 = torch.sigmoid(self.fertility(value_BSE))
        # Where σ is too small for a number of its precision, as it may be of what stands at padding, 0 / 0 is none.
        return self.maximum * share_BS1.clamp(min=torch.finfo(share_BS1.dtype).tiny)

    def fertilities(self, keys: CoverageKeys, valid_BS: Tensor) -> Tensor:
        return keys.source_BSU[..., 0]

    def update(self, beta_BTSW: Tensor, weight_BTS: Tensor, source_B1SU: Tensor, query_BTQ: Tensor) -> Tensor:
        return beta_BTSW + weight_BTS.unsqueeze(-1) / source_B1SU


class NeuralCoverage(Coverage):
    """β_ij from (β_{i−1,j}, α_ij, h_j, s_{i−1}), as a vector of ``width`` numbers (Tu et al. 2016, section 3.2.2).

    Gated, as a GRU:

        z = σ(U_z β + V_z α + B_z h + W_z s),  r = σ(U_r β + V_r α + B_r h + W_r s)
        β̄ = tanh(U [r ⊙ β] + V α + B h + W s)
        β' = (1 − z) ⊙ β + z ⊙ β̄

    Ungated (equation 8): β' = tanh(U β + V α + B h + W s). All products are without bias.
    """

    def __init__(
        self, query_size: int, memory_size: int, *, size: Size | None = None, width: Size = 10, gated: bool = True
    ) -> None:
        super().__init__(query_size, memory_size, size, width)
        parts = 3 if gated else 1  # candidate, z, r
        self.query = nn.Linear(query_size, parts * width, bias=False)  # W, W_z, W_r
        self.memory = nn.Linear(memory_size, parts * width, bias=False)  # B, B_z, B_r
        self.weight = nn.Linear(1, parts * width, bias=False)  # V, V_z, V_r
        self.before = nn.Linear(width, width, bias=False)  # U
        self.before_z = nn.Linear(width, width, bias=False) if gated else None  # U_z
        self.before_r = nn.Linear(width, width, bias=False) if gated else None  # U_r

    def source(self, value_BSE: Tensor) -> Tensor:
        product_BSU: Tensor = self.memory(value_BSE)
        return product_BSU

    def update(self, beta_BTSW: Tensor, weight_BTS: Tensor, source_B1SU: Tensor, query_BTQ: Tensor) -> Tensor:
        product_BTSU = self.weight(weight_BTS.unsqueeze(-1)) + source_B1SU + self.query(query_BTQ).unsqueeze(2)
        if self.before_z is None or self.before_r is None:
            return torch.tanh(self.before(beta_BTSW) + product_BTSU)
        candidate_BTSW, z_BTSW, r_BTSW = product_BTSU.chunk(3, dim=-1)
        z_BTSW = torch.sigmoid(self.before_z(beta_BTSW) + z_BTSW)
        r_BTSW = torch.sigmoid(self.before_r(beta_BTSW) + r_BTSW)
        candidate_BTSW = torch.tanh(self.before(r_BTSW * beta_BTSW) + candidate_BTSW)
        return beta_BTSW + z_BTSW * (candidate_BTSW - beta_BTSW)  # (1 - z) β + z β̄


class SeeCoverage(Coverage):
    """e_i = v · tanh(W_h h_i + W_s s_t + w_c c_i + b), c_t = Σ_{t'<t} a_t' (See et al. 2017, equations 8 and 9).

    They found it of use only together with the coverage loss (:class:`nmt.losses.coverage.Coverage`).
    """

    def __init__(self, query_size: int, memory_size: int, *, size: Size | None = None) -> None:
        super().__init__(query_size, memory_size, size, width=1)
        self.bias = nn.Parameter(torch.zeros(self.scorer.size))

    def precompute(self, memory: Memory) -> CoverageKeys:
        keys = super().precompute(memory)
        return keys._replace(scored=keys.scored._replace(product_BSA=keys.scored.product_BSA + self.bias))

    def update(self, beta_BTSW: Tensor, weight_BTS: Tensor, source_B1SU: Tensor, query_BTQ: Tensor) -> Tensor:
        return beta_BTSW + weight_BTS.unsqueeze(-1)
