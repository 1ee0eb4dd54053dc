"""Late events and dead letters: shown, mended and sent again, so that none can count twice.

The rules (letters, events, fixes, plan) know no Kafka and no clock. What was sent is kept nowhere: the ids tell it from
what was not, in the count job and in the rollup.
"""
