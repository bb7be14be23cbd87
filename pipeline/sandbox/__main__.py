"""``python -m pipeline.sandbox demo`` and ``… up``."""

from __future__ import annotations

from pipeline.sandbox.demo import main

if __name__ == "__main__":
    main()
