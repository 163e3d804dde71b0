"""Slow float64 references written from definitions alone, sharing no code with the package. Arrays
may be given as numpy arrays or torch tensors. Results are numpy float64 arrays, except for the two
numeric derivatives (torch float64) and the functions that say tuple or list."""

import math
from fractions import Fraction

import numpy as np
import torch


def _array(values):
    """Return a float64 numpy copy of a numpy array, torch tensor or nested list."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.array(values, dtype=np.float64)


def _affine(weight, vector, bias):
    """Return the list of (weight @ vector + bias), entry by entry."""
    rows = zip(weight.tolist(), bias.tolist(), strict=True)
    return [b + sum(w * v for w, v in zip(row, vector, strict=True)) for row, b in rows]


def uniform_indices(total, frames):
    """Return, per segment [i*total/frames, (i+1)*total/frames), the frame holding its centre. Frame
    j covers the half-open interval [j, j+1); the arithmetic is exact."""
    chosen = []
    for i in range(frames):
        centre = (Fraction(i * total, frames) + Fraction((i + 1) * total, frames)) / 2
        chosen.extend(j for j in range(total) if j <= centre < j + 1)
    return tuple(chosen)


def dense_indices(total, frames, stride, start):
    """Return the `frames` indices start, start+stride, ..., which must lie inside the video."""
    chosen = tuple(start + i * stride for i in range(frames))
    if not all(0 <= index < total for index in chosen):
        raise ValueError(f"{chosen} does not lie inside a video of {total} frames")
    return chosen


def window_starts(total, size, overlap):
    """Return the tuple of first frames of windows of `size` frames that cover the video. Each
    window starts size - round(size*overlap) frames (at least 1) after the one before, as long as it
    fits; if the last does not end with the video, one more window that ends with it follows."""
    step = max(1, size - round(size * overlap))
    starts = list(range(0, total - size + 1, step))
    if starts[-1] + size != total:
        starts.append(total - size)
    return tuple(starts)


def resize_bilinear(frames, out_h, out_w):
    """Resize (N, C, H, W) bilinearly with half-pixel centres, no antialiasing, clamped edges. An
    output coordinate d samples the source at max(0, (d+0.5)*in/out - 0.5), a weighted mean of the
    pixels at its floor and the one after it, where the index after the last pixel is the last."""
    frames = _array(frames)
    count, channels, in_h, in_w = frames.shape
    result = np.zeros((count, channels, out_h, out_w))
    for row in range(out_h):
        y = max(0.0, (row + 0.5) * in_h / out_h - 0.5)
        top = min(math.floor(y), in_h - 1)
        bottom, down = min(top + 1, in_h - 1), y - top
        for column in range(out_w):
            x = max(0.0, (column + 0.5) * in_w / out_w - 0.5)
            left = min(math.floor(x), in_w - 1)
            right, across = min(left + 1, in_w - 1), x - left
            upper = (1 - across) * frames[:, :, top, left] + across * frames[:, :, top, right]
            lower = (1 - across) * frames[:, :, bottom, left] + across * frames[:, :, bottom, right]
            result[:, :, row, column] = (1 - down) * upper + down * lower
    return result


def center_crop(frames, h, w):
    """Cut (h, w) from (N, C, H, W) at top round((H-h)/2) and left round((W-w)/2), as Python."""
    frames = _array(frames)
    height, width = frames.shape[2:]
    if h > height or w > width:
        raise ValueError("the crop is larger than the frame")
    top, left = round((height - h) / 2), round((width - w) / 2)
    return frames[:, :, top : top + h, left : left + w]


def preprocess_bytes(frames, resize, crop, mean, std):
    """Resize, round half to even, clamp to 0..255, centre-crop, divide by 255 and normalise.
    `frames` is uint8 (N, C, H, W). `resize` is (h, w), or one number for the short side with the
    long side int(resize*long/short). `crop` is (h, w), one number for both, or None for no crop."""
    pixels = _array(frames)
    height, width = pixels.shape[2:]
    if not isinstance(resize, int):
        out_h, out_w = resize
    elif height <= width:
        out_h, out_w = resize, int(resize * width / height)
    else:
        out_h, out_w = int(resize * height / width), resize
    pixels = np.clip(np.rint(resize_bilinear(pixels, out_h, out_w)), 0.0, 255.0)
    if crop is not None:
        pixels = center_crop(pixels, *((crop, crop) if isinstance(crop, int) else crop))
    for c in range(pixels.shape[1]):
        pixels[:, c] = (pixels[:, c] / 255.0 - float(mean[c])) / float(std[c])
    return pixels


def frame_norms(attribution, norm="l2"):
    """Reduce (B, T, C, H, W) over C, H and W to (B, T). "l2" is the root of the sum of squares,
    "l1" the sum of magnitudes, "max" the largest magnitude and "sum" the plain signed sum."""
    attribution = _array(attribution)
    result = np.zeros(attribution.shape[:2])
    for b, t in np.ndindex(*attribution.shape[:2]):
        values = [float(attribution[b, t][cyx]) for cyx in np.ndindex(*attribution.shape[2:])]
        result[b, t] = {
            "l2": math.sqrt(math.fsum(v * v for v in values)),
            "l1": math.fsum(abs(v) for v in values),
            "max": max(abs(v) for v in values),
            "sum": math.fsum(values),
        }[norm]
    return result


def numeric_gradient(function, clip, eps=1e-5):
    """Return (f(x + eps*e) - f(x - eps*e)) / (2*eps) for every element e of a float64 clip.
    `function` takes the clip (B, T, C, H, W) and gives one number; the result has clip's shape."""
    clip = clip.detach().to(torch.float64)
    result = torch.zeros_like(clip)
    for index in np.ndindex(*clip.shape):
        above, below = clip.clone(), clip.clone()
        above[index] += eps
        below[index] -= eps
        high, low = (torch.as_tensor(function(c), dtype=clip.dtype) for c in (above, below))
        result[index] = (high.item() - low.item()) / (2 * eps)
    return result


