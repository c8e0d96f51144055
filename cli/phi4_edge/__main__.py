"""`python -m phi4_edge` is the same program as `phi4-edge`."""

from phi4_edge.main import main

if __name__ == "__main__":
    main()
