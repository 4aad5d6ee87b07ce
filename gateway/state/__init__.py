"""What must outlive a worker: idempotency claims, and what workers tell each other.

claims    a claim and its transitions: pure, so that every store keeps the same promises
store     the small interface: `Store` (claims, durable) and `Board` (versions, budgets, circuits; shared, not durable)
opening   `state:` of config.yaml -> a `State`
sqlite    one machine, several worker processes: claims in SQLite
board     one machine: versions, budgets and circuits in memory that its workers share
redis     several machines: both in Redis or Valkey
"""