def numeric_influence(step_logit_function, clip, steps, eps=1e-5):
    """Return (B, N, T): the L2 norm of d step_logit[b, n] / d frame t of clip b.
    `step_logit_function` maps the clip to (B, N) float64, where row b depends on clip[b] only, so
    one central difference moves the same element of all clips at once. N must equal `steps`."""
    clip = clip.detach().to(torch.float64)
    squares = torch.zeros(clip.shape[0], steps, clip.shape[1], dtype=torch.float64)
    for t, c, y, x in np.ndindex(*clip.shape[1:]):
        above, below = clip.clone(), clip.clone()
        above[:, t, c, y, x] += eps
        below[:, t, c, y, x] -= eps
        high, low = (step_logit_function(moved).detach() for moved in (above, below))
        if high.shape != (clip.shape[0], steps) or high.dtype != torch.float64:
            raise ValueError("step_logit_function must give (B, steps) in float64")
        squares[:, :, t] += ((high - low) / (2 * eps)) ** 2
    return squares.sqrt()


def trapezoid_weights(steps, kernel, stride):
    """Return (steps,): the weight of each timestep in the mean over average-pooled windows. The
    windows hold `kernel` timesteps, start at 0, stride, ..., and only full ones count; each weight
    is what a one-hot vector at that timestep gives."""
    weights = np.zeros(steps)
    for hot in range(steps):
        signal = [1.0 if t == hot else 0.0 for t in range(steps)]
        starts = range(0, steps - kernel + 1, stride)
        pooled = [sum(signal[start : start + kernel]) / kernel for start in starts]
        weights[hot] = sum(pooled) / len(pooled)
    return weights


def late_fusion_logits(frames_features, weight, bias, kind):
    """Return (B, K): pool (B, T, D) over time by "mean", "max" or "last", then weight @ p + bias.
    `weight` is (K, D), `bias` is (K,), and the pooling treats each of the D features by itself."""
    features, weight, bias = _array(frames_features), _array(weight), _array(bias)
    result = np.zeros((features.shape[0], weight.shape[0]))
    for b in range(features.shape[0]):
        pooled = []
        for series in features[b].T.tolist():
            choices = {"mean": sum(series) / len(series), "max": max(series), "last": series[-1]}
            pooled.append(choices[kind])
        result[b] = _affine(weight, pooled, bias)
    return result


