"""Recognition of answers that ask the client to slow down, to any command, in several languages."""

import re

THROTTLING_CODES = frozenset({"LIMIT", "THROTTLED", "OVERQUOTA"})

# What a server limits for each account or address. A limit on a mail, its size or its parts, is none of these.
_RESOURCE = (
    r"(?:connection|session|log-?in|log-?on|sign-?in|request|command|user|client|process|rate|bandwidth|quota|usage"
    r"|traffic|download|transfer|frequenc)"
)
_REPEATED = (
    r"(?:attempt|tries|quer(?:y|ie)|search(?:es)?|operation|device|failure|failed|invalid|bad|error|auth)"
)
_GAP = r"(?:(?!size|length|\bline|literal|message|part|depth|long).){0,30}?"
_PATTERNS = (
    # English.
    r"\[(?:throttled|limit|overquota)\]",
    r"\bthrottl|\bslow down|\bgr[ea]y-?list|\bbackoff time|\brate[ -]?limit",
    rf"\btoo many(?:\s*(?:[.!(]|$)|\b.{{0,40}}?\b(?:{_RESOURCE}|{_REPEATED}))",
    r"\btoo (?:frequent|often|fast|quick|much (?:traffic|data|bandwidth))",
    r"\b(?:simultaneous|concurrent|parallel) (?:imap )?(?:connection|session|log-?in|access)",
    rf"\b{_RESOURCE}[a-z]*\W{_GAP}\b(?:limit(?:s|ed)?\b|exceed|exhausted)",
    rf"\b(?:exceed\w*|limit|maximum|max)\W{_GAP}\b{_RESOURCE}",
    r"\bmax_?(?:user\w*_)?connections",
    r"\bover ?quota|\bquota (?:is )?(?:reached|full)",
    r"(?<!mail )\b(?:ip|address|host|network)\b(?:(?!account|user|mailbox).){0,40}?"
    r"\b(?:block|bann|restrict)(?!\w* your)",
    # Other languages.
    r"\btrop (?:de|fr[eé]quent)|\bzu (?:viele|häufig|oft)\b|\bdemasiad|\btropp[eio]\b|\bmuitas\b|\bexcess[oi]"
    r"|\bte veel|\bför många|\bfor mange|\bzbyt wiele|\bpříliš mnoho|\bçok fazla|\bliian mon|\btúl sok",
    r"слишком (?:много|часто)|превышен|занадто багато",
    r"过多|過多|次数过|次數過|频繁|頻繁|频率|超出|超过|超過|多すぎ|制限を|너무 많|초과",
)
_TEXTS = re.compile("|".join(_PATTERNS), re.IGNORECASE)


def asks_for_pause(code: str | None, text: str) -> bool:
    """Return whether a NO, BAD or BYE asks the client to slow down, by its response code or by its wording."""
    return code in THROTTLING_CODES or _TEXTS.search(text) is not None


def without_requests(text: str) -> str:
    """Return the text without the words that ask the client to slow down."""
    return _TEXTS.sub("…", text)
