"""Every mail is found exactly once under the faults of the original stress server; see `benchmarks/chaos.py`."""

from __future__ import annotations

from benchmarks import chaos


async def test_every_mail_is_found_once_under_the_faults_of_the_original_server(database_url, redis_url):
    figures = await chaos.run(
        database_url=database_url, redis_url=redis_url, seed=3, count=40, mails=200, spread=2.0, patience=60
    )

    assert (figures["mails"], figures["found"]) == (200, 200), figures
    assert (figures["lost"], figures["duplicates"]) == (0, 0), figures
    assert figures["strikes"] > 20
    assert figures["recognised"] > 0, "no UIDVALIDITY has changed"


async def test_the_check_reports_missing_mail(database_url, redis_url):
    figures = await chaos.run(
        database_url=database_url, redis_url=redis_url, count=1, mails=3, spread=0.1, patience=0.5,
        cases=["C21 login unavailable"],
    )  # fmt: skip

    assert (figures["found"], figures["lost"], figures["duplicates"]) == (0, 3, 0)
