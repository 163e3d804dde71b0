"""Attention rollout and gradient attention, against their definitions and in closed form."""

import pytest
import torch
from torch import nn

from temporal_attr import AttentionRollout, GradientAttention, ModelError, wrap
from temporal_attr.zoo import build_model
from tests.helpers.attending import Divided, Joint, lively
from tests.helpers.checks import assert_near
from tests.references import attention_rollout as reference

pytestmark = pytest.mark.usefixtures("as_user")
SHAPE = (1, 4, 3, 8, 8)


def drawn(shape=SHAPE, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def joint_attention(network, clip):
    """The weights of each head in each layer, and the logits, by loops."""
    tokens, found = network.tokens(clip)[0], []
    for block in network.blocks:
        weights, moved = reference.attend(block.attention, block.norm(tokens), network.heads)
        tokens = tokens + moved
        tokens = tokens + block.mix(tokens)
        found.append(weights)
    tokens = network.norm(tokens)
    return found, network.head(tokens.mean(0) if network.token is None else tokens[0])


def divided_attention(network, clip):
    """For each layer, the weights of each head for each patch and for each frame; the logits."""
    volume = network.patches(clip.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)[0]
    token, found = network.token, []
    for time, space in zip(network.over_time, network.within, strict=True):
        temporal, spatial, moved = [], [], volume.clone()
        for patch in range(volume.shape[1]):
            weights, out = reference.attend(
                time.attention, time.norm(volume[:, patch]), network.heads
            )
            temporal.append(weights)
            moved[:, patch] = volume[:, patch] + out
        rows, tokens = [], []
        for frame in moved:
            own = torch.cat([token[None], frame])
            weights, out = reference.attend(space.attention, space.norm(own), network.heads)
            spatial.append(weights)
            tokens.append(out[0])
            rows.append(frame + out[1:])
        token = token + sum(tokens) / len(tokens)
        token = token + space.mix(token)
        volume = torch.stack([row + space.mix(row) for row in rows])
        found.append((temporal, spatial))
    return found, network.head(token)


def read_row(matrix, network):
    """The row that the classifier reads: of the class token, or the mean over tokens."""
    return matrix.mean(0) if network.token is None else matrix[0]


@pytest.mark.parametrize("class_token", [False, True], ids=["mean", "class token"])
@pytest.mark.parametrize(("depth", "heads"), [(1, 1), (3, 2)])
def test_joint_attention(class_token, depth, heads):
    network, clip = lively(Joint(depth, heads, class_token)), drawn()
    found, logits = joint_attention(network, clip)
    assert_near(network(clip)[0], logits, 1e-12)
    matrix = reference.rollout([reference.mean_of(weights) for weights in found])
    expected = reference.on_pixels(
        read_row(matrix, network), clip.shape[1:], network.tube, class_token
    )
    result = AttentionRollout(network).explain(clip, target=1)
    assert_near(result.attribution[0], expected, 1e-12)
    assert_near(result.token_scores.flatten(), read_row(matrix, network)[int(class_token) :], 1e-12)
    assert_near(result.frame_scores[0], expected.sum((1, 2, 3)), 1e-12)


@pytest.mark.parametrize("class_token", [False, True], ids=["mean", "class token"])
def test_joint_attention_by_its_gradients(class_token):
    network, clip = lively(Joint(3, 2, class_token)), drawn()
    found, logits = joint_attention(network, clip)
    gradients = torch.autograd.grad(logits[2], [a for weights in found for a in weights])
    pairs = zip(found, [gradients[at : at + 2] for at in range(0, 6, 2)], strict=True)
    matrix = reference.relevance([reference.positive_part(*pair) for pair in pairs])
    row = read_row(matrix, network).detach()
    expected = reference.on_pixels(row, clip.shape[1:], network.tube, class_token)
    assert_near(GradientAttention(network).attribute(clip, target=2)[0], expected, 1e-12)
    without = GradientAttention(network, identity=False).explain(clip, target=2)
    size = matrix.shape[0]
    row = read_row(matrix - torch.eye(size), network).detach()
    bare = reference.on_pixels(row, clip.shape[1:], network.tube, class_token)
    assert_near(without.attribution[0], bare, 1e-12)
    assert_near(without.frame_scores[0], bare.sum((1, 2, 3)), 1e-12)
    other = GradientAttention(network).attribute(clip, target=1)[0]
    assert (other - expected).abs().max() > 1e-3 * expected.abs().max()


def test_divided_attention():
    network, clip = lively(Divided()), drawn((1, 3, 3, 8, 8))
    found, logits = divided_attention(network, clip)
    assert_near(network(clip)[0], logits, 1e-12)
    matrices = []
    for temporal, spatial in found:
        means = [[reference.mean_of(weights) for weights in part] for part in (temporal, spatial)]
        matrices += reference.divided_layers(*means, frames=3, patches=4, skip=0.5, branch=0.5)
    expected = reference.on_pixels(
        reference.product(matrices)[0], clip.shape[1:], network.tube, class_token=True
    )
    assert_near(AttentionRollout(network).attribute(clip, target=0)[0], expected, 1e-12)


def test_divided_attention_by_its_gradients():
    network, clip = lively(Divided()), drawn((1, 3, 3, 8, 8))
    found, logits = divided_attention(network, clip)
    flat = [a for layer in found for part in layer for weights in part for a in weights]
    gradients = iter(torch.autograd.grad(logits[1], flat))
    matrices = []
    for layer in found:
        parts = [
            [
                reference.positive_part(weights, [next(gradients) for _ in weights])
                for weights in part
            ]
            for part in layer
        ]
        matrices += reference.divided_layers(*parts, frames=3, patches=4, skip=1.0, branch=1.0)
    # Patches have a skip connection around either attention; the class token around the second.
    row = reference.product(matrices)[0].detach()
    expected = reference.on_pixels(row, clip.shape[1:], network.tube, class_token=True)
    assert_near(GradientAttention(network).attribute(clip, target=1)[0], expected, 1e-12)


class Blocked(nn.Module):
    """Joint attention whose scores a function changes, such as to block them."""

    def __init__(self, scored, depth=2):
        super().__init__()
        self.network, self.scored = lively(Joint(depth, 1)), scored

    def forward(self, clip):
        tokens = self.network.tokens(clip)
        for block in self.network.blocks:
            query, key, value = block.attention.read(block.norm(tokens)).chunk(3, -1)
            weights = self.scored(query @ key.mT).softmax(-1)
            tokens = tokens + block.attention.write(weights @ value)
        return self.read(tokens)

    def read(self, tokens):
        return self.network.head(tokens.mean(1))


class FirstToken(Blocked):
    """The same, whose classifier reads the first token."""

    def read(self, tokens):
        return self.network.head(tokens[:, 0])


def attributed(network, clip):
    return AttentionRollout(network.eval()).explain(clip, target=1)


def test_even_attention_is_even_over_the_clip():
    result = attributed(Blocked(lambda scores: 0 * scores), drawn())
    assert_near(result.token_scores, torch.full((1, 2, 2, 2), 1 / 8).double(), 1e-12)
    assert_near(result.temporal_attention, torch.full((1, 2, 2, 2), 0.5).double(), 1e-12)


def test_attention_of_each_token_to_itself_stays_where_the_classifier_reads():
    def own(scores):
        return scores.masked_fill(~torch.eye(8, dtype=torch.bool), float("-inf"))

    result = attributed(FirstToken(own), drawn())
    expected = torch.zeros(1, 2, 2, 2).double()
    expected[0, 0, 0, 0] = 1
    assert_near(result.token_scores, expected, 1e-12)
    assert_near(result.temporal_attention[0, 0], torch.eye(2).double(), 1e-12)


def test_attention_blocked_between_frames_gives_each_its_own():
    def within(scores):
        times = torch.arange(8) // 4
        return scores.masked_fill(times[:, None] != times, float("-inf"))

    network = Blocked(within)
    one, other = drawn(), drawn(seed=4)
    mixed = torch.cat([one[:, :2], other[:, 2:]], 1)
    results = [attributed(network, clip) for clip in (one, other, mixed)]
    assert_near(results[2].attribution[:, :2], results[0].attribution[:, :2], 1e-12)
    assert_near(results[2].attribution[:, 2:], results[1].attribution[:, 2:], 1e-12)
    assert_near(results[0].frame_scores, torch.full((1, 4), 0.25).double(), 1e-12)


def test_the_attention_over_time_is_the_mean_of_the_weights():
    network, clip = lively(Joint(2, 2, class_token=True)), drawn((2, 4, 3, 8, 8))
    result = AttentionRollout(network).explain(clip, target=[0, 1])
    assert result.layers == ("blocks.0.attention", "blocks.1.attention")
    for example in range(2):
        found, _ = joint_attention(network, clip[example : example + 1])
        for layer, weights in enumerate(found):
            mean = reference.mean_of(weights)[1:, 1:].unflatten(0, (2, 4)).unflatten(2, (2, 4))
            expected = mean.sum(3).mean(1)
            assert_near(result.temporal_attention[example, layer], expected, 1e-12)


def test_rollout_is_the_same_for_every_class_and_says_so():
    network, clip = lively(Joint()), drawn()
    one, other = (AttentionRollout(network).explain(clip, target) for target in (0, 2))
    assert torch.equal(one.attribution, other.attribution)
    assert "rollout does not depend on the target: it is the same for every class" in one.summary()


def test_in_half_precision_the_frames_have_what_they_have_in_double():
    network, clip = lively(Joint()), drawn((1, 16, 3, 32, 32)) / 4
    expected = AttentionRollout(network).attribute(clip, target=0)
    for dtype in (torch.float16, torch.bfloat16):
        found = AttentionRollout(network.to(dtype)).explain(clip.to(dtype), target=0)
        assert found.attribution.dtype == torch.float32
        scores = expected.sum((2, 3, 4))
        torch.testing.assert_close(found.frame_scores.double(), scores, rtol=0.05, atol=0)


def mixed(combine):
    """A network whose tokens are combined by a function of three readings of them."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.read = nn.Linear(48, 18)
            self.head = nn.Linear(6, 3)

        def forward(self, clip):
            tokens = clip.flatten(2).unflatten(2, (-1, 48)).flatten(1, 2)
            return self.head(combine(*self.read(tokens).chunk(3, -1)).mean(1))

    return lively(Mixed())


def weighed(query, key):
    return (query @ key.mT / 9).softmax(-1)


def elementwise(query, key, value):
    return value * query.softmax(1)


def without_softmax(query, key, value):
    return query @ (key.mT @ (weighed(query, key) @ value))


def halved(query, key, value):
    return weighed(query, key) * 0.5 @ value


def in_parallel(query, key, value):
    return value + weighed(query, key) @ value + value.relu()


def inside_parallel(query, key, value):
    return value + (weighed(query, key) @ value + value.relu())


def as_a_layer(query, key, value):
    return nn.functional.linear(value[0].mT, weighed(query, key)[0]).mT[None]


def masked_whole(query, key, value):
    scores = (query @ key.mT).masked_fill(torch.ones(1, dtype=torch.bool), float("-inf"))
    return scores.softmax(-1).nan_to_num() @ value


@pytest.mark.parametrize("kind", [AttentionRollout, GradientAttention])
@pytest.mark.parametrize(
    ("combine", "text"),
    [
        (lambda query, key, value: value, "expected a model with attention, got one in whose pass"),
        (elementwise, "got an elementwise product of them in .*Write the weighted sum as a matrix"),
        (without_softmax, "tokens that are mixed by softmax attention only, got matmul of two"),
        (halved, "sum to 1 for every query, got sums that are off by 0.5"),
        (in_parallel, "one skip connection beside it, got a sum of attention with two more"),
        (inside_parallel, "one skip connection beside it, got a sum of attention with two more"),
        (as_a_layer, "multiplied with values by matmul, bmm or einsum, got linear of them"),
        (masked_whole, "sum to 1 for every query, got sums that are off by 1"),
    ],
)
def test_what_cannot_be_composed_is_refused(kind, combine, text):
    with pytest.raises(ModelError, match=text):
        kind(mixed(combine)).attribute(drawn((1, 2, 3, 8, 8)), target=0)


@pytest.mark.usefixtures("without_trials")
def test_a_model_that_attends_differently_in_its_second_pass_is_refused():
    state = []

    def moody(query, key, value):
        state.append(None)
        return weighed(query * len(state), key) @ value

    network = mixed(moody)
    AttentionRollout(network).attribute(drawn((1, 2, 3, 8, 8)), target=0)
    with pytest.raises(ModelError, match="attends alike in every pass over the same clip, got oth"):
        GradientAttention(network).attribute(drawn((1, 2, 3, 8, 8)), target=0)


@pytest.mark.parametrize("kind", [AttentionRollout, GradientAttention])
def test_every_way_of_writing_attention_gives_the_same(kind):
    def by_einsum(query, key, value):
        weights = (torch.einsum("bqd,bkd->bqk", query, key) / 9).softmax(-1)
        return value + torch.einsum("bqk,bkd->bqd", weights, value)

    def by_bmm(query, key, value):
        return value + torch.bmm(weighed(query, key), value)

    def fused(query, key, value):
        return value + nn.functional.scaled_dot_product_attention(query, key, value, scale=1 / 9)

    def by_matmul(query, key, value):
        return weighed(query, key) @ value + value

    clip = drawn((2, 2, 3, 8, 8))
    expected, *found = [
        kind(mixed(combine)).attribute(clip, target=[0, 1])
        for combine in (by_matmul, by_einsum, by_bmm, fused)
    ]
    for one in found:
        assert_near(one, expected, 1e-12)


def test_shifted_windows_reach_as_far_as_they_overlap():
    """Windows of two tubelets in time, then of two shifted by one: what a tubelet can read."""
    from tests.helpers.transformer_families import swin3d

    network = swin3d((2,))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "relative_position" in name:
                parameter.zero_()
            elif "qkv" in name:
                parameter[: 2 * len(parameter) // 3] = 0
    model = wrap(network).double()
    clip, eye = drawn((1, 8, 3, 48, 48)), torch.eye(4).double()
    first, second = torch.zeros(2, 4, 4).double()
    for matrix, groups in ((first, ([0, 1], [2, 3])), (second, ([0], [1, 2], [3]))):
        for group in groups:
            for row in group:
                matrix[row, group] = 1 / len(group)
    expected = (0.5 * eye + 0.5 * second) @ (0.5 * eye + 0.5 * first)
    for step in range(4):
        result = AttentionRollout(model).explain(clip, target=(step, 0))
        assert_near(result.frame_scores[0], expected[step].repeat_interleave(2) / 2, 1e-12)


def test_attention_without_a_skip_connection_leaves_nothing_past_it():
    network = mixed(lambda query, key, value: weighed(query, key) @ value)
    clip = drawn((1, 2, 3, 8, 8))
    result, without = (
        GradientAttention(network, identity=identity).explain(clip, target=0)
        for identity in (True, False)
    )
    assert result.attribution.any()
    assert torch.equal(result.attribution, without.attribution)


def test_tokens_that_attention_has_mixed_have_no_time():
    def twice(query, key, value):
        return weighed(query, key) @ (weighed(query, key) @ value)

    result = AttentionRollout(mixed(twice)).explain(drawn((1, 2, 3, 8, 8)), target=0)
    assert result.temporal_attention.shape[1] == len(result.layers) == len(result.left_out) == 1


@pytest.mark.parametrize("reads", [3, 9])
def test_a_cell_that_reads_inputs_has_no_attention_between_times(reads):
    """At its third step it has 3 inputs, but its 3 rows are of no inputs."""
    options = {"widths": (4, 8), "hidden": 8, "cell_options": {"reads": reads}}
    model = build_model("input-cell-attention", 3, **options).double().eval()
    result = AttentionRollout(model).explain(drawn((1, 5, 3, 16, 16)), target=1)
    assert result.temporal_attention is None
    assert (result.layers, result.left_out) == ((), ("recurrent",) * 5)
    assert result.attribution.any()
