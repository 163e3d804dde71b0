"""Sphinx configuration; the build is strict (`-W`)."""

import re
from importlib.metadata import version as installed_version

project = "temporal_attr"
author = "the temporal_attr authors"
copyright = "2026, the temporal_attr authors"
release = version = installed_version("temporal-attr")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "temporal_attr"

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_block"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Shapes are shown by the names of temporal_attr._typing, not spelled out in every signature.
_SHAPES = """
    ClipOrPathways ClipTensor Features FrameScores Frames HeatMaps Images Influence Interpolation
    Logits Memory Objective ObjectiveName PathwayTensor PerExample PointingRule RawFrame RawFrames
    Reduction RunStage Sampling Scores ScoresOf Sign StepLogits StepWeights Target TargetLike
    TrueFeatures
"""
autodoc_type_aliases = {name: name for name in _SHAPES.split()}


def _name_aliases(app, what, name, obj, options, signature, returns):
    """In a union autodoc spells out that a name is an alias; the name alone is meant."""
    return tuple(
        text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)
        for text in (signature, returns)
    )


def setup(app):
    app.connect("autodoc-process-signature", _name_aliases)


napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# Their axes (`*output`) would be read as emphasis; the signature has them.
napoleon_attr_annotations = False
