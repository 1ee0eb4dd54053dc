"""Everything that counts views: rules in `logic`, and around them operators, stages, stores, sinks and sources."""
