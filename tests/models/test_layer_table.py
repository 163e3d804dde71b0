"""The table of a network's layers: axes, reach and cuts against closed forms and brute force."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from temporal_attr import FrameLogitsError, LayerTimesteps, ModelError
from temporal_attr.models.layers import Network, chosen_layers, layer_table
from temporal_attr.models.layers._cuts import cut_nodes
from tests.helpers.checks import assert_near, assert_refused, examples
from tests.references.definitions import temporal_reach

LAYOUT = "batch channel time height width"
FRAMES, WIDTH, CLASSES = 6, 4, 5


def random_clip(frames=FRAMES, side=5):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, frames, 3, side, side, generator=generator, dtype=torch.float64)


class Calls(nn.Module):
    """A function of itself and its input, with the modules that it calls."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def made(network):
    """In double precision with random weights, so that every entry that can count does."""
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return network.double().eval()


def table_of(network, clip=None, layout=LAYOUT):
    return layer_table(Network(network), random_clip() if clip is None else clip, layout)


def conv(inputs, kernel, stride=1, padding=None):
    padding = kernel // 2 if padding is None else padding
    return nn.Conv3d(inputs, WIDTH, (kernel, 1, 1), stride=(stride, 1, 1), padding=(padding, 0, 0))


def classifier():
    return nn.Linear(WIDTH, CLASSES)


# The axis of time ---------------------------------------------------------------------------------

# What a layer returns of a volume (batch, channel, time, height, width), and its axis of time.
ARRANGEMENTS = {
    "channels_first": (lambda v: v, 2),
    "channels_last": (lambda v: v.permute(0, 2, 3, 4, 1), 1),
    "time_first": (lambda v: v.permute(2, 0, 1, 3, 4), 0),
    "folded": (lambda v: v.transpose(1, 2).flatten(0, 1), 0),
    "features": (lambda v: v.mean((3, 4)).transpose(1, 2), 1),
    "time_last": (lambda v: v.mean((3, 4)), 2),
}


def arranged(name, fixed, frames=FRAMES):
    """A network with a layer `read` of that arrangement; of one length only if it is fixed."""
    arrange, _ = ARRANGEMENTS[name]

    def run(self, x):
        volume = self.conv(x)
        if fixed:
            volume = volume + self.positions[:, :, None, None]
        rows = self.read(volume)
        if name == "folded":
            rows = rows.unflatten(0, (x.shape[0], -1))
        batch = 1 if name == "time_first" else 0
        channel = {"channels_last": 4, "features": 2, "time_first": 2, "folded": 2}.get(name, 1)
        kept = rows.movedim((batch, channel), (0, 1)).flatten(2).mean(2)
        return self.last(kept)

    read = Calls(lambda _, v: arrange(v.tanh()))
    positions = nn.Parameter(torch.zeros(WIDTH, frames))
    return made(Calls(run, conv=conv(3, 3), read=read, last=classifier(), positions=positions))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_the_axis_of_time_however_outputs_are_arranged(name, fixed):
    # Frames of 5 pixels and 4 channels: neither is more than the 6 frames, which would tell it.
    network = arranged(name, fixed)
    if fixed:
        with pytest.raises(RuntimeError):
            network(random_clip(2 * FRAMES).transpose(1, 2))
    row = table_of(network)["read"]
    assert (row.time_axis, row.steps, row.reach) == (ARRANGEMENTS[name][1], FRAMES, 3)
    assert row.adds_up
    assert not row.framewise


@pytest.mark.parametrize("fixed", [False, True])
def test_tokens_same_in_channels_and_timesteps_in_one_are_no_time_axis(fixed):
    def run(self, x):
        tokens = self.tokens(x)
        if fixed:
            tokens = tokens + self.positions
        return self.last(self.pooled(tokens).mean(1))

    tokens = Calls(lambda self, x: self.embed(x).flatten(2).mT, embed=nn.Conv3d(3, WIDTH, 2, 2))
    parts = {"pooled": Calls(lambda _, x: x.unflatten(1, (3, 4)).mean(2)), "last": classifier()}
    if not fixed:
        parts["pooled"] = Calls(lambda _, x: x.unflatten(1, (-1, 4)).mean(2))
    positions = nn.Parameter(torch.zeros(12, WIDTH))
    network = made(Calls(run, tokens=tokens, positions=positions, **parts))
    rows = {row.path: row for row in table_of(network, random_clip(side=4))}
    assert list(rows) == ["tokens.embed", "pooled"]
    assert [(row.time_axis, row.steps, row.reach) for row in rows.values()] == [
        (2, 3, 2),
        (1, 3, 2),
    ]


# What a timestep reads ----------------------------------------------------------------------------

