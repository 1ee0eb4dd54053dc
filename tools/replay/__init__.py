"""Shows, fixes and resends late events and dead letters, so that none can count twice.

A letter is one late event or dead letter. The rules (letters, events, fixes, plan) know no Kafka and no clock. No list
of resent events is needed, because the count job and the rollup recognise repeats by their ids.
"""
