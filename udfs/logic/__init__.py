"""The rules. They are pure: they use no Flink, no clock and no network, and take time as an argument.

Bytes are numpy uint8 arrays, times are int64 epoch milliseconds, minutes are epoch minutes.
"""
