"""Composites by name: which rule for which operation, as published or as found to work.

Example:
    >>> from temporal_attr.relevance import composites
    >>> composites.transformer().sums, composites.attnlrp().attention
    ('magnitude', 'full')
"""

from __future__ import annotations

from dataclasses import replace

from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._rules import Absolute, Epsilon, Gamma, ZPlus

__all__ = ["absolute", "attnlrp", "cp_lrp", "gamma", "paper", "transformer"]


def paper() -> Composite:
    """The default of models without attention: that of the ATR paper :cite:p:`fan2022`.

    z+ in convolutions, linear layers and the product of attention weights with values, z^B at the
    input, sums split in proportion.

    Example:
        >>> paper() == Composite()
        True
    """
    return Composite()


def transformer() -> Composite:
    """The default of models with attention: z+, sums and means by what is positive or large.

    Like `paper`, but residual sums give each branch its part by magnitude and means count positive
    contributions only, so that no part is larger than the whole.

    Example:
        >>> transformer().pooling
        ZPlus(epsilon=0.0, conserve=False, count_bias=False)
    """
    return Composite(pooling=ZPlus(), sums="magnitude")


def absolute() -> Composite:
    """Every linear map by the magnitudes of its contributions, whatever their sign.

    Example:
        >>> absolute().linear
        Absolute(epsilon=0.0, conserve=False, count_bias=False)
    """
    rule = Absolute()
    return Composite(
        convolution=rule, linear=rule, pooling=rule, attention_rule=rule, sums="magnitude"
    )


def cp_lrp() -> Composite:
    """Conservative propagation :cite:p:`ali2022`: epsilon everywhere, attention weights held.

    The layer norm's scale is held too. Relevance is that of the network made linear at this input:
    gradient times input of it; biases and position embeddings take their share, and are sinks.

    Example:
        >>> cp_lrp().norm
        'fixed-std'
    """
    rule = Epsilon(1e-9, count_bias=True)
    return Composite(
        convolution=rule,
        linear=rule,
        pooling=Epsilon(1e-9),
        input=None,
        constants="share",
        attention_rule=rule,
        norm="fixed-std",
    )


def attnlrp() -> Composite:
    """AttnLRP :cite:p:`achtibat2024`: through the softmax, products in halves, epsilon elsewhere.

    Biases and position embeddings take their share, as in the paper's equation 8, and are sinks.

    Example:
        >>> attnlrp().linear
        Epsilon(epsilon=1e-06, conserve=False, count_bias=True)
    """
    rule = Epsilon(1e-6, count_bias=True)
    return replace(
        cp_lrp(),
        convolution=rule,
        linear=rule,
        pooling=Epsilon(1e-6),
        attention="full",
        attention_rule=rule,
    )


def gamma(convolution: float = 100.0, linear: float = 0.01) -> Composite:
    """AttnLRP with gamma rules in convolutions and linear layers, as its authors use for images.

    Args:
        convolution: gamma of convolutions.
        linear: gamma of linear layers.

    Example:
        >>> gamma(linear=0.1).linear.gamma
        0.1
    """
    return replace(
        attnlrp(),
        convolution=Gamma(convolution, count_bias=True),
        linear=Gamma(linear, count_bias=True),
        attention_rule=Composite().attention_rule,
    )
