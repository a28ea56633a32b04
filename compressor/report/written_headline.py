"""What a run whose student writes comes to: the sentence, the tiles' figures, the lines on a terminal."""

from __future__ import annotations

from compressor.report.generation_tables import figure_of, main_figure
from compressor.report.numbers import milliseconds, percent, points, span, threads
from compressor.report.results import GenerationLatency, GenerationRetention, Interval, Results


def written_verdict(results: Results) -> str:
    """The sentence a manager reads."""
    named, latency = main_figure(results), results.latency
    if named is None:
        return "This run has no quality figures."
    kept = getattr(results.retention, named[0], None)
    ratio = latency.p50_ratio if isinstance(latency, GenerationLatency) else None
    if kept is None:
        return f"The student reaches a {named[1]} of {points(figure_of(results, 'student', named[0]))}."
    at = f" at {percent(ratio)} of its latency" if ratio is not None else ""
    return f"The student keeps {percent(kept)} of the teacher’s {named[1]}{at}."


def control_remark(results: Results) -> str:
    """The same student without a teacher; empty where there is none."""
    named, kept = main_figure(results), results.retention
    if named is None or results.rehearsal or not isinstance(kept, GenerationRetention):
        return ""
    name, label = named
    control, lead = figure_of(results, "control", name), kept.lead_over_control.get(name)
    if control is None or lead is None:
        return ""
    word = "less" if lead >= 0 else "more"
    told = (
        f"The same student trained on the ground truth alone reaches a {label} of {points(control)}, "
        f"{points(abs(lead))} points {word}"
    )
    interval = kept.lead_over_control_intervals.get(name)
    if interval is None:
        return f"{told}."
    if lead < 0:
        interval = Interval(low=-interval.high, high=-interval.low)
    if interval.low <= 0 <= interval.high:
        return f"{told}; the 95 % interval of the difference, {span(interval)}, includes zero."
    return f"{told} (95 % interval of the difference: {span(interval)})."


def cost_remark(results: Results) -> str:
    """What one text takes."""
    latency = results.latency
    if not isinstance(latency, GenerationLatency) or latency.generation.student is None:
        return ""
    pool = "one thread" if latency.threads == 1 else threads(latency.threads)
    return (
        f"One text takes it {milliseconds(latency.generation.student.p50_ms)} on {pool} "
        f"({latency.backend}), {latency.beams} beams."
    )


def terminal_lines(results: Results) -> list[str]:
    """One line for each thing that exists on this run."""
    lines = []
    named = main_figure(results)
    if named is not None and not results.rehearsal:
        kept = getattr(results.retention, named[0], None)
        if kept is not None:
            lines.append(f"the student keeps {kept:.3f} of the teacher's {named[1]}")
        remark = control_remark(results)
        if remark:
            lines.append(remark)
    latency = results.latency
    if isinstance(latency, GenerationLatency):
        student, teacher = latency.generation.student, latency.generation.teacher
        if student is not None and teacher is not None and latency.p50_ratio is not None:
            lines.append(
                f"one text: student {student.p50_ms:.1f} ms, teacher {teacher.p50_ms:.1f} ms, ratio "
                f"{latency.p50_ratio:.3f} ({threads(latency.threads)}, {latency.backend})"
            )
    return lines
