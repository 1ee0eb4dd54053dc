"""Events on disk until they are acknowledged: records, logs of segments, and the folder that processes share."""
