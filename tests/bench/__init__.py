"""What it costs, measured: `python -m tests.bench` compares crawlers on a real site, `python -m tests.bench.frontier`,
`.exchange`, `.stores` and `.seed` measure one part each."""
