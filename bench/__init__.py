"""What a request through the gateway costs, beside the same thing as a newcomer would write it: `python -m bench`.

`records` holds what is asked for and what must come back, `provider` answers as the providers do, `naive` is the version to
compare with, `floor` the least that any service costs, `configs` the gateway with everything on and nginx, `load` asks and
checks, `processes` starts, pins and reads what they use, `translation` and `typed` measure without any network. `run` does
it all in turn; `report` keeps what came of it, `goals` judges it, `tables` and `plot` show it. `guard` is for every commit.
"""
