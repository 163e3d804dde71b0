"""What two trained models see in a clip that is drawn here."""

from __future__ import annotations

from pathlib import Path

from temporal_attr import synthetic, views, zoo
from temporal_attr.attributions import TemporalGradientResult
from temporal_attr.cli._explain import explain_one, finish, prepare
from temporal_attr.cli._output import Collection, collected
from temporal_attr.cli._print import tell
from temporal_attr.cli._settings import Settings

VIDEO, TOGETHER = "clip.webm", "side_by_side.png"
DEMO = {
    "a model that looks": "mixed-appearance-late-fusion",
    "a model that follows motion": "mixed-motion-inflated-resnet",
}
"""The demo's models: trained on planted videos where only shape, or only motion, told the class."""


def run_demo(out: Path) -> None:
    """Plant a clip, and explain what two trained models see in it, side by side."""
    with collected(out, "demo") as collection:
        _fill(collection)


def _fill(collection: Collection) -> None:
    card = zoo.pretrained_card(DEMO["a model that looks"])
    # Neither cue is reliable, so that the shape supports one class and the motion another.
    unsure = {**card.task_options, "appearance_reliability": 0.0, "motion_reliability": 0.0}
    planted = synthetic.TASKS[card.task](size=card.options["size"], **unsure).sample(3)
    with collection.file(VIDEO) as path:
        planted.write(path)
    with collection.file("clip.png") as path:
        views.planted_sheet([planted]).savefig(path, dpi=120)
    shown = {cue: planted.class_names[number] for cue, number in planted.cues.items()}
    rows = {}
    for role, name in DEMO.items():
        tell(f"\n{role} ({name})")
        place = collection.folder / name
        settings = Settings(collection.folder / VIDEO, f"zoo:{name}", place)
        explained = explain_one(prepare(settings), settings, collection.folder / VIDEO, place)
        finish(settings)
        assert isinstance(explained.result, TemporalGradientResult)
        rows[f"{role}: {explained.result.top_classes()[0]}"] = explained.result
    with collection.file(TOGETHER) as path:
        views.side_by_side(rows, explained.clip).savefig(path, dpi=120)
    tell(f"\nthe shape supports: {shown['appearance']}")
    tell(f"the motion supports: {shown['motion']}")
    tell("\n".join(rows))
    tell(f"side by side in {collection.folder / TOGETHER}")
