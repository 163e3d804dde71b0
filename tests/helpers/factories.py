"""Models by function, as `--model module:function` takes them."""

from temporal_attr.zoo import build_model


def small_recurrent():
    """A small convolutional network with a GRU, of four classes."""
    return build_model("gru", 4, widths=(4, 8), hidden=8)
