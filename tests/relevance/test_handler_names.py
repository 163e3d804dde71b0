"""Names of handlers: those by which the engine meets functions, and no others."""

import pytest
import torch

from temporal_attr import OptionError
from temporal_attr.relevance import Composite, Handled, trace
from temporal_attr.relevance._functions import STRUCTURAL
from temporal_attr.relevance._handlers import HANDLERS
from tests.helpers.checks import assert_refused


def passed(call, composite):
    return Handled(call.run(), call.data, lambda relevance: (relevance,))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("sofmax", "Nearest: 'softmax', "),
        ("Softmax", "Nearest: 'softmax', "),
        ("scaled_dot_product_atention", "Nearest: 'scaled_dot_product_attention', "),
        # What is no name of its own, but goes by another.
        ("concat", r"Nearest: 'cat'\."),
        ("__iadd__", r"Nearest: 'add'\."),
        ("relu_", r"Nearest: 'relu'\."),
        ("$", "There is none like it"),
        ("", "There is none like it"),
    ],
)
def test_a_name_that_no_torch_function_goes_by(name, nearest):
    text = f"handlers by the names of torch functions, got .*{nearest}"
    assert_refused(OptionError, text, Composite, handlers={"softmax": passed, name: passed})


def test_names_of_all_functions_that_the_engine_knows_are_taken():
    names = [*HANDLERS, *STRUCTURAL, "softmax", "scaled_dot_product_attention", "lstm", "pow"]
    Composite(handlers=dict.fromkeys(names, passed))


def test_an_operator_of_the_user_s_own_is_met_by_its_name():
    assert_refused(OptionError, "got 'thrice", Composite, handlers={"thrice": passed})

    # By types, not names of them: the suite's postponed annotations are of no use to PyTorch.
    @torch.library.custom_op("hostile_names::thrice", mutates_args=())
    def thrice(x: torch.Tensor) -> torch.Tensor:
        return 3 * x

    for name, function in (
        ("thrice", torch.ops.hostile_names.thrice),
        ("thrice.default", torch.ops.hostile_names.thrice.default),
    ):
        composite = Composite(input=None, handlers={name: passed})
        run = trace(function, torch.tensor([[1.0, 2.0]]), None, composite)
        assert run.output.tolist() == [[3.0, 6.0]]
        assert run.relevance(torch.tensor([[1.0, 2.0]])).tolist() == [[1.0, 2.0]]
