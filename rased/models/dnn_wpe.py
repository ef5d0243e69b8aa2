"""DNN-WPE: a network estimates the power of the early speech, linear prediction removes the late reverberation.

Paper: K. Kinoshita, M. Delcroix, H. Kwon, T. Mori, T. Nakatani, "Neural network-based spectrum estimation for online
WPE dereverberation", Interspeech 2017, doi:10.21437/Interspeech.2017-733. Differences: whole utterances instead of
recursive updates; any enhancer is the network (there, an LSTM that maps log-power), and the loss reaches it through
the prediction (Heymann et al., ICASSP 2019), or it comes trained.
Parameters and MACs: those of the estimator; those of the prediction are not counted.
"""

from collections.abc import Iterable

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction
from rased.signal.domains import Domain, Spectrum, Waveform
from rased.signal.features import power
from rased.signal.prediction import dereverberated
from rased.signal.stft import STFT


class DNNWPE(Enhancer):
    """Dereverberates whole utterances of one or more microphones; the noise remains.

    Args:
        estimator: an enhancer of one channel, whose estimate has the power of the speech that is to remain.
        taps: number of past frames of each channel that predict.
        delay: frames between the newest of them and the current one; they count as early.
        channels: number of microphones; the output is that of the first one.
        stft: transform of the prediction.

    Raises:
        RasedError: the estimator takes several channels, or a condition, or draws random numbers.
    """

    domains: tuple[Domain, ...] = ("waveform", "spectrum")
    paper = (
        "Kinoshita, Delcroix, Kwon, Mori, Nakatani: Neural network-based spectrum estimation for online WPE "
        "dereverberation, Interspeech 2017, doi:10.21437/Interspeech.2017-733"
    )

    def __init__(
        self,
        estimator: Enhancer,
        *,
        taps: int = 10,
        delay: int = 3,
        channels: int = 1,
        stft: STFT = STFT(512, 128, 512),  # noqa: B008 - a frozen value
    ) -> None:
        super().__init__()
        if estimator.channels != 1 or estimator.conditions or estimator.samples:
            raise RasedError(
                f"DNNWPE estimates the power of each channel by an enhancer of one channel, without conditions and "
                f"random numbers, which {type(estimator).__name__} is not: choose another estimator."
            )
        if taps < 1 or delay < 1 or channels < 1:
            raise RasedError(
                f"DNNWPE: taps {taps}, delay {delay} and channels {channels} must be at least 1."
            )
        self.estimator = estimator
        self.sample_rate = estimator.sample_rate
        self.channels = channels
        self.taps, self.delay, self.stft = taps, delay, stft

    @property
    def transform(self) -> STFT:
        """Return the transform of the prediction."""
        return self.stft

    @property
    def needs_statistics(self) -> bool:
        """Return whether the estimator does."""
        return self.estimator.needs_statistics

    def fit_statistics(
        self, batches: Iterable[tuple[Float[Tensor, "batch *channel time"], Waveform]]
    ) -> None:
        """Compute the statistics of the estimator, from the first channel."""
        self.estimator.fit_statistics(
            (noisy[:, 0] if noisy.ndim > 2 else noisy, target) for noisy, target in batches
        )

    def predict(
        self,
        noisy: Float[Tensor, "batch *channel time"],
        *,
        condition: Condition | None = None,
        generator: Generators = None,
    ) -> Prediction:
        """Estimate the power, then predict and subtract."""
        microphones = noisy if noisy.ndim > 2 else noisy[:, None]
        rows = rearrange(microphones, "batch channel time -> (batch channel) time")
        estimates = self.stft.analysis(self.estimator.predict(rows).estimate)
        each = rearrange(
            power(estimates),
            "(batch channel) freq frames -> batch channel freq frames",
            channel=self.channels,
        )
        observed = rearrange(
            self.stft.analysis(rows),
            "(batch channel) freq frames -> batch channel freq frames",
            channel=self.channels,
        )
        dry: Spectrum = dereverberated(observed, each.mean(1), taps=self.taps, delay=self.delay)[
            :, 0
        ]
        estimate = self.stft.synthesis(dry, noisy.shape[-1])
        return Prediction(estimate, dry, observed[:, 0])
