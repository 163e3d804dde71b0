"""Temporal saliency rescaling written slowly, from its definition: one masked clip at a time."""

import torch


def relevance_of(attribute, clip, target):
    """R of one clip `(time, channel, height, width)`."""
    return attribute(clip[None], target)[0].double()


def change_of(attribute, clip, target, masked):
    """The sum of |R(X) - R(X masked)|, value by value."""
    before = relevance_of(attribute, clip, target).flatten().tolist()
    after = relevance_of(attribute, masked, target).flatten().tolist()
    return sum(abs(one - other) for one, other in zip(before, after, strict=True))


def baseline_of(clip, frame, baselines, first, end):
    """What a frame becomes where it is masked, `(channel, height, width)`."""
    if isinstance(baselines, torch.Tensor):
        return baselines[frame]
    if baselines == "mean":
        pixels = clip.permute(1, 0, 2, 3).flatten(1).mean(1)
        return pixels[:, None, None].expand_as(clip[frame])
    if baselines == "neighbour":
        return clip[first - 1] if first > 0 else clip[end]
    return torch.full_like(clip[frame], baselines)


def without_frames(clip, first, end, baselines):
    """The clip with frames `first` to `end - 1` masked."""
    masked = clip.clone()
    for frame in range(first, end):
        masked[frame] = baseline_of(clip, frame, baselines, first, end)
    return masked


def without_part(clip, frame, part, baselines):
    """The clip with the pixels of a part of one frame masked, in all channels."""
    masked = clip.clone()
    baseline = baseline_of(clip, frame, baselines, frame, frame + 1)
    for row, column in part:
        masked[frame, :, row, column] = baseline[:, row, column]
    return masked


def time_relevance(attribute, clip, target, baselines, window=1):
    """Delta_t of every frame; with windows the mean over those that mask it."""
    frames = len(clip)
    found = [[] for _ in range(frames)]
    for first in range(frames - window + 1):
        masked = without_frames(clip, first, first + window, baselines)
        change = change_of(attribute, clip, target, masked)
        for frame in range(first, first + window):
            found[frame].append(change)
    return [sum(own) / len(own) for own in found]


def parts_of(labels):
    """The pixels of each part of a frame."""
    parts = {}
    for row, line in enumerate(labels.tolist()):
        for column, label in enumerate(line):
            parts.setdefault(label, []).append((row, column))
    return list(parts.values())


def two_steps(attribute, clip, target, baselines, labels, kept, weights):
    """Delta_i,t times the weight of the frame, at each pixel and channel of the frames kept."""
    result = torch.zeros(clip.shape, dtype=torch.float64)
    for frame in range(len(clip)):
        if kept[frame]:
            for part in parts_of(labels[frame]):
                masked = without_part(clip, frame, part, baselines)
                change = change_of(attribute, clip, target, masked)
                for row, column in part:
                    result[frame, :, row, column] = change * weights[frame]
    return result
