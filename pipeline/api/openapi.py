"""Write the OpenAPI document: ``python -m pipeline.api.openapi docs/openapi.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.api.app import document, make_app

if TYPE_CHECKING:
    from pipeline.api.means import Means


def committed() -> str:
    """The document as it is committed."""
    # Nothing is asked of it, so it needs nothing to work with.
    app = make_app(cast("Means", cast("Any", None)))
    return json.dumps(document(app), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(committed(), encoding="utf-8")
