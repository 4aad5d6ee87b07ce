"""What must outlive a worker: idempotency claims, and what workers tell each other.

claims    a claim and its transitions: pure, so that every store keeps the same promises; `packing`: a claim as bytes
store     the small interface: `Store` (claims, durable) and `Board` (versions, budgets, circuits; shared, not durable)
opening   `state:` of config.yaml -> a `State`
holders   which process holds a claim, and whether it is known to be dead
sqlite    one machine, several worker processes: claims in SQLite; beneath it `database` (the file) and `clock`
board     one machine: versions, budgets and circuits in memory that its workers share; beneath it `board_file`, `locks`
redis     several machines: both in Redis or Valkey; beneath it `redis_server` and `redis_scripts`
"""