# Kernel, stride and padding of convolutions over time, from the clip on.
STACKS = [
    (9, [(3, 1, 1), (3, 2, 1), (1, 1, 0)]),
    (8, [(1, 1, 0), (1, 1, 0), (5, 1, 2)]),
    (8, [(2, 2, 0), (3, 1, 1), (3, 2, 1)]),
    (7, [(1, 2, 0), (3, 1, 1)]),
    (7, [(3, 1, 0), (3, 1, 0)]),
]


@pytest.mark.parametrize(("frames", "stack"), STACKS)
def test_reach_is_the_receptive_field(frames, stack):
    convs = [conv(WIDTH if i else 3, *one) for i, one in enumerate(stack)]
    tail = [nn.Tanh(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), classifier()]
    table = table_of(made(nn.Sequential(*convs, *tail)), random_clip(frames))
    for i in range(len(stack)):
        row, seen = table[str(i)], temporal_reach(frames, stack[: i + 1])
        assert (row.steps, row.reach) == (len(seen), seen[len(seen) // 2].sum())
        own = [one[0] for one in stack[: i + 1]] == [1] * (i + 1) and row.steps == frames
        assert row.framewise == own


def test_a_layer_that_reads_another_frame_than_its_own_is_not_framewise():
    network = made(
        nn.Sequential(
            Calls(lambda _, x: x.roll(1, 2)), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 5)
        )
    )
    row = table_of(network)["0"]
    assert (row.reach, row.framewise) == (1, False)


@pytest.mark.parametrize("alone", range(5))
def test_the_last_framewise_layer_is_the_last_of_the_table(alone):
    stack = [conv(WIDTH if i else 3, 1 if i < alone else 3) for i in range(5)]
    network = made(nn.Sequential(*stack, nn.AdaptiveAvgPool3d(1), nn.Flatten(), classifier()))
    best, encoder = chosen_layers(Network(network), random_clip(), LAYOUT)
    framewise = [row for row in table_of(network) if row.framewise]
    assert [row.path for row in framewise] == [str(i) for i in range(alone)]
    assert (encoder and encoder.path) == (framewise[-1].path if framewise else None)
    assert best.path == "4"


# What passes by a layer ---------------------------------------------------------------------------


def test_a_layer_that_a_shortcut_passes_by_is_not_listed():
    block = Calls(lambda self, x: x + self.branch(x), branch=nn.Sequential(conv(WIDTH, 3)))

    def run(self, x):
        x = self.block(self.stem(x))
        return self.last(self.after(x + self.beside(x)).mean((2, 3, 4)))

    network = made(
        Calls(
            run,
            stem=conv(3, 1),
            block=block,
            beside=conv(WIDTH, 3),
            after=nn.Tanh(),
            last=classifier(),
        )
    )
    assert [row.path for row in table_of(network)] == ["stem", "block", "after"]
    with pytest.raises(ModelError, match="Something passes by the layer"):
        LayerTimesteps(network, "beside").frame_logits(random_clip())


def test_of_layers_with_one_output_the_outermost_is_listed():
    inner = nn.Sequential(nn.Sequential(conv(3, 3)), nn.Identity())
    network = made(nn.Sequential(inner, nn.AdaptiveAvgPool3d(1), nn.Flatten(), classifier()))
    assert [row.path for row in table_of(network)] == ["0"]


@pytest.mark.parametrize("fixed", [False, True])
def test_a_layer_that_runs_twice_is_not_listed(fixed):
    def run(self, x):
        # Positions, so that the network takes clips of one length only.
        x = x + self.places if fixed else x
        return self.last(self.act(self.b(self.act(self.a(x)))).mean((2, 3, 4)))

    parts = {"a": conv(3, 1), "b": conv(WIDTH, 3), "act": nn.Tanh(), "last": classifier()}
    places = nn.Parameter(torch.zeros(FRAMES, 1, 1))
    network = made(Calls(run, places=places, **parts))
    assert [row.path for row in table_of(network)] == ["a", "b"]


def small_stack():
    return made(
        nn.Sequential(
            conv(3, 3),
            nn.ReLU(),
            conv(WIDTH, 3),
            nn.Tanh(),
            nn.AdaptiveAvgPool3d((None, 1, 1)),
            nn.Conv3d(WIDTH, WIDTH, 1),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            classifier(),
        )
    )


def test_timesteps_add_up_where_the_wrapper_finds_that_they_do():
    network, clip = small_stack(), random_clip()
    table = table_of(network)
    assert [row.path for row in table] == ["0", "1", "2", "3", "4", "5"]
    assert [row.adds_up for row in table] == [False, False, True, True, True, True]
    whole = network(clip.transpose(1, 2)).detach()
    for row in table:
        model = LayerTimesteps(network, row.path, time_axis=row.time_axis)
        if row.adds_up:
            assert_near(model.frame_logits(clip).clip_logits().detach(), whole, 1e-12)
        else:
            with pytest.raises(FrameLogitsError, match="not linear and mixes them"):
                model.frame_logits(clip)


def test_what_is_printed():
    lines = str(table_of(small_stack(), random_clip(8))).split("\n")
    assert lines[0].split("  ")[0] == "layer"
    assert lines[1].split() == ["0", "Conv3d", "(1,4,8,5,5)", "2", "8", "no", "3", "frames"]
    assert lines[-1].split() == ["5", "Conv3d", "(1,4,8,1,1)", "2", "8", "yes", "5", "frames"]
    framewise = table_of(made(nn.Sequential(conv(3, 1), *small_stack()[6:])))
    assert str(framewise).endswith("yes     its own frame")


# Errors -------------------------------------------------------------------------------------------


def test_a_row_that_there_is_not():
    table = table_of(small_stack())
    assert len(table) == 6
    assert_refused(
        ModelError,
        "a layer of Sequential with a time axis, .* got '6'. Name one of those that can be: '0', "
        "'1', '2', '3', '4', '5'",
        lambda: table["6"],
    )


def test_logits_without_a_gradient():
    network = made(
        Calls(lambda self, x: self.last(x.detach().mean((2, 3, 4))), last=nn.Linear(3, 5))
    )
    assert_refused(
        ModelError,
        r"got logits that carry no gradient. Remove detach\(\)",
        lambda: table_of(network),
    )


@pytest.mark.usefixtures("as_user")
def test_several_rows_for_a_clip():
    network = made(
        Calls(
            lambda self, x: self.last(self.a(x).mean((3, 4)).mT.flatten(0, 1)),
            a=conv(3, 3),
            last=classifier(),
        )
    )
    for run in (
        lambda: table_of(network),
        lambda: LayerTimesteps(network, "a").frame_logits(random_clip()),
        lambda: LayerTimesteps(network, "a", exactness="frozen").frame_logits(random_clip()),
    ):
        assert_refused(ModelError, r"with a batch of 1, got shape \(6, 5\)", run)


def test_a_named_layer_that_does_not_run_once():
    network = made(
        Calls(
            lambda self, x: self.last(self.act(self.act(self.a(x))).mean((2, 3, 4))),
            a=conv(3, 3),
            act=nn.Tanh(),
            idle=nn.Tanh(),
            last=classifier(),
        )
    )
    for path, times in (("act", 2), ("idle", 0)):
        assert_refused(
            ModelError,
            f"runs once for a clip and returns a tensor, at '{path}', got one that does so {times}",
            lambda path=path: chosen_layers(
                Network(network), random_clip(), LAYOUT, path, time_axis=2
            ),
        )
        assert_refused(
            ModelError,
            f"got '{path}'. Name one of those that can be: 'a'",
            lambda path=path: chosen_layers(Network(network), random_clip(), LAYOUT, path),
        )


# Cuts ---------------------------------------------------------------------------------------------


def nodes_of(root):
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.append(node)
            waiting += [one for one, _ in node.next_functions if one is not None]
    return found


def is_reached(root, end, without):
    """Whether a path leads from the root to the end that passes another node by."""
    seen, waiting = {without}, [root]
    while waiting:
        node = waiting.pop()
        if node is end and node is not without:
            return True
        if node not in seen:
            seen.add(node)
            waiting += [one for one, _ in node.next_functions if one is not None]
    return False


OPERATIONS = {
    "one": lambda a, b: a.sin(),
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "joined": lambda a, b: torch.stack([a, b, a]).amax(0),
    "constant": lambda a, b: a + b.detach(),
}
steps = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99))


