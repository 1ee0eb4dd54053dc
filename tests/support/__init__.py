"""What tests on real parts share: waiting, installations of their own on one stack, records and results."""
