"""A job for tests of the stack: counts numbers for ever, in Python and keyed state; needs nothing of ours."""

from collections.abc import Iterator

from pyflink.common import Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.datastream.state import ValueStateDescriptor


class Count(KeyedProcessFunction):
    """Emits how often its key has been seen."""

    def open(self, runtime_context: RuntimeContext) -> None:
        self.seen = runtime_context.get_state(ValueStateDescriptor("seen", Types.LONG()))

    def process_element(self, value: int, ctx: KeyedProcessFunction.Context) -> Iterator[int]:
        seen = (self.seen.value() or 0) + 1
        self.seen.update(seen)
        if seen % 100_000 == 0:
            yield seen


def main() -> None:
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_parallelism(1)
    source = NumberSequenceSource(0, 2**60)
    numbers = env.from_source(source, WatermarkStrategy.no_watermarks(), "numbers", type_info=Types.LONG())
    counted = numbers.key_by(lambda value: value % 16, key_type=Types.LONG())
    counted.process(Count(), output_type=Types.LONG()).print()
    env.execute("endless")


if __name__ == "__main__":
    main()
