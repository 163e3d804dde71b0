"""What is saved comes back as it was: to the bit, in another process, or not at all."""

import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from temporal_attr import (
    LRPResult,
    ModelError,
    Result,
    ResultError,
    Run,
    TemporalGradientResult,
    load_result,
)
from temporal_attr.attributions import PixelResult, Stored
from temporal_attr.measures import Interval
from tests.results.fingerprint import fingerprint
from tests.results.made import EXPLAIN, made

NAN, INF = float("nan"), float("inf")
ROOT = Path(__file__).parents[2]
FILES = ["result.json", "tensors.safetensors"]


@dataclass(frozen=True, eq=False)
class Inner(Stored):
    values: torch.Tensor
    interval: Interval
    inner: object = None


@dataclass(frozen=True, eq=False)
class Everything(Stored):
    """All that can be kept, in all that can hold it."""

    kinds: dict
    texts: dict
    nested: object
    nothing: None = None

    def summary(self):
        return "everything"


def everything():
    weird = torch.tensor([NAN, INF, -INF, -0.0, 5e-324, 1e308], dtype=torch.float64)
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    shared = torch.arange(12.0).reshape(3, 4)
    return Everything(
        kinds={
            "weird": weird,
            "true": torch.tensor([[True, False]]),
            "scalar": torch.tensor(3),
            "empty": torch.zeros(0, 3),
            "empty again": torch.zeros(2, 0),
            "leaf": torch.ones(2, requires_grad=True),
            "same": shared,
            "part": shared[1:],
            "turned": shared.T,
            "spread": torch.ones(1).expand(3),
            **{str(kind): torch.ones(2, dtype=kind) for kind in dtypes},
        },
        texts={
            "": "empty key",
            "a.b": "a dot",
            "é\ud800\n": "any text",
            "$": {"$": "no tag"},
            (1, "a"): [True, 1, 1.0, None],
            "numbers": (NAN, INF, -INF, -0.0, 0.1, 10**30, -1),
            "tuples": ((), (1,), ((2,),), []),
        },
        nested=[
            Inner(
                torch.ones(1), Interval(0.5, NAN, INF, 0.95), Inner(weird, Interval(1, 2, 3, 0.9))
            ),
            {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)},
        ],
    )


METHODS = (
    "gradient",
    "lrp",
    "contrastive",
    "shuffles",
    "rescaled",
    "integrated",
    "expected",
    "selective",
)

RECORDS = {
    **{
        f"{name}, {str(dtype)[6:]}": lambda name=name, dtype=dtype: made(name, dtype)
        for name in EXPLAIN
        for dtype in (torch.float32, torch.float64)
        if dtype == torch.float32 or name in METHODS
    },
    "everything": everything,
}


@pytest.fixture(scope="module")
def records():
    torch.manual_seed(0)
    return {name: make() for name, make in RECORDS.items()}


@pytest.fixture(scope="module")
def saved(records, tmp_path_factory):
    """A folder for each."""
    place = tmp_path_factory.mktemp("results")
    return {
        name: record.save(place / str(number))
        for number, (name, record) in enumerate(records.items())
    }


# What comes back.


@pytest.mark.parametrize("name", RECORDS)
def test_it_comes_back_to_the_bit(records, saved, name):
    found = load_result(saved[name])
    assert fingerprint(found) == fingerprint(records[name])
    assert fingerprint(type(records[name]).load(saved[name])) == fingerprint(records[name])


