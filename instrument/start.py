"""Where ``samplernn`` begins: so light that a Ctrl-C interrupts no imports with a traceback. Main thread."""

from __future__ import annotations


def main() -> int:
    """``instrument.cli.main``, and 130 for a Ctrl-C before it is there."""
    try:
        from instrument import cli

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