@given(st.lists(steps, min_size=1, max_size=9))
@examples(150)
def test_cuts_are_the_nodes_without_which_the_leaf_is_not_reached(drawn):
    leaf, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    values = [leaf, other]
    for name, first, second in drawn:
        # Mostly of the last values, so that the graph is deep.
        a, b = (values[-1 - place % min(len(values), 4)] for place in (first, second))
        values.append(OPERATIONS[name](a, b))
    output = values[-1]
    end = leaf.view_as(leaf).grad_fn.next_functions[0][0]
    all_nodes = nodes_of(output.grad_fn)
    # A leaf that is not reached at all is not cut off by anything.
    reached = end in all_nodes
    expected = [one for one in all_nodes if reached and not is_reached(output.grad_fn, end, one)]
    found = cut_nodes(output, leaf)
    assert len(found) == len(expected)
    assert set(found) == set(expected)
    for earlier, later in itertools.pairwise(found):
        assert is_reached(earlier, later, None)


def test_cuts_of_a_long_chain():
    leaf = torch.ones(1, requires_grad=True)
    value = leaf
    for _ in range(3000):
        value = -value
    # The chain and the leaf's own node: more than Python would call one within another.
    assert len(cut_nodes(value, leaf)) == 3001
    assert cut_nodes(torch.ones(1), leaf) == []
