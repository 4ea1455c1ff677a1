"""The site of these pages, which Sphinx builds: `make docs`. The ingress serves it at `/docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "WPP pipeline"
author = copyright = "the contributors of WPP pipeline"  # noqa: A001 - Sphinx reads this name
extensions = ["myst_parser", "reference_pages"]
exclude_patterns = ["reference_pages.py"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block", "fieldlist"]
nitpicky = True

html_theme = "furo"
html_title = "WPP pipeline"
html_favicon = "../workers/ingress/static/icon.svg"
html_copy_source = False
html_show_sphinx = False
html_static_path: list[str] = []
