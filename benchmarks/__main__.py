"""Benchmarks: `python -m benchmarks NAME` prints one line of JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from superimap.cli.running import command

app = typer.Typer(
    name="benchmarks",
    help="Measure what sessions, mails and webhooks cost on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Tls = Annotated[bool, typer.Option("--tls", help="Over TLS, with a throw-away certificate.")]

Database = Annotated[
    str | None, typer.Option(help="PostgreSQL without users that may be filled; none: one for the moment.")
]

DatabaseUrl = Annotated[
    str | None, typer.Option(help="An empty PostgreSQL database; one is brought along if not given.")
]
RedisUrl = Annotated[str | None, typer.Option(help="Valkey or Redis; likewise.")]


@app.command()
@command
async def sessions(
    count: Annotated[int, typer.Option(min=1, max=25_000, help="How many sessions.")] = 1000,
    tls: Tls = False,
    seconds: Annotated[float, typer.Option(min=0, help="How long to hold them idle.")] = 10,
    mail_bytes: Annotated[
        int, typer.Option(min=0, help="Size of the mail that each then reads; 0: none.")
    ] = 1_000_000,
) -> None:
    """Measure idle IMAP sessions: memory, CPU, lag, and what is left when they close."""
    from benchmarks import sessions as bench

    _print(await bench.run(count=count, tls=tls, seconds=seconds, mail_bytes=mail_bytes))


@app.command()
@command
async def wake(
    count: Annotated[int, typer.Option(min=1, help="How many mails.")] = 2000,
    sessions: Annotated[int, typer.Option(min=1, max=25_000, help="How many idle sessions.")] = 500,
    tls: Tls = False,
    mail_bytes: Annotated[int, typer.Option(min=1, help="Size of each mail.")] = 5000,
    at_once: Annotated[int, typer.Option(min=1, help="Mails that come at the same time.")] = 10,
) -> None:
    """Measure what a mail costs an idle session, from the push until it is idle again."""
    from benchmarks import wake as bench

    _print(await bench.run(count=count, sessions=sessions, tls=tls, mail_bytes=mail_bytes, at_once=at_once))


@app.command()
@command
async def hostile(
    sessions: Annotated[int, typer.Option(min=1, max=25_000, help="How many idle sessions beside it.")] = 200,
    wakes: Annotated[
        int, typer.Option(min=1, help="Mails to the others, in peace and under each attack.")
    ] = 300,
    mib: Annotated[int, typer.Option(min=1, help="How much is sent.")] = 300,
) -> None:
    """Measure what a server that sends without end costs: memory, and the wake-ups of the others."""
    from benchmarks import hostile as bench

    _print(await bench.run(sessions=sessions, wakes=wakes, mib=mib))


@app.command()
@command
async def rebalance(
    users: Annotated[int, typer.Option(min=1, help="Users in all.")] = 1_000_000,
    idlers: Annotated[int, typer.Option(min=2, max=1000, help="Idlers that share them.")] = 100,
    database: Database = None,
) -> None:
    """Measure how evenly idlers share users, what moves when one joins or dies, and what a round costs."""
    from benchmarks import rebalance as bench

    _print(await bench.run(users=users, idlers=idlers, database=database))


@app.command()
@command
async def idler(
    users: Annotated[int, typer.Option(min=1, max=25_000, help="Users that it watches.")] = 2000,
    tls: Tls = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long to hold them idle.")] = 10,
    logins_per_second: Annotated[float, typer.Option(min=1, help="How fast it comes up.")] = 100,
    database: Database = None,
) -> None:
    """Measure a whole idler: how it comes up, what it holds, what its rounds cost, and how it stops."""
    from benchmarks import idler as bench

    _print(
        await bench.run(
            users=users, tls=tls, seconds=seconds, logins_per_second=logins_per_second, database=database
        )
    )


@app.command()
@command
async def deliver(
    count: Annotated[int, typer.Option(min=1, help="How many webhooks are owed at the start.")] = 10_000,
    endpoints: Annotated[int, typer.Option(min=1, max=3000, help="To how many endpoints.")] = 100,
    answer_ms: Annotated[float, typer.Option(min=0, help="How long the receiver takes to answer.")] = 50,
    hanging: Annotated[
        int,
        typer.Option(
            min=0, help="Then measure the others beside an endpoint that hangs and is owed so many."
        ),
    ] = 0,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure the others, each time.")] = 10,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure a dispatcher: webhooks per second, CPU of each, and what one endpoint that hangs does to others."""
    from benchmarks import deliver as bench

    _print(
        await bench.run(
            count=count,
            endpoints=endpoints,
            answer_ms=answer_ms,
            hanging=hanging,
            seconds=seconds,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


@app.command()
@command
async def mail(
    server: Annotated[
        Literal["own", "dovecot"], typer.Option(help="Our own mail server, or a Dovecot for the moment.")
    ] = "own",
    singly: Annotated[
        int, typer.Option(min=1, help="How many mails come one by one, for the latency.")
    ] = 100,
    idle: Annotated[int, typer.Option(min=1, max=25_000, help="How many users are watched.")] = 1000,
    burst: Annotated[int, typer.Option(min=1, help="How many mails then come at once.")] = 5000,
    burst_users: Annotated[int, typer.Option(min=1, help="To how many of the users.")] = 500,
    partners: Annotated[int, typer.Option(min=1, max=1000, help="Of how many partners.")] = 10,
    mail_bytes: Annotated[int, typer.Option(min=1, help="Size of each mail.")] = 5000,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure the whole way of a mail, from IMAP to webhook: latency, mails per second, CPU of each process."""
    from benchmarks import mail as bench

    _print(
        await bench.run(
            server=server,
            singly=singly,
            idle=idle,
            burst=burst,
            burst_users=burst_users,
            partner_count=partners,
            mail_bytes=mail_bytes,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


@app.command()
@command
async def tokens(
    users: Annotated[int, typer.Option(min=1, max=25_000, help="OAuth 2.0 users that are watched.")] = 1000,
    life: Annotated[int, typer.Option(min=1, help="Seconds that an access token lives.")] = 60,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure, once all are watched.")] = 180,
    idlers: Annotated[int, typer.Option(min=1, max=16, help="Idlers that share the users.")] = 2,
    mails_per_second: Annotated[float, typer.Option(min=0.1, help="Mails that come meanwhile.")] = 20,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure sessions whose access tokens end: how evenly they come back, and whether a mail is lost by it."""
    from benchmarks import tokens as bench

    _print(
        await bench.run(
            users=users,
            life=life,
            seconds=seconds,
            idlers=idlers,
            rate=mails_per_second,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


def _print(figures: dict[str, Any]) -> None:
    typer.echo(json.dumps(figures))


if __name__ == "__main__":
    app()
