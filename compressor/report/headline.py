"""What a run comes to, in a sentence and a few remarks. Every figure in them stands in results.json."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.report.numbers import at, milliseconds, percent, points, size, span, threads, three_figures
from compressor.report.results import Interval, Results
from compressor.report.written_headline import control_remark, cost_remark, written_verdict


@dataclass(frozen=True)
class Headline:
    """The sentence a manager reads, and what belongs beside it."""

    sentence: str
    remarks: tuple[str, ...]


def headline(results: Results) -> Headline:
    """The verdict of a run; a rehearsal gets none on quality."""
    verdict = written_verdict if results.writes else _verdict
    sentence = _rehearsed(results) if results.rehearsal else verdict(results)
    control = control_remark(results) if results.writes else _control(results)
    cost = cost_remark(results) if results.writes else ""
    remarks = [control, _goals(results), _artifacts(results), cost, _absolute(results)]
    return Headline(sentence, tuple(remark for remark in remarks if remark))


def _verdict(results: Results) -> str:
    kept = results.rsum_kept.rsum if results.rsum_kept else None
    ratio = results.latency.p50_ratio if results.latency else None
    student = results.retrieval.get("student")
    named = f"The student{at(student.precision)}" if student is not None else "The student"
    if kept is not None and ratio is not None:
        return f"{named} keeps {percent(kept)} of the teacher’s RSUM at {percent(ratio)} of its latency."
    if kept is not None:
        return f"{named} keeps {percent(kept)} of the teacher’s RSUM."
    if student is not None:
        return f"{named} reaches an RSUM of {points(student.rsum)} out of 600."
    return "This run has no quality figures."


def _rehearsed(results: Results) -> str:
    parts = []
    if results.size.parameter_ratio is not None:
        parts.append(f"has {percent(results.size.parameter_ratio)} of the teacher’s parameters")
    if results.latency and results.latency.p50_ratio is not None:
        taken = f"answers in {percent(results.latency.p50_ratio)} of its time"
        parts.append(taken + at(results.latency.precision))
    told = f" The student {' and '.join(parts)}." if parts else ""
    return f"Rehearsed: every stage ran.{told}"


def _control(results: Results) -> str:
    kept, control = results.rsum_kept, results.retrieval.get("control")
    if results.rehearsal or control is None or kept is None or kept.student_minus_control is None:
        return ""
    lead, interval = kept.student_minus_control, kept.student_minus_control_interval
    word = "less" if lead >= 0 else "more"
    text = (
        f"The same student trained without a teacher reaches {points(control.rsum)}, "
        f"{points(abs(lead))} points {word}"
    )
    if interval is None:
        return text + "."
    if lead < 0:
        interval = Interval(low=-interval.high, high=-interval.low)
    if interval.low <= 0 <= interval.high:
        return f"{text}; the 95 % interval of the difference, {span(interval)}, includes zero."
    return f"{text} (95 % interval of the difference: {span(interval)})."


def _goals(results: Results) -> str:
    if not results.goals:
        return ""
    verdicts = [goal.verdict for goal in results.goals]
    total, met, missed = len(verdicts), verdicts.count("met"), verdicts.count("missed")
    left = total - met - missed
    open_goals = f"; {left} not judged" if left else ""
    if left == total:
        return f"None of the {total} goals was judged." if total > 1 else "The goal was not judged."
    if missed:
        return f"{missed} of {total} goals {'is' if missed == 1 else 'are'} missed{open_goals}."
    if left:
        return f"{met} of {total} goals {'is' if met == 1 else 'are'} met{open_goals}."
    return f"All {total} goals are met." if total > 1 else "The goal is met."


def _artifacts(results: Results) -> str:
    failed = [name for name, artifact in results.artifacts.items() if artifact.status == "failed"]
    slower = [
        name
        for name, artifact in results.artifacts.items()
        if artifact.slower_than_fp32 and getattr(artifact, "in_bundle", True)
    ]
    told = []
    if failed:
        told.append(f"{', '.join(failed)} failed the parity gate")
    if slower:
        told.append(
            f"{', '.join(slower)} {'are' if len(slower) > 1 else 'is'} slower than fp32 on this machine"
        )
    return f"Of the exported artifacts, {'; '.join(told)}." if told else ""


def _absolute(results: Results) -> str:
    student, latency = results.size.student, results.towers
    parts = []
    if latency and latency.pair.student:
        pool = "one thread" if latency.threads == 1 else threads(latency.threads)
        parts.append(
            f"One image and one text take the student {milliseconds(latency.pair.student.p50_ms)} on {pool}"
            f" ({latency.provider.removesuffix('ExecutionProvider')}{at(latency.precision, ', {}')})"
        )
    if student:
        times = results.size.bytes_ratio
        smaller = f", {three_figures(1 / times)} times smaller than its teacher" if times else ""
        if smaller:
            smaller += at(student.precision, " at fp32")
        named = f"{'it' if parts else 'The student'} is {size(student.bytes)}"
        parts.append(f"{named} on disk{at(student.precision)}{smaller}")
    return "; ".join(parts) + "." if parts else ""