def test_it_comes_back_in_another_process(records, saved):
    names = [name for name in RECORDS if name != "everything"]
    folders = [str(saved[name]) for name in names]
    command = [sys.executable, "-m", "tests.results.fingerprint", *folders]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True)
    found = json.loads(done.stdout)
    for name, folder in zip(names, folders, strict=True):
        assert found[folder] == json.loads(json.dumps(fingerprint(records[name]))), name


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_is_strict_json_that_says_what_it_is(records, saved, name):
    folder = saved[name]
    assert sorted(path.name for path in folder.iterdir()) == FILES

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((folder / "result.json").read_text("utf-8"), parse_constant=refuse)
    assert record["format"] == "temporal_attr result"
    assert record["format_version"] == 1
    assert record["type"] == type(records[name]).__name__
    libraries = ("temporal-attr", "torch", "safetensors")
    assert record["versions"] == {library: version(library) for library in libraries}
    assert set(record["fields"]) == {one.name for one in fields(records[name])}


@pytest.mark.parametrize("name", RECORDS)
def test_the_file_has_every_tensor_by_its_name(records, saved, name):
    with safe_open(saved[name] / "tensors.safetensors", "pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    expected = records[name].tensors()
    assert {key: fingerprint(value) for key, value in found.items()} == {
        key: fingerprint(value) for key, value in expected.items()
    }


def test_tensors_inside_have_the_way_to_them_as_a_name(records):
    probe = records["shuffles_of_segments, float32"]
    tensors = probe.tensors()
    assert torch.equal(tensors["intervals.mrr"], probe.intervals["mrr"])
    assert tensors["ratios"].data_ptr() == probe.ratios.data_ptr()
    # Two ways of the same name are two tensors.
    tensors = records["everything"].tensors()
    assert (tensors["nested.1.a.b"].item(), tensors["nested.1.a.b#1"].item()) == (0, 1)


def test_what_is_loaded_does_not_depend_on_the_file(records, tmp_path):
    folder = records["lrp, float32"].save(tmp_path / "a")
    found = load_result(folder)
    (folder / "tensors.safetensors").write_bytes(b"")
    assert fingerprint(found) == fingerprint(records["lrp, float32"])
    found.attribution.add_(1)  # and it can be written to


def test_a_result_from_an_accelerator_is_kept_on_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("needs an accelerator")
    tensor = everything().kinds["weird"].cuda()
    kept = Inner(tensor, Interval(0, 0, 0, 0.95)).tensors()["values"]
    assert fingerprint(kept) == fingerprint(tensor)


# Types of a reader's own.


@dataclass(frozen=True, eq=False)
class Own(PixelResult):
    """As a reader would write it."""

    extra: tuple[Interval, ...] = ()
    note: str = ""

    def _details(self, example):
        return [self.note]


def own(**changes):
    found = made("lrp")
    given = {one.name: getattr(found, one.name) for one in fields(PixelResult)}
    return Own(**{**given, "extra": (Interval(NAN, 0, 1, 0.5),), "note": "mine", **changes})


def test_a_result_of_ones_own_is_kept_like_any_other(tmp_path):
    result = own()
    result.save(tmp_path / "own")
    for load in (load_result, Result.load, PixelResult.load, Own.load):
        assert fingerprint(load(tmp_path / "own")) == fingerprint(result)
    assert "mine" in load_result(tmp_path / "own").summary()


def test_of_two_classes_of_a_name_the_latest_is_taken(tmp_path):
    def define(default):
        @dataclass(frozen=True, eq=False)
        class Twice(Stored):
            number: int = default

        return Twice

    define(1)(5).save(tmp_path / "twice")
    second = define(2)
    assert type(load_result(tmp_path / "twice")) is second


def test_a_field_that_is_new_and_has_a_default_gets_it(tmp_path):
    folder = own().save(tmp_path / "own")
    edit(folder, lambda record: record["fields"].pop("note"))
    assert load_result(folder).note == ""
    edit(folder, lambda record: record["fields"].pop("frame_scores"))
    refused("the fields of a Own: activation, attribution, class_names, ", load_result, folder)


# What is not written over.


def test_a_folder_with_a_result_is_refused_unless_it_is_said(records, tmp_path):
    first, second = records["lrp, float32"], records["gradient, float32"]
    folder = tmp_path / "deep" / "er"
    assert first.save(str(folder)) == folder
    refused(
        "without a result at .*, got one that holds a result. .*overwrite=True", second.save, folder
    )
    assert fingerprint(load_result(folder)) == fingerprint(first)
    second.save(folder, overwrite=True)
    assert fingerprint(load_result(folder)) == fingerprint(second)
    assert sorted(path.name for path in folder.iterdir()) == FILES


FOREIGN = {
    "result.json": b'{"result": 1}',
    "tensors.safetensors": b"whatever",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_left_alone(records, tmp_path, name, overwrite):
    (tmp_path / name).write_bytes(FOREIGN[name])
    text = f"got {name}, not written by save.*nothing was written"
    refused(text, records["lrp, float32"].save, tmp_path, overwrite=overwrite)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [FOREIGN[name]]


def test_weights_of_a_model_are_files_of_others_too(records, tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "tensors.safetensors")
    refused("got tensors.safetensors, not written", records["lrp, float32"].save, tmp_path)
    # Also beside a result: somebody has put them there.
    records["lrp, float32"].save(tmp_path / "a")
    save_file({"weight": torch.ones(2)}, tmp_path / "a" / "tensors.safetensors")
    refused("not written", records["lrp, float32"].save, tmp_path / "a", overwrite=True)


def test_other_files_of_a_folder_stay(records, tmp_path):
    (tmp_path / "frame_strip.png").write_bytes(b"a picture")
    records["lrp, float32"].save(tmp_path)
    records["lrp, float32"].save(tmp_path, overwrite=True)
    assert (tmp_path / "frame_strip.png").read_bytes() == b"a picture"


def test_a_file_is_no_folder(records, tmp_path):
    (tmp_path / "file").write_text("text")
    refused("a folder at .*, got a file", records["lrp, float32"].save, tmp_path / "file")
    refused("a folder to write to at", records["lrp, float32"].save, tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "text"


def test_what_cannot_be_kept_is_named_before_anything_is_written(tmp_path):
    for value, text in (
        (np.float32(1), "nested of type float32"),
        ({"a": [object()]}, r"nested.a.0 of type object"),
        (torch.ones(2).to_sparse(), "nested of torch.float32, torch.sparse_coo"),
        (torch.ones(2, dtype=torch.complex128), "nested of torch.complex128"),
        (torch.ones(2, device="meta"), "nested of .* on meta"),
        (Run, "nested of type type"),
    ):
        refused(text, Everything({}, {}, value).save, tmp_path / "a")
    assert not (tmp_path / "a").exists()


# Killed on the way.

KILL = """
import os, signal, sys
from pathlib import Path
import torch
from temporal_attr import load_result
from temporal_attr.attributions import _result_files
first, second, place = load_result(sys.argv[1]), load_result(sys.argv[2]), Path(sys.argv[3])

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def half(tensors, path, metadata=None):
    path.write_bytes(b"half")
    die()

points = ["writing"] + list(range(4))
for point in points:
    for old in (False, True):
        folder = place / f"{point}-{old}"
        if old:
            first.save(folder)
        if os.fork() == 0:
            if point == "writing":
                _result_files.save_file = half
            else:
                # The calls that change what lies in the folder, one after another.
                count = -1
                def counted(change):
                    def run(*args, **kwargs):
                        global count
                        count += 1
                        if count == point:
                            die()
                        return change(*args, **kwargs)
                    return run
                for name in ("write_text", "unlink", "replace"):
                    setattr(_result_files.Path, name, counted(getattr(Path, name)))
            second.save(folder, overwrite=old)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL, (point, old)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to be killed often and quickly")
def test_a_run_that_is_killed_leaves_no_half_of_a_result(records, saved, tmp_path):
    first, second = "gradient, float32", "lrp, float32"
    folders = [str(saved[first]), str(saved[second]), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", KILL, *folders], env=environment(), check=False)
    assert done.returncode == 0
    known = [fingerprint(records[name]) for name in (first, second)]
    found = {}
    for folder in sorted(tmp_path.iterdir()):
        found[folder.name] = None
        if (folder / "result.json").exists():
            found[folder.name] = known.index(fingerprint(load_result(folder)))
        else:
            refused("got a folder without result.json", load_result, folder)
        # And the folder can be used again.
        records[second].save(folder, overwrite=True)
        assert fingerprint(load_result(folder)) == known[1]
        assert sorted(path.name for path in folder.iterdir()) == FILES
    # The old one lasts until the new one is written completely; the new one lasts from then on.
    expected = {"writing": 0, "0": 0, "1": 0, "2": 0, "3": 1}
    assert {name: found[f"{name}-True"] for name in expected} == expected
    without = {name: kind or None for name, kind in expected.items()}
    assert {name: found[f"{name}-False"] for name in without} == without
    assert len(found) == 10


def test_a_folder_that_is_being_replaced_is_found(records, tmp_path):
    # As the command line replaces a folder as a whole, and is killed between two renames.
    folder = records["lrp, float32"].save(tmp_path / "result")
    folder.rename(tmp_path / ".result.old")
    assert fingerprint(load_result(folder)) == fingerprint(records["lrp, float32"])
    assert [path.name for path in tmp_path.iterdir()] == [".result.old"]  # reading changes nothing


def test_saving_in_turn_and_loading_meanwhile_gives_whole_results(records, tmp_path):
    names = "lrp, float32", "gradient, float32"
    known = [fingerprint(records[name]) for name in names]
    folder = records[names[0]].save(tmp_path / "result")
    found, stopped = [], threading.Event()

    def read():
        while not stopped.is_set():
            found.append(known.index(fingerprint(load_result(folder))))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(
            target=lambda name=name: [records[name].save(folder, overwrite=True) for _ in range(8)]
        )
        for name in names
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stopped.set()
    reader.join()
    assert {0, 1} >= set(found)
    assert len(found) > 3
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_an_error_on_the_way_leaves_nothing(records, tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    refused("a folder to write to at .*, got no space left", records["lrp, float32"].save, tmp_path)
    assert not list(tmp_path.iterdir())


# What is not loaded.


def refused(text, function, *arguments, **options):
    with pytest.raises(ResultError, match=text) as caught:
        function(*arguments, **options)
    error = caught.value
    assert str(error) == f"expected {error.expected}, got {error.got}. {error.remedy}"
    assert error.remedy.endswith(".")


def edit(folder, change):
    path = folder / "result.json"
    record = json.loads(path.read_text("utf-8"))
    change(record)
    path.write_text(json.dumps(record), "utf-8")


@pytest.fixture
def folder(records, tmp_path):
    return records["shuffles_of_segments, float32"].save(tmp_path / "saved")


def test_what_is_not_there(tmp_path):
    refused("a folder with a result at .*, got nothing there", load_result, tmp_path / "nowhere")
    refused("got a folder without result.json", load_result, tmp_path)
    (tmp_path / "file").write_text("text")
    refused("got a file. Check the path", Result.load, tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"format": "temporal_attr result"', "strict JSON in .*, got something else"),
        (b'{"a": NaN}', "got something else .NaN is not JSON"),
        (b"\xff\xfe", "strict JSON in .*, got something else"),
        (b"[1]", "a result of temporal_attr in .*, got a JSON file of something else"),
        (b'{"format": "other"}', "got a JSON file of something else. Load what save"),
    ],
)
def test_what_is_no_result(folder, content, text):
    (folder / "result.json").write_bytes(content)
    refused(text, load_result, folder)


def test_another_version_of_the_format(folder):
    def change(record):
        record["format_version"] = 2
        record["versions"]["temporal-attr"] = "9.9"

    edit(folder, change)
    refused(
        "format version 1 in .*, got version 2, written by temporal-attr 9.9", load_result, folder
    )


def test_another_type(folder):
    refused("a LRPResult in .*, got a ShuffleProbeResult. Use Shuff", LRPResult.load, folder)
    edit(folder, lambda record: record.update(type="Unknown", module="some.where"))
    text = "a type of result that is known here, got Unknown of some.where. Import some.where"
    refused(text, load_result, folder)
    refused(text, TemporalGradientResult.load, folder)


def test_tensors_that_are_missing_or_damaged(folder, records):
    path = folder / "tensors.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(
        "as its result.json describes them, got other bytes. The files are dam", load_result, folder
    )
    path.unlink()
    refused("the tensors of the result in .*, got no file there", load_result, folder)


def test_a_record_that_was_changed(folder):
    def tensor(**changes):
        return lambda record: record["fields"]["target"].update(changes)

    def again(change, text):
        before = (folder / "result.json").read_text("utf-8")
        edit(folder, change)
        refused(text, load_result, folder)
        (folder / "result.json").write_text(before, "utf-8")

    again(tensor(name="other"), "the tensor other, got a file of tensors without it")
    again(
        tensor(shape=[3]),
        r"the tensor target of torch.int64, shape .3,., got torch.int64, shape .2",
    )
    again(tensor(dtype="int8"), "the tensor target of torch.int8, shape .2,., got torch.int64")
    again(lambda record: record.pop("sha256"), "a result in .*, got one without sha256")
    again(lambda record: record["fields"].update(more=1), "the fields of a ShuffleProbeResult")
    again(
        lambda record: record["fields"]["run"].update({"$": "what"}), "got something else .'what'"
    )
    again(lambda record: record["fields"]["run"].pop("fields"), "got something else .'fields'")
    again(lambda record: record["fields"]["run"].update(type="None"), "known here, got None of")
    load_result(folder)


def test_a_result_that_is_wrong_says_so_when_it_is_loaded(records, tmp_path):
    result = records["lrp, float32"]
    folder = result.save(tmp_path / "named")
    names = {"$": "tuple", "items": ["only one"]}
    edit(folder, lambda record: record["fields"].update(class_names=names))
    with pytest.raises(
        ModelError, match="a name for each of the model's 4 classes, got 1 class names"
    ):
        load_result(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", None),
        ("tried", [1]),
        ("precision", "half"),
        ("forward_passes", "x"),
        ("backward_passes", "x"),
        ("chunk_sizes", {"whole": "x"}),
        ("seconds", None),
        ("seed", 0.5),
        ("versions", []),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_a_run_that_was_changed_is_noticed_when_it_is_loaded(folder, name, value):
    edit(folder, lambda record: record["fields"]["run"]["fields"].update({name: value}))
    refused(f"a run whose {name} is ", load_result, folder)


def test_a_result_without_its_run_is_noticed_when_it_is_loaded(folder):
    edit(folder, lambda record: record["fields"].update(run=None))
    refused("a run as run of a ShuffleProbeResult, got None.*remove them", load_result, folder)


def test_nothing_that_is_no_record_is_ever_made(folder):
    # A file may come from anywhere: it names classes of results only, and imports nothing.
    def change(record):
        record["fields"]["run"] = {
            "$": "record", "type": "Path", "module": "pathlib", "fields": {}
        }  # fmt: skip

    edit(folder, change)
    refused("known here, got Path of pathlib", load_result, folder)
    edit(folder, lambda record: record.update(type="Path", module="pathlib"))
    refused("known here, got Path of pathlib", load_result, folder)


def test_saving_twice_gives_the_same_bytes(records, tmp_path):
    for name in "ab":
        records["everything"].save(tmp_path / name)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_copy_with_other_names_can_be_kept(records, tmp_path):
    renamed = replace(records["lrp, float32"], class_names=("$a", "b\n", "ü", ""))
    # What a terminal would act on is written out.
    assert load_result(renamed.save(tmp_path / "a")).class_names == ("$a", r"b\n", "ü", "")
    assert math.isnan(load_result(own().save(tmp_path / "b")).extra[0].value)
