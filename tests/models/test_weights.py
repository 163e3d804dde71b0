"""Weights from files, of any training script, into the part of a model that has their names."""

import argparse
import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from temporal_attr import LateFusion, ModelError, OptionError, VideoModel, WeightsWarning
from temporal_attr._errors import printable
from temporal_attr.models.loading._load import class_names, load_model
from temporal_attr.models.loading._weights import load_weights


def network(seed=0):
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(3)
    nn.init.normal_(norm.running_mean)
    return nn.Sequential(nn.Conv2d(3, 3, 2), norm, nn.Flatten(), nn.Linear(27, 4)).eval()


def prefixed(prefix, state):
    return {f"{prefix}{name}": weight for name, weight in state.items()}


def same(model, other):
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    return all(one[0] == two[0] and torch.equal(one[1], two[1]) for one, two in pairs)


TRAINED = network(1)
STATE = TRAINED.state_dict()
OPTIMIZER = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
# What torchvision's reference scripts write, their arguments included.
REFERENCE = {
    "model": STATE,
    "optimizer": OPTIMIZER,
    "lr_scheduler": {"last_epoch": 3},
    "epoch": 3,
    "args": argparse.Namespace(lr=0.1, model="r3d_18", weights=None, betas=(0.9, 0.99)),
}
OTHER = network(2).state_dict()
AVERAGE = {"n_averaged": torch.tensor(3), **prefixed("module.", STATE)}
SAID = {
    "bare": (STATE, ""),
    "state_dict": ({"state_dict": STATE, "epoch": 3}, ""),
    "model": ({"model": STATE, "optimizer": OPTIMIZER}, ""),
    "model_state_dict": ({"model_state_dict": STATE, "loss": 0.1}, ""),
    "torchvision's reference": (REFERENCE, ""),
    "two parts": (
        {"model": network(2).state_dict(), "state_dict": STATE},
        "of its parts state_dict, model the first was taken",
    ),
    "module.": (prefixed("module.", STATE), "'module.' was removed"),
    "model.": ({"state_dict": prefixed("model.", STATE)}, "'model.' was removed"),
    "compiled": (prefixed("_orig_mod.", STATE), "'_orig_mod.' was removed"),
    "compiled, then DataParallel": (
        prefixed("module._orig_mod.", STATE),
        "'_orig_mod.' was removed from the names; 'module.' was removed",
    ),
    "DataParallel, then compiled": (
        {"model": prefixed("_orig_mod.module.", STATE)},
        "'_orig_mod.' was removed from the names; 'module.' was removed",
    ),
    "a part compiled": (
        {name.replace("3.", "3._orig_mod."): weight for name, weight in STATE.items()},
        "'_orig_mod.' was removed",
    ),
    "three deep": (prefixed("module.model.module.", STATE), "'model.' was removed"),
    "sharded": (
        prefixed("_fsdp_wrapped_module.", STATE),
        "'_fsdp_wrapped_module.' was removed",
    ),
    "a part in DataParallel": (
        {name.replace("3.", "3.module."): weight for name, weight in STATE.items()},
        "'module.' was removed",
    ),
    "as an attribute of something": (prefixed("backbone.", STATE), "'backbone.' was removed"),
    "any mix": (
        {"model_state": prefixed("learner.module._orig_mod.net.", STATE)},
        "'_orig_mod.' was removed from the names; 'learner.' was removed from the names; "
        "'module.' was removed from the names; 'net.' was removed",
    ),
    "Lightning": (
        {
            "state_dict": {"loss.weight": torch.ones(5), **prefixed("net.", STATE)},
            "hyper_parameters": {"lr": 0.1, "arguments": argparse.Namespace(seed=1)},
        },
        "'net.' was removed from the names; 1 of other names left out (loss.weight)",
    ),
    "an average": (
        AVERAGE,
        "'module.' was removed from the names; 1 of other names left out (n_averaged)",
    ),
    "an average of a compiled part": (
        {name.replace("3.", "3._orig_mod."): weight for name, weight in AVERAGE.items()},
        "'_orig_mod.' was removed from the names; 'module.' was removed from the names; 1 of",
    ),
    "an average beside the weights": (
        {
            "model": STATE,
            "model_ema": {"n_averaged": torch.tensor(3), **prefixed("module.", OTHER)},
        },
        "of its parts model, model_ema the first was taken",
    ),
    "the usual part is of another model": (
        {"state_dict": {"weight": torch.ones(2)}, "model": STATE},
        "",
    ),
    "under a name of its own": ({"net": STATE}, "the weights under 'net' were taken"),
    "deep inside": (
        {"ema": {"decay": 0.9, "shadow": prefixed("module.", STATE)}},
        "the weights under 'ema.shadow' were taken; 'module.' was removed",
    ),
    "twice the same": ({"a": STATE, "b": STATE}, "of its parts a, b the first was taken"),
    "beside numbers of NumPy": ({"state_dict": STATE, "best": np.float32(0.5)}, ""),
    "without counters": (
        {name: weight for name, weight in STATE.items() if "num_batches" not in name},
        "",
    ),
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("name", SAID)
def test_checkpoints_of_any_script_are_loaded_and_what_was_done_is_said(name, wrapped, tmp_path):
    held, said = SAID[name]
    torch.save(held, tmp_path / "weights.pt")
    inside = network(0)
    before = set(torch.serialization.get_safe_globals())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_weights(LateFusion(inside) if wrapped else inside, tmp_path / "weights.pt")
    expected = TRAINED.state_dict()
    for key, weight in inside.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(weight, expected[key])
    texts = [str(entry.message) for entry in caught]
    assert len(texts) == bool(said)
    assert all(said in text for text in texts)
    assert all(entry.category is WeightsWarning for entry in caught)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.filterwarnings("ignore")
def test_checkpoints_of_earlier_versions_of_lightning(tmp_path):
    data = pytest.importorskip("lightning.fabric.utilities.data")
    held = {
        "state_dict": prefixed("net.", STATE),
        "hyper_parameters": data.AttributeDict(lr=0.1, inner=data.AttributeDict(depth=2)),
    }
    torch.save(held, tmp_path / "last.ckpt")
    model = network(0)
    load_weights(model, tmp_path / "last.ckpt")
    assert same(model, TRAINED)


class Holder(VideoModel):
    """A wrapper that calls what it holds `model`, and maybe has a head of its own."""

    def __init__(self, model, head=None):
        super().__init__()
        self.model = model
        if head is not None:
            self.classifier = head

    def head(self, features):
        raise NotImplementedError

    def frame_head(self, features):
        raise NotImplementedError


def test_weights_of_a_wrapper_fit_the_wrapper_and_what_it_wraps(tmp_path):
    save_file(Holder(TRAINED).state_dict(), tmp_path / "wrapper.safetensors")
    wrapper, bare = Holder(network()), network()
    # Names that all begin with `model.`, as the wrapper's own do.
    load_weights(wrapper, tmp_path / "wrapper.safetensors")
    assert same(wrapper.model, TRAINED)
    with pytest.warns(WeightsWarning, match="'model.' was removed"):
        load_weights(bare, tmp_path / "wrapper.safetensors")
    assert same(bare, TRAINED)
    # Beside a head of the wrapper's own, which would keep its random weights, they are too few.
    save_file(STATE, tmp_path / "bare.safetensors")
    with pytest.raises(ModelError, match=r"missing \(classifier.weight, "):
        load_weights(Holder(network(), nn.Linear(4, 2, bias=False)), tmp_path / "bare.safetensors")


def written(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


class Payload:
    """Would make a folder if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def without(*names):
    return {name: weight for name, weight in STATE.items() if name not in names}


UNFIT = {
    "empty": (b"", "got an empty file"),
    "text": (b"weights of my model\n", "what cannot be read"),
    "half": (None, "what cannot be read"),
    "an empty dict": ({}, "an empty dict"),
    "a list": ([1, 2], "a list"),
    "numbers": ({"lr": 0.1}, "a dict with a float as 'lr'"),
    "numbered": ({0: torch.ones(2)}, "a dict with a Tensor as '0'"),
    "only an optimizer": ({"optimizer": OPTIMIZER}, "a dict with a dict as 'optimizer'"),
    "a whole model": (TRAINED, "what cannot be read"),
    "other names": (
        {"head.weight": torch.ones(2)},
        "8 of 9 missing .0.bias, 0.weight, 1.bias, ....; 1 of other names .head.weight.",
    ),
    "one missing": (without("3.bias"), r"fit: 1 of 9 missing \(3.bias\)"),
    "one too many": ({**STATE, "3.gain": torch.ones(2)}, r"fit: 1 of other names \(3.gain\)"),
    "another size": (
        {**STATE, "3.weight": torch.ones(5, 27)},
        r"size mismatch for 3.weight: \(5, 27\) in place of \(4, 27\)",
    ),
    "complex": (
        {**STATE, "3.weight": STATE["3.weight"].to(torch.complex64)},
        "3.weight of torch.complex64 in place of torch.float32",
    ),
    "whole numbers": (
        {**STATE, "3.weight": STATE["3.weight"].int()},
        "3.weight of torch.int32 in place of torch.float32",
    ),
    "bools": (
        {**STATE, "3.weight": STATE["3.weight"] > 0},
        "3.weight of torch.bool in place of torch.float32",
    ),
    "eight bits": (
        {**STATE, "3.weight": STATE["3.weight"].to(torch.float8_e4m3fn)},
        "3.weight of torch.float8_e4m3fn in place of torch.float32",
    ),
    "NaN": ({**STATE, "3.bias": STATE["3.bias"] * float("nan")}, "3.bias with NaN or infinite"),
    "two that fit": (
        {"net": STATE, "ema": OTHER},
        "weights of one model, got .* with several that fit: net, ema. Save the ones",
    ),
    "two in one": (
        {**prefixed("net.", STATE), **prefixed("ema.", OTHER)},
        r"with several that fit: ema\., net\.\. Save the ones that you mean",
    ),
    "a part of the prefix": (
        {**prefixed("net.", without("3.bias")), "loss.weight": torch.ones(5)},
        "9 of 9 missing|8 of 9 missing",
    ),
    "some behind a prefix": (
        {**without("3.bias"), "module.3.bias": STATE["3.bias"]},
        r"1 of 9 missing \(3.bias\); 1 of other names \(module.3.bias\)",
    ),
}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [(name, "pt") for name in UNFIT] + [("empty", "safetensors"), ("text", "safetensors")],
)
def test_files_that_are_no_weights_of_this_model(name, suffix, tmp_path):
    content, text = UNFIT[name]
    if content is None:
        content = written(tmp_path / "whole.pt", STATE).read_bytes()[:700]
    path = written(tmp_path / f"weights.{suffix}", content)
    model = network()
    with pytest.raises(ModelError, match=text) as raised:
        load_weights(model, path)
    assert "weights" in str(raised.value)
    assert len(str(raised.value)) < 700 + len(str(path))
    assert same(model, network())


def test_places_that_are_no_files(tmp_path):
    model = network()
    for path, text in (
        (tmp_path, "a folder there"),
        (tmp_path / "none.pt", "no file there"),
        (tmp_path / ("n" * 5000), "cannot be read|no file there"),
        (tmp_path / "nul\0.pt", "no file there|cannot be read"),
    ):
        with pytest.raises(ModelError, match=text):
            load_weights(model, path)
        with pytest.raises(OptionError, match="a text file of class names|path to be a path"):
            class_names(path)


def test_no_payload_runs(tmp_path):
    target = tmp_path / "made"
    for place, content in enumerate(
        (Payload(str(target)), {**STATE, "x": Payload(str(target))}, {"args": Payload(str(target))})
    ):
        for path in (tmp_path / f"{place}.pt", tmp_path / f"{place}.pkl"):
            if path.suffix == ".pkl":
                path.write_bytes(pickle.dumps(content, protocol=2))
            else:
                torch.save(content, path)
            with pytest.raises(ModelError, match="what cannot be read"):
                load_weights(network(), path)
    namespace = argparse.Namespace(inner=Payload(str(target)))
    torch.save({"model": STATE, "args": namespace}, tmp_path / "namespace.pt")
    with pytest.raises(ModelError, match="what cannot be read"):
        load_weights(network(), tmp_path / "namespace.pt")
    assert not target.exists()


def test_damaged_files_are_named_errors_wherever_the_damage_is(tmp_path):
    whole = written(tmp_path / "whole.pt", REFERENCE).read_bytes()
    old = tmp_path / "old.pt"
    torch.save(STATE, old, _use_new_zipfile_serialization=False)
    generator = torch.Generator().manual_seed(0)
    for data in (whole, old.read_bytes()):
        for place in torch.randint(len(data), (40,), generator=generator).tolist():
            for damaged in (data[:place], data[:place] + b"\xff\0" + data[place + 2 :]):
                path = written(tmp_path / "damaged.pt", damaged)
                try:
                    load_weights(network(), path)
                except ModelError:
                    continue


def test_a_factory_that_raises_is_named_with_what_it_raised():
    with pytest.raises(ModelError, match=r"os:system\(\) to return .*TypeError: system") as raised:
        load_model("os:system")
    assert isinstance(raised.value.__cause__, TypeError)


def test_escape_codes_do_not_reach_the_terminal(tmp_path):
    code = "\x1b[2J\x9b31m\x07\r\u202e"
    shown = r"\x1b[2J\x9b31m\x07\r\u202e"
    name = tmp_path / f"none{code}.pt"
    with pytest.raises(ModelError) as raised:
        load_weights(network(), name)
    assert f"none{shown}.pt" in str(raised.value)
    written(tmp_path / "keys.pt", {**STATE, f"key{code}": torch.ones(2)})
    with pytest.raises(ModelError) as raised:
        load_weights(network(), tmp_path / "keys.pt")
    assert f"key{shown}" in str(raised.value)
    (tmp_path / "names.txt").write_text("walk\x1b[31m\nrun\x08\x08\n", encoding="utf-8")
    assert class_names(tmp_path / "names.txt") == [r"walk\x1b[31m", r"run\x08\x08"]
    (tmp_path / "names.txt").write_text("\ufeffgehen\n走る\n", encoding="utf-8")
    assert class_names(tmp_path / "names.txt") == ["gehen", "走る"]
    # A byte of a file name that is no text.
    assert printable("a\udcffb\nc") == "a\\udcffb\nc"
    assert printable("a\nb", keep="") == r"a\nb"
