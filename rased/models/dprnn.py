"""DPRNN-TasNet: a learned filterbank, a mask from LSTMs within and across overlapping segments, and back.

Paper: Luo, Chen and Yoshioka, "Dual-path RNN: efficient long sequence modeling for time-domain single-channel speech
separation", ICASSP 2020, doi:10.1109/ICASSP40776.2020.9054266, arXiv:1910.06379.
Differences: follows Asteroid 0.7 (GitHub asteroid-team/asteroid; the authors publish no TasNet with it), with the paths
of the first author's code (GitHub yluo42/TAC); one source, so that separation becomes enhancement. The last samples,
which Asteroid drops if they do not fill a frame, are enhanced as well. `causal` is ours: LSTMs across the segments run
forwards only, norms use the past, and the output is delayed by a segment.
Parameters: 2.61 M at the paper's sizes (Asteroid's network for two sources has 2,608,065).
MACs: 10.3 G/s with filters of 16 samples at 16 kHz.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.dual_path import NormedPath
from rased.layers.norm import CumulativeLayerNorm, GlobalLayerNorm
from rased.layers.segments import overlap_added, segmented
from rased.layers.stack import Stack
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.signal.domains import Waveform
from rased.signal.state import joined, parted

_PAPER = (64, 64, 128, 6, False)
"""Filters, channels, hidden, repeats, causal."""


class DPRNN(Enhancer):
    """Encoder, dual-path LSTMs over segments of frames, mask, decoder.

    Args:
        filters: filters of encoder and decoder.
        filter_length: length of the filters in samples, even; the hop is half of it.
        channels: channels of a frame between the LSTMs.
        hidden: hidden size of the LSTMs in each direction.
        segment: frames in a segment, even; segments overlap by half.
        repeats: pairs of LSTMs, within and across segments.
        causal: stream: forward LSTMs across segments, and norms of the past.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Luo, Chen, Yoshioka: Dual-path RNN: efficient long sequence modeling for time-domain single-channel speech "
        "separation. ICASSP 2020, doi:10.1109/ICASSP40776.2020.9054266"
    )
    published_in = "Asteroid"

    def __init__(
        self,
        *,
        filters: int = 64,
        filter_length: int = 16,
        channels: int = 64,
        hidden: int = 128,
        segment: int = 100,
        repeats: int = 6,
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if filter_length % 2 or segment % 2 or min(filter_length, segment) < 2:
            raise RasedError(
                f"DPRNN: filter_length is {filter_length} and segment {segment}; both must be even, 2 or more."
            )
        if min(filters, channels, hidden, repeats) < 1:
            raise RasedError(
                f"DPRNN: filters {filters}, channels {channels}, hidden {hidden} and repeats {repeats} must be at "
                "least 1."
            )
        if (filters, channels, hidden, repeats, causal) == _PAPER:
            self.published_parameters = 2_608_065
        self.sample_rate, self.segment = sample_rate, segment
        self.hop, self.stride = filter_length // 2, segment // 2
        if causal:
            self.chunk_length = self.stride * self.hop
            self.latency = self.chunk_length + self.hop  # half a segment, and half a filter
        self.encoder = nn.Conv1d(1, filters, filter_length, self.hop, bias=False)
        self.norm = (CumulativeLayerNorm if causal else GlobalLayerNorm)(filters)
        self.bottleneck = nn.Conv1d(filters, channels, 1)
        self.paths = Stack(
            NormedPath(
                channels,
                hidden,
                across=across,
                bidirectional=across or not causal,
                scope="past" if causal else "utterance",
            )
            for _ in range(repeats)
            for across in (True, False)
        )
        self.joined = nn.Sequential(nn.PReLU(), nn.Linear(channels, channels))
        self.output = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Tanh())
        self.gate = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Sigmoid())
        self.mask = nn.Sequential(nn.Conv1d(channels, filters, 1, bias=False), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(filters, 1, filter_length, self.hop, bias=False)

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Process all segments at once; the input is padded with silence at the end."""
        time = noisy.shape[-1]
        if self.latency is not None and self.chunk_length is not None:
            late = self.latency
            padded = functional.pad(noisy, (0, late + -(time + late) % self.chunk_length))
            estimate, _ = self.step(padded, self.initial_state(noisy.shape[0]))
            return Prediction(estimate=estimate[:, late : late + time])
        # Whole frames, one at least.
        hops = -(-max(0, time - 2 * self.hop) // self.hop) + 2
        encoded = self.encoder(functional.pad(noisy, (0, hops * self.hop - time))[:, None])
        reduced, _ = self._reduced(encoded, {})
        # A segment of silence on both sides, so that every frame is in two segments.
        padded = functional.pad(reduced, (self.segment, self.segment))
        masks, _ = self._masks(padded, self._silence(noisy.shape[0]))
        masks = masks[..., self.segment :][..., : encoded.shape[-1]]
        return Prediction(estimate=self.decoder(masks * encoded)[:, 0, :time])

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return silence before the encoder, in the segment and after the decoder."""
        if not self.causal:
            return super().initial_state(batch)
        like = self.encoder.weight
        filters, channels = self.encoder.out_channels, self.bottleneck.out_channels
        return {
            "heard": like.new_zeros(batch, self.hop),
            "waiting": like.new_zeros(batch, filters, self.stride),
            "segment": like.new_zeros(batch, channels, self.stride),
            "decoded": like.new_zeros(batch, self.hop),
            **joined({"norm": self.norm.initial_state(batch, like), "masks": self._silence(batch)}),
        }

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Process one segment per half segment of input; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        parts, after = parted(state), {}
        heard = torch.cat([state["heard"], chunk], dim=-1)
        encoded = self.encoder(heard[:, None])
        reduced, norm = self._reduced(encoded, parts["norm"])
        frames = torch.cat([state["segment"], reduced], dim=-1)
        masks, memory = self._masks(frames, parts["masks"])
        # Masks are complete half a segment late, so the encoded frames wait for them.
        waiting = torch.cat([state["waiting"], encoded], dim=-1)
        decoded = self.decoder(masks * waiting[..., : -self.stride])[:, 0]
        # The first half frame completes the last one of the previous chunk, the last half waits for the next chunk.
        first, rest = decoded.tensor_split([self.hop], dim=-1)
        estimate = torch.cat([first + state["decoded"], rest], dim=-1)
        ready, overlap = estimate.split([chunk.shape[-1], self.hop], dim=-1)
        after = {
            "heard": heard[:, -self.hop :],
            "waiting": waiting[..., -self.stride :],
            "segment": frames[..., -self.stride :],
            "decoded": overlap,
        }
        return ready, {**after, **joined({"norm": norm, "masks": memory})}

    def _reduced(
        self, encoded: Float[Tensor, "batch filter frames"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Normalise, and reduce to the channels of the LSTMs."""
        normal, state = self.norm(encoded, state)
        return self.bottleneck(normal), state

    def _masks(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch filter fewer_frames"], State]:
        """Return a mask for each frame except the last half segment, which the next segment adds to."""
        parts = parted(state)
        segments = segmented(frames, self.segment)
        segments, memory = self.paths(segments, parts["paths"])
        added, overlap = overlap_added(self.joined(segments), parts["overlap"]["memory"])
        after = {"overlap": {"memory": overlap}, "paths": memory}
        return self.mask(self.output(added) * self.gate(added)), joined(after)

    def _silence(self, batch: int) -> State:
        """Return the state of the masks before the first segment."""
        like = self.encoder.weight
        overlap = like.new_zeros(batch, self.bottleneck.out_channels, self.stride)
        states = self.paths.initial_state(batch, self.segment, like)
        return joined({"overlap": {"memory": overlap}, "paths": states})
