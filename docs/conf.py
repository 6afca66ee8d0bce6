"""Sphinx configuration: `make docs` writes docs/_build/html. Nothing is fetched, neither here nor by the pages."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "taskloom"
author = "The taskloom maintainers"
copyright = "The taskloom maintainers, Apache License 2.0"
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "taskloom_docs"]
exclude_patterns = ["_build", "_generated", "data", "extensions", "media"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = False

html_theme = "furo"
html_title = "taskloom"
html_logo = None  # one per colour scheme, below
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["taskloom.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_logo": "logo.svg",
    "dark_logo": "logo-dark.svg",
    "navigation_with_keys": True,
    "light_css_variables": {
        "color-brand-primary": "#00598c",
        "color-brand-content": "#0067a3",
        "color-brand-visited": "#0067a3",
        "color-sidebar-background": "#f5f7f9",
        "color-highlight-on-target": "#fdf1d7",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4f2",
        "color-brand-content": "#6cb8ee",
        "color-brand-visited": "#6cb8ee",
        "color-background-primary": "#14191f",
        "color-background-secondary": "#1a2027",
        "color-sidebar-background": "#1a2027",
    },
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
