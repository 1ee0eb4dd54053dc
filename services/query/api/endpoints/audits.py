"""Answers what audits have found."""

from services.query.api.answers import audits as answers
from services.query.api.endpoints.asked import Asked
from services.query.api.parameters.audits import read_audits
from services.query.api.question import Question
from services.query.api.texts import utc_text
from services.query.counts.audits import FindingVerdict, HourVerdict, findings_by_what, verdicts_by_hour


class Audits:
    """The operations of services.query.api.operations.audits. They raise ParameterError and StoreAwayError."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def found(self, question: Question) -> answers.AuditAnswer:
        """The newest verdict on each hour, and on each thing that audits compare."""
        start, end, limit = read_audits(question.query_params, now=self._asked.now())
        await question.pay(partitions=1 + (end - start).days)
        verdicts, findings = await self._asked.store.audits(start, end)
        hours = [_hour(one) for one in verdicts_by_hour(verdicts, start, end)[-limit:]]
        return answers.AuditAnswer(
            hours, [_finding(one) for one in findings_by_what(findings, start, end)], _sum(hours)
        )


def _hour(one: HourVerdict) -> answers.AuditedHour:
    fields = one._asdict() | {"start": utc_text(one.start), "audited_at": utc_text(one.audited_at)}
    return answers.AuditedHour(**fields)


def _finding(one: FindingVerdict) -> answers.Finding:
    places = [answers.WrongPlace(utc_text(at), shard) for at, shard in one.places]
    return answers.Finding(**one._asdict() | {"audited_at": utc_text(one.audited_at), "places": places})


def _sum(hours: list[answers.AuditedHour]) -> answers.AuditTotal:
    names = answers.AuditTotal.__struct_fields__
    return answers.AuditTotal(**{name: sum(getattr(hour, name) for hour in hours) for name in names})
