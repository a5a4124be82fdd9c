"""docs/behaviour.md has the numbers and words of the code."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from superimap.api import http_connections as connections
from superimap.api import login_check, main, page_changes
from superimap.api.dashboard import pages, passwords, render, sign_in
from superimap.api.pages import browser
from superimap.api.pages import try_limits as limits_of_tries
from superimap.api.routes import callback, connect, disconnect, password, users
from superimap.core.config import Settings
from superimap.db.accounts import consents
from superimap.db.accounts.allowances import MAX_PER_WINDOW, Action
from superimap.db.monitoring import mailbox_lists, partner_lists, problems
from superimap.db.watching import token_leases as leases
from superimap.dispatcher import answer_reader, webhook_client
from superimap.dispatcher.lanes import limits
from superimap.dispatcher.timings import DispatcherTimings
from superimap.domain import jobs, operators
from superimap.domain.answers import RETRY_SCHEDULE_SECONDS, retry_delay
from superimap.domain.deliveries import DeliveryState
from superimap.domain.mails import MailOutcome
from superimap.domain.shards import SHARD_COUNT
from superimap.domain.users import UserStatus
from superimap.idler import access_tokens as tokens
from superimap.idler import presence, token_pauses
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Timeouts
from superimap.oauth import links, token_endpoint, token_lifetime
from tests.support.pages import BEHAVIOUR, README, WEBHOOKS, first_cells, rows, section


@pytest.mark.parametrize("words", [MailOutcome, UserStatus, DeliveryState], ids=lambda words: words.__name__)
def test_behaviour_lists_every_value_of(words):
    text = {
        MailOutcome: section(BEHAVIOUR, "Outcomes"),
        UserStatus: section(BEHAVIOUR, "Users and their statuses"),
        DeliveryState: section(BEHAVIOUR, "Deliveries"),
    }[words]

    assert {str(word) for word in words} <= first_cells(text)


def test_behaviour_has_the_schedule_of_retries():
    table = rows(section(BEHAVIOUR, "Retries"))[1:]

    assert [int(row[1].replace(",", "")) for row in table] == list(RETRY_SCHEDULE_SECONDS)
    assert [int(row[0]) for row in table] == list(range(1, len(RETRY_SCHEDULE_SECONDS) + 1))
    for attempt, row in enumerate(table, 1):
        least = retry_delay(attempt, chance=0.0)
        assert row[2] == ("exact" if least == RETRY_SCHEDULE_SECONDS[attempt - 1] else "±10 %")
    units = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
    for attempt, row in enumerate(table, 1):
        number, unit = row[3].split()
        assert float(number) == pytest.approx(sum(RETRY_SCHEDULE_SECONDS[:attempt]) / units[unit], abs=0.051)
    assert retry_delay(len(table) + 1, chance=0.0) is None


def test_only_behaviour_says_how_many_attempts_in_how_many_hours():
    attempts, hours = len(RETRY_SCHEDULE_SECONDS) + 1, round(sum(RETRY_SCHEDULE_SECONDS) / 3600)

    assert set(
        re.findall(r"(\d+) attempts\s+(?:in|within)\s+(?:about )?(\d+)\s+hours", BEHAVIOUR.read_text())
    ) == {(str(attempts), str(hours))}
    for page in (README, WEBHOOKS):
        assert not re.search(r"\d+ attempts", page.read_text()), page.name
        assert "behaviour.md#retries" in page.read_text(), page.name


def test_behaviour_has_the_limits_of_the_dashboard():
    of = {row[0]: row[1] for row in rows(section(BEHAVIOUR, "Limits of the dashboard"))}

    def said(start: str) -> str:
        return next(value for name, value in of.items() if name.startswith(start))

    def minutes(time: timedelta) -> int:
        return int(time.total_seconds() // 60)

    assert said("Refused passwords") == f"{operators.MAX_REFUSALS}, {minutes(operators.LOCK_TIME)} minutes"
    tries = f"{sign_in.MAX_TRIES_PER_ADDRESS} in {sign_in.TRIES_SECONDS // 60} minutes"
    assert said("Attempts to sign in") == tries
    assert said("Passwords that a process") == f"{passwords.MAX_AT_ONCE}; then 429"
    hours = f"{minutes(operators.SESSION_TIME) // 60} h"
    assert said("Life of an operator's session") == f"{hours}, {minutes(operators.IDLE_TIME) // 60} h"
    assert said("Life of a portal's session") == f"{hours}, {hours}"
    assert said("Time for which a confirmed") == f"{minutes(operators.STEP_UP_TIME)} minutes"
    invitation, link = operators.INVITATION_TIME.days, minutes(operators.PORTAL_LINK_TIME)
    assert said("Life of an operator's invitation") == f"{invitation} days, {link} minutes"
    assert (
        said("Time for which a statement")
        == f"{pages.READ_TIMEOUT_SECONDS} s, {pages.WRITE_TIMEOUT_SECONDS} s"
    )
    assert said("Database connections") == str(main.DASHBOARD_POOL_SIZE)
    assert said("Count of rows") == f"{partner_lists.MAX_COUNT:,}" == f"{problems.MAX_COUNTED:,}"
    assert said("Users without a filter") == f"{mailbox_lists.LOOKED_ROWS:,}"
    assert said("Characters of one value") == f"{render.MAX_SHOWN_CHARACTERS:,}"
    assert said("Open pages") == str(page_changes.MAX_STREAMS)
    assert said("Interval of looking") == f"{page_changes.POLL_SECONDS:g} s"
    assert said("Webhooks that a job") == str(jobs.BATCH_ROWS)
    assert said("Webhooks above which") == f"{jobs.MAX_UNCONFIRMED_ROWS:,}"
    assert said("History of jobs") == f"{jobs.HISTORY_TIME.days} days"
    of_portals = f"1, {MAX_PER_WINDOW[Action.JOB]}, {jobs.MAX_PORTAL_HISTORY_ROWS}"
    assert said("Jobs of a portal: at once, started in a minute, ended ones that are listed") == of_portals


def test_behaviour_has_the_numbers_of_the_code():
    text = BEHAVIOUR.read_text()
    of = {name: row[1] for row in rows(text) if len(row) > 1 for name in [row[0]]}
    timeouts, timings = Timeouts(), DispatcherTimings()
    default = {name: field.default for name, field in Settings.model_fields.items()}

    def said(start: str) -> str:
        return next(value for name, value in of.items() if name.startswith(start))

    assert said("Sessions per idler") == f"{default['max_sessions']:,}"
    assert said("Concurrent handshakes") == str(default["connects_in_flight"])
    assert said("Connect timeout") == f"{timeouts.connect:g} s"
    assert said("Login timeout") == f"{timeouts.login:g} s"
    assert said("Command timeout") == f"{timeouts.command:g} s"
    assert said("Timeout for reading one mail") == f"{timeouts.fetch:g} s"
    assert said("IDLE renewal") == f"{default['idle_renew']:g} s"
    assert said("Timeout for the answer to DONE") == f"{timeouts.done:g} s"
    timing = SessionTiming()
    assert said("Polling interval without IDLE") == f"{timing.poll:g} s"
    assert said("Interval of reporting proofs of life") == f"{timing.proof_interval:g} s"
    assert said("Time without a proof of life") == f"{default['stalled_after']:g} s"
    assert said("Stall check interval") == f"{timings.stall_check_interval:g} s"
    assert said("Mails or time after which a catch-up") == f"100 mails or {timing.lag:g} s"
    assert f"waits {timings.stall_check_delay:g} s before the first stall check" in " ".join(text.split())
    early, shared, late, retry = (
        f"{fraction * 100:g} %"
        for fraction in (
            token_lifetime.REPLACE_FROM_FRACTION,
            token_lifetime.REPLACE_SHARED_FROM_FRACTION,
            token_lifetime.REPLACE_UNTIL_FRACTION,
            token_lifetime.RETRY_FRACTION,
        )
    )
    assert said("Age at which a session replaces its access token") == f"{early} to {late}"
    assert said("Age at which a session replaces a token that opens all") == f"{shared} to {late}"
    assert said("Retry interval while no new token") == f"{retry} of its life, at least 1 s"
    assert said("Token lease") == f"{leases.LEASE_SECONDS:g} s"
    assert said("Timeout for a token response") == f"{token_endpoint.DEADLINE_SECONDS:g} s"
    assert (
        said("Suspension of a connection's token requests after a wrong")
        == f"{token_pauses.CLIENT_PAUSE_SECONDS:g} s"
    )
    assert (
        said("Suspension of a connection's token requests when")
        == f"{token_pauses.MAX_THROTTLED_PAUSE_SECONDS:g} s"
    )
    assert f"({tokens.TOKEN_WAIT_SECONDS:g} s at most)" in text
    assert said("Logout timeout") == f"{timeouts.logout:g} s"
    assert said("Largest mail") == f"{default['max_email_size']:,} bytes"
    assert said("Mail bytes in memory") == f"{default['bytes_in_flight'] >> 20} MiB"
    assert said("Duration of one attempt") == f"{default['webhook_timeout']:g} s"
    lease = default["webhook_timeout"] + timings.lease_margin
    assert said("Lease of a delivery") == f"{lease:g} s: `WEBHOOK_TIMEOUT` + {timings.lease_margin:g} s"
    assert said("POSTs in flight to one endpoint") == str(default["posts_per_endpoint"])
    assert said("Endpoints that a dispatcher") == str(default["max_lanes"])
    assert said("Time after which a lane yields its slot to another") == f"{timings.lane_budget:g} s"
    assert said("Time after which a lane yields its slot while none") == f"{limits.LANE_YIELD_SECONDS:g} s"
    assert said("POSTs in flight to an endpoint that did not answer") == str(limits.MAX_UNPROVEN_POSTS)
    assert said("Largest part of a dispatcher's slots (`MAX_LANES`) for the endpoints of one") == "A fifth"
    assert said("Largest part of a dispatcher's slots for all") == "A quarter"
    assert (limits.PARTNER_SLOTS_DIVISOR, limits.UNHEALTHY_SLOTS_DIVISOR) == (5, 4)
    assert said("Sweep interval") == f"{timings.sweep_interval:g} s"
    assert said("Answer: bytes read").startswith(f"{answer_reader.MAX_ANSWER_BYTES >> 10} KiB")
    assert said("Keep-alive of an idle connection") == f"{webhook_client.KEEPALIVE_SECONDS:g} s"
    assert said("Shards; a user's") == f"{SHARD_COUNT:,}"
    assert said("Heartbeat interval") == f"{default['heartbeat_interval']:g} s"
    assert said("Time for which nobody holds an idler's lock") == f"{presence.PresenceTiming().absence:g} s"
    assert said("The same after a restart of PostgreSQL") == f"{presence.PresenceTiming().return_:g} s"
    assert said("The same after a failover") == f"{default['heartbeat_interval']:g} s"
    cut = int(presence.TCP_SETTINGS["tcp_user_timeout"]) / 1000
    assert said("Time until PostgreSQL frees the lock") == f"{cut:g} s"
    assert said("Time without a heartbeat") == f"{default['heartbeat_expiry']:g} s"
    assert said("Content of a failed") == f"{default['content_retention_days']:g} days; encrypted"
    assert (
        said("Pending webhooks of a disabled")
        == f"{default['disabled_retention_days']:g} days, then they fail"
    )
    assert said("Time until the header of a request").startswith(f"{connections.HEADER_TIMEOUT_SECONDS:g} s")
    assert said("Time until the client has read") == f"{connections.UNREAD_TIMEOUT_SECONDS:g} s"
    assert said("Open connections").startswith(f"{connections.MAX_CONNECTIONS}; ")
    assert said("Keep-alive of a client's idle") == f"{connections.KEEP_ALIVE_SECONDS} s"
    assert said("Time for which a stopping API") == f"{default['drain_seconds']:g} s"
    assert said("Time for requests in progress after") == f"{main.SHUTDOWN_GRACE_SECONDS} s"
    assert said("Users per page") == f"{users.MAX_PAGE_USERS:,}"
    assert said("Messages (ids") == f"{default['message_retention_days']:g} days"
    assert said("Life of a connect") == f"{links.LIFETIME_SECONDS // 60} minutes"
    assert said("Consents started with one link") == str(connect.MAX_CONSENTS_PER_LINK)
    assert said("Time to finish a consent") == f"{consents.CONSENT_SECONDS // 3600} hour"
    assert browser.COOKIE_LIFETIME_SECONDS == consents.CONSENT_SECONDS
    assert said("Timeout for all requests to a provider") == f"{callback.PROVIDER_TIMEOUT_SECONDS:g} s"
    assert said("Timeout for the login that checks") == f"{password.LOGIN_TIMEOUT_SECONDS:g} s"
    assert said("Time to reach a mail server") == f"{password.SERVER_TIMEOUT_SECONDS:g} s"
    assert said("Password submissions per link") == str(password.MAX_TRIES_PER_LINK)
    assert said("Password submissions per address") == f"{password.MAX_TRIES_PER_MINUTE} in a minute"
    minutes = limits_of_tries.MAILBOX_SECONDS // 60
    in_all, part = limits_of_tries.MAX_TRIES_PER_MAILBOX, limits_of_tries.MAX_TRIES_PER_MAILBOX_AND_PARTNER
    assert said("Password submissions per mailbox") == (
        f"{in_all}; {part} through links that name the mailbox, and {part} through others; in {minutes} minutes"
    )
    in_all, part = limits_of_tries.MAX_TRIES_PER_SERVER, limits_of_tries.MAX_TRIES_PER_SERVER_AND_PARTNER
    assert said("Password submissions per mail server") == f"{in_all}; {part}; in a minute"
    in_all = limits_of_tries.MAX_TRIES_PER_NAMED_SERVER
    part = limits_of_tries.MAX_TRIES_PER_NAMED_SERVER_AND_PARTNER
    assert said("The same, for a mail server that a person") == f"{in_all}; {part}; in a minute"
    at_once = f"{login_check.MAX_LOGINS}; {login_check.MAX_LOGINS_PER_GROUP} each; then 503"
    assert said("Logins at once per process") == at_once
    line, answer = login_check.LOGIN_LIMITS.line >> 10, login_check.LOGIN_LIMITS.response >> 10
    assert said("What a mail server may send meanwhile") == f"{line} KiB; {answer} KiB"
    assert said("Difference between the clocks") == f"{links.CLOCK_SKEW_SECONDS // 60} minutes"
    assert said("Token revocation") == f"{disconnect.REVOKE_TIMEOUT_SECONDS:g} s"


def test_behaviour_lists_every_error_code_of_a_post_without_an_answer():
    words = {word for _, word in webhook_client.ERROR_WORDS} | {"protocol", "unsigned", "unreadable"}
    words |= {*webhook_client.CERTIFICATE_ERROR_WORDS.values(), "certificate_untrusted"}
    said = BEHAVIOUR.read_text().partition("`attempts.error` is one of")[2].partition(".\n")[0]

    assert words <= set(re.findall(r"`([a-z_]+)`", said))
