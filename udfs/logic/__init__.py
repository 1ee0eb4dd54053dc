"""The counting rules, pure: no Flink, no clock, no network; time is an argument.

Bytes are numpy uint8 arrays, times are int64 epoch milliseconds, minutes are epoch minutes.
"""