def _sigmoid(value):
    """Return 1 / (1 + exp(-value))."""
    return 1.0 / (1.0 + math.exp(-value))


def _recurrence(unit, x, w_ih, w_hh, b_ih, b_hh):
    """Return (B, T, H) of a layer in which hidden unit j's new (h, c), from zeros, is unit(u, v, h,
    c), where u and v list that unit's gates, in order, of W_ih x + b_ih and W_hh h + b_hh."""
    x, w_ih, w_hh, b_ih, b_hh = map(_array, (x, w_ih, w_hh, b_ih, b_hh))
    size = w_hh.shape[1]
    result = np.zeros((x.shape[0], x.shape[1], size))
    for b in range(x.shape[0]):
        h, c = [0.0] * size, [0.0] * size
        for t in range(x.shape[1]):
            u, v = _affine(w_ih, x[b, t].tolist(), b_ih), _affine(w_hh, h, b_hh)
            for j in range(size):
                h[j], c[j] = unit(u[j::size], v[j::size], h[j], c[j])
            result[b, t] = h
    return result


def lstm_outputs(x, w_ih, w_hh, b_ih, b_hh):
    """Return the hidden states (B, T, H) of one LSTM layer from zero states, gates i, f, g, o. With
    a = W_ih x + b_ih + W_hh h + b_hh: c' = sigmoid(a_f)*c + sigmoid(a_i)*tanh(a_g) and h' =
    sigmoid(a_o)*tanh(c'). x is (B, T, D)."""

    def unit(u, v, h, c):
        i, f, g, o = (p + q for p, q in zip(u, v, strict=True))
        c = _sigmoid(f) * c + _sigmoid(i) * math.tanh(g)
        return _sigmoid(o) * math.tanh(c), c

    return _recurrence(unit, x, w_ih, w_hh, b_ih, b_hh)


def gru_outputs(x, w_ih, w_hh, b_ih, b_hh):
    """Return the hidden states (B, T, H) of one GRU layer from a zero state, gates r, z, n. With u
    = W_ih x + b_ih and v = W_hh h + b_hh: r = sigmoid(u_r + v_r), z = sigmoid(u_z + v_z), n =
    tanh(u_n + r*v_n) and h' = (1 - z)*n + z*h. x is (B, T, D)."""

    def unit(u, v, h, c):
        r, z = _sigmoid(u[0] + v[0]), _sigmoid(u[1] + v[1])
        return (1 - z) * math.tanh(u[2] + r * v[2]) + z * h, c

    return _recurrence(unit, x, w_ih, w_hh, b_ih, b_hh)


def objective_values(logits, target, kind):
    """Return the list over rows of (B, K) of the target's value. With m the row's maximum and S the
    sum of exp(logit - m): "logit" is the target's logit, "probability" exp(logit - m) / S,
    "log_probability" logit - m - log S and "loss" its negative."""
    values = []
    for row, k in zip(_array(logits).tolist(), target, strict=True):
        highest = max(row)
        total = sum(math.exp(value - highest) for value in row)
        log_probability = row[k] - highest - math.log(total)
        choices = {"logit": row[k], "probability": math.exp(row[k] - highest) / total}
        choices |= {"log_probability": log_probability, "loss": -log_probability}
        values.append(choices[kind])
    return values


def temporal_reach(frames, layers):
    """Return the boolean (steps, frames) matrix of the frames that each output timestep sees.
    `layers` lists (kernel, stride, padding) from the input on. Each output of a layer sees what the
    positions under its kernel see; padding sees nothing, and only full windows (of the padded
    sequence) count."""
    seen = [{t} for t in range(frames)]
    for kernel, stride, padding in layers:
        padded = [set() for _ in range(padding)] + seen + [set() for _ in range(padding)]
        starts = range(0, len(padded) - kernel + 1, stride)
        seen = [set().union(*padded[start : start + kernel]) for start in starts]
    return np.array([[t in s for t in range(frames)] for s in seen], dtype=bool).reshape(-1, frames)
