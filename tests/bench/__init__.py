"""What the gate costs, beside what others cost: `python -m tests.bench`."""
