"""``python -m pipeline.sandbox demo`` and ``… up``; while that is up, ``… place`` and ``… put``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.argv[1:2] in (["place"], ["put"]):  # which need not load what the others do
        from pipeline.sandbox.by_hand import main
    else:
        from pipeline.sandbox.demo import main
    main()
