"""Sentences about slow webhooks: whose fault they are."""

from superimap.api.dashboard.render import duration
from superimap.api.dashboard.words import Word
from superimap.domain.webhook_delays import SLOW_SECONDS, DelayCause, DelayJudgement

_WORDS = {
    DelayCause.UNKNOWN: Word("No webhook was sent lately."),
    DelayCause.NONE: Word("It works: webhooks are sent at once, and answered quickly.", "good"),
    DelayCause.RECORD: Word(
        "Webhooks are sent at once, and answered quickly, but mails are recorded late: one in twenty {late} or "
        "more after its mail server received it. Its mailbox was not watched, or its provider was late.",
        "warn",
    ),
    DelayCause.ANSWERS: Word("Their server is slow: webhooks are sent at once, but {slow}.", "warn"),
    DelayCause.QUEUE: Word(
        "Their server is slow: webhooks wait because so many earlier ones have no answer yet; {slow}.", "warn"
    ),
    DelayCause.FAILURES: Word(
        "Their server failed: webhooks wait because we hold them back while it recovers.", "warn"
    ),
    DelayCause.DISABLED: Word("Webhooks wait because the endpoint is disabled.", "warn"),
    DelayCause.DISPATCHERS: Word(
        "We are late: webhooks wait here, although their server could take more of them. Look at the dispatchers.",
        "bad",
    ),
}


def delay_words(judged: DelayJudgement) -> Word:
    """Return whose fault slow and refused webhooks are, in a sentence or two."""
    words = _WORDS[judged.cause]
    text = words.text.format(late=duration(judged.unrecorded_most), slow=_slow(judged))
    if not judged.refused:
        return Word(text, words.tone)
    webhooks = "webhook" if judged.count == 1 else "webhooks"
    refusal = f"Their server refused {judged.refused} of the latest {judged.count} {webhooks}."
    if judged.cause is DelayCause.NONE:
        return Word(refusal, "warn")
    return Word(f"{text} {refusal}", words.tone)


def _slow(judged: DelayJudgement) -> str:
    """Return how slow the answers are, of a half of them if that is slow, otherwise of the slowest."""
    if not judged.count:
        return "none was answered lately"
    if judged.answered_half >= SLOW_SECONDS or judged.answered_most < SLOW_SECONDS:
        return f"half of the answers take {duration(judged.answered_half)} or more"
    return f"one answer in twenty takes {duration(judged.answered_most)} or more"


def addressed(words: Word) -> Word:
    """Return a sentence about the receiver as its owner reads it in the portal."""
    text = words.text.replace("Their server", "Your server").replace("their server", "your server")
    return Word(text.replace("Look at the dispatchers.", "Tell the operators."), words.tone)
