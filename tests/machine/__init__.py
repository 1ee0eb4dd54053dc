"""The batch layer is attacked as the stream is: a state machine that runs the product's own jobs.

Rollups, audits, erasures and queries run interleaved, two of each at once, in one process. Each is paused, killed or
tried again at any of its writes, while views come, files are archived in any order, manifests are lost and rules
change. `python -m tests.machine --help` runs random schedules; tests/property/test_history_machine.py keeps those that
once failed.

jobs: a job is a thread that stops before each write, so that a schedule decides who goes on.
store, tables, register: object store, Cassandra and the register of history, in memory; all writes are steps.
actors: which code of the product a job runs, with what stands in place of Flink, Kafka and clocks.
world: what happens by itself, and the truth: what numbers must be, by brute force.
schedule: random schedules, how they are played and shortened.
scenes: schedules that once went wrong, and one for each way in which two jobs can meet at a critical step.
mutations: faults that are put back, to see whether they are found.
"""
