"""Does a changed line of the mapping fail a test? `python -m tests.mutation --help`; see docs/mutation.md."""
