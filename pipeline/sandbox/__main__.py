"""``python -m pipeline.sandbox demo`` and ``… up``; while that is up, ``… place`` and ``… put``."""

from __future__ import annotations

from pipeline.sandbox.demo import main

if __name__ == "__main__":
    main()
