"""An enhancer of the lower band at a high sample rate, with a gain for each band above; causal if the enhancer is.

Bins of frames of the same duration have the same width at any rate: 48 kHz in frames of 1536 samples and 16 kHz in
frames of 512 both have bins of 31.25 Hz. So an enhancer for 16 kHz works on the lower bins with its weights as they
are. Above them the ear needs less, and wide bands get a gain each, as in the first stage of Schröter, Escalante-B.,
Rosenkranz and Maier, "DeepFilterNet", ICASSP 2022, arXiv:2110.05588, and everywhere in RNNoise (Valin, MMSP 2018).
Differences: the lower enhancer is any spectral one, such as a checkpoint (`rased train --from NAME --into lower`), and
the gains follow what it did below.
Parameters and MACs: those of the lower enhancer, and 28 K and 6.7 M/s with the default sizes and 375 frames a second.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.erb import erb_triangles
from rased.layers.frontend import Inputs, InputStage
from rased.layers.recurrent import recur, silence
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum, Waveform
from rased.signal.features import power
from rased.signal.masks import apply_mask
from rased.signal.resampling import resample
from rased.signal.state import delayed, initial_past, joined, parted

_FLOOR = 1e-10
"""Added to the power of a band: -100 dB of full scale."""


class FullBand(SpectralEnhancer):
    """Enhances the lower bins with an enhancer of a lower rate, and the others by gains in bands.

    The gains come from a GRU that hears the levels of all bands, relative to their means over the past, and by how much
    the lower enhancer attenuated its bands.

    Args:
        lower: a spectral enhancer without conditions and random numbers.
        bands: gains above the lower band, on the ERB-rate scale.
        lower_bands: bands in which the gains are told what happened below.
        hidden: hidden size of the GRU.
        seconds: time constant of the means over the past.
        sample_rate: Hz, a multiple of that of `lower`.

    Raises:
        RasedError: `lower` does not fit.
    """

    paper = (
        "Schröter, Escalante-B., Rosenkranz, Maier: DeepFilterNet: a low complexity speech enhancement framework for "
        "full-band audio based on deep filtering. ICASSP 2022, arXiv:2110.05588"
    )
    above: Float[Tensor, "band high"]
    below: Float[Tensor, "lower_band low"]

    def __init__(
        self,
        lower: SpectralEnhancer,
        *,
        bands: int = 12,
        lower_bands: int = 16,
        hidden: int = 64,
        seconds: float = 3.0,
        sample_rate: int = 48_000,
    ) -> None:
        ratio = _ratio(lower, sample_rate)
        stft = replace(
            lower.stft,
            n_fft=ratio * lower.stft.n_fft,
            hop_length=ratio * lower.stft.hop_length,
            win_length=ratio * lower.stft.win_length,
        )
        super().__init__(
            stft=stft, sample_rate=sample_rate, causal=lower.causal, lookahead=lower.lookahead
        )
        self.lower, self.ratio, self.edge = lower, ratio, lower.stft.freq
        above = erb_triangles(self.edge, bands, stft.freq, sample_rate)
        below = erb_triangles(0, lower_bands, self.edge, lower.sample_rate)
        for name, triangles in {"above": above, "below": below}.items():
            self.register_buffer(name, torch.from_numpy(triangles), persistent=False)
        self.inputs = InputStage(
            Inputs(normalisation="running_mean", seconds=seconds),
            lower_bands + bands,
            sample_rate / stft.hop_length,
        )
        self.expand = nn.Sequential(nn.Linear(2 * lower_bands + bands, hidden), nn.PReLU())
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True)
        self.gains = nn.Linear(hidden, bands)

    @property
    def needs_statistics(self) -> bool:
        """Return whether the lower enhancer does."""
        return self.lower.needs_statistics

    def fit_statistics(self, batches: Iterable[tuple[Waveform, Waveform]]) -> None:
        """Compute those of the lower enhancer, at its sample rate."""
        rates = (self.sample_rate, self.lower.sample_rate)
        self.lower.fit_statistics(
            (resample(noisy, *rates), resample(target, *rates)) for noisy, target in batches
        )

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Enhance the lower bins, then multiply the others by gains."""
        parts, after = parted(state), {}
        # A transform sums over `ratio` times as many samples.
        heard = spectrum[:, : self.edge] / self.ratio
        prediction, after["lower"] = self.lower.process(heard, parts["lower"])
        assert prediction.spectrum is not None
        noisy, after["delay"] = delayed(spectrum, parts["delay"])
        low, high = noisy[:, : self.edge] / self.ratio, noisy[:, self.edge :]
        before, done = self._level(low, self.below), self._level(prediction.spectrum, self.below)
        levels = torch.cat([before, self._level(high / self.ratio, self.above)], dim=1)
        inputs, after["inputs"] = self.inputs(levels, parts["inputs"])
        features = torch.cat([inputs, rearrange(done - before, "n b t -> n t b")], dim=-1)
        hidden, after["recurrent"] = recur(
            self.recurrent, self.expand(features), parts["recurrent"]
        )
        gains = self.gains(hidden).sigmoid().float() @ self.above
        upper = apply_mask(rearrange(gains, "n t f -> n f t"), high)
        enhanced = torch.cat([self.ratio * prediction.spectrum, upper], dim=1)
        return Prediction.of_spectrum(enhanced), joined(after)

    def initial_process_state(self, batch: int) -> State:
        """Return the states of the lower enhancer, the means and the GRU, and silence before the first frame."""
        like = next(self.parameters())
        return joined(
            {
                "lower": self.lower.initial_process_state(batch),
                "delay": initial_past(batch, self.stft.freq, self.lookahead, like),
                "inputs": self.inputs.initial_state(batch, like),
                "recurrent": silence(self.recurrent, batch, like),
            }
        )

    def _level(
        self, bins: Spectrum, triangles: Float[Tensor, "band freq"]
    ) -> Float[Tensor, "batch band frames"]:
        """Return the natural logarithm of the mean power in bands, in units of the window's length."""
        shares = triangles / triangles.sum(1, keepdim=True)
        scale = (self.ratio / self.stft.n_fft) ** 2
        return (shares @ power(bins) * scale + _FLOOR).log()


def _ratio(lower: SpectralEnhancer, sample_rate: int) -> int:
    """Return how many times the sample rate is that of the lower enhancer.

    Raises:
        RasedError: it is no multiple, or the enhancer does not fit.
    """
    name = type(lower).__name__
    if not lower.is_all_spectral:
        raise RasedError(
            f"FullBand needs a lower enhancer that works on spectra alone, but {name} normalises the level of the "
            "waveform: write level: null."
        )
    if lower.channels != 1 or lower.conditions or lower.samples:
        raise RasedError(
            "FullBand needs a lower enhancer of one channel, without conditions and random numbers, which "
            f"{name} is not: choose another one."
        )
    ratio = sample_rate // lower.sample_rate
    if ratio < 2 or ratio * lower.sample_rate != sample_rate:
        raise RasedError(
            f"FullBand: sample_rate {sample_rate} is not a multiple of the {lower.sample_rate} Hz of the lower "
            f"enhancer: choose {2 * lower.sample_rate} or {3 * lower.sample_rate}."
        )
    return ratio
